"""Distil one generator: run the teacher, compute the terms. Knows nothing of hosts.

In a training loop of your own::

    teacher = load_teacher("checkpoints/big/latest_net_G.pth")
    distiller = Distiller(student, teacher, {"wavelet": 100.0, "srp": 1000.0})
    for x, y in loader:
        result = distiller(x)
        loss = my_loss(result.output, y) + result.total
        loss.backward()
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from ..errors import ArgumentError
from ..losses import Schedule, WeightedTerm, build_terms
from ..losses.layout import keep_layout
from ..networks.taps import Call, Recorder, Tap, default_taps, read_taps, resolve_taps, unwrap
from .adapters import make_adapters
from .precision import HalfPrecision
from .teacher_cache import TeacherCache
from .teacher_pass import TeacherPass

__all__ = ["Distillation", "Distiller"]

Taps = str | Tap | Sequence[str | Tap]


@dataclass
class Distillation:
    """What one step of distillation gives.

    Attributes:
        output: the student's images (B, C, H, W), with their graph.
        teacher_output: the teacher's images, without one.
        losses: the weighted terms by name, scalars with their graph.
    """

    output: torch.Tensor
    teacher_output: torch.Tensor
    losses: dict[str, torch.Tensor]

    @property
    def total(self) -> torch.Tensor:
        """The sum of the weighted terms, to be added to the student's own loss."""
        return functools.reduce(torch.add, self.losses.values())


class Distiller(nn.Module):
    """Compare a student generator with a frozen teacher.

    As a module it holds nothing of the student's: ``to()`` moves teacher and adapters, ``parameters()`` are the
    adapters', for the student's optimizer, and ``state_dict()`` has what a training must save: the adapters, and the
    networks that terms have drawn at random.

    Args:
        student: the network in training; may be wrapped (DataParallel, DDP, compiled).
        teacher: a frozen network that takes the same images, for instance from
            :func:`~kd_plugin.load_teacher`.
        terms: term names, or names with weights or with terms built by
            :func:`~kd_plugin.losses.build_terms`.
        options: settings of the terms by flag, e.g. ``{"wavelet_levels": 3}``.
        taps: where terms on features read student and teacher, for all of them or by the name of the term: taps, or
            text as ``--distill_taps`` has it (``"model.9,model.12=model.15"``); names may be patterns. By default
            the places a term is made for. With several taps, a term is the mean over them.
        cache: where the teacher's images and features are kept on disk; it must be in eval mode then.
        half: the mixed precision that the student runs in, if it does.

    Attributes:
        epoch: what the schedules of the weights go by; to be set by the loop, from 1 on, where a weight changes.
        adapters: the learnt 1x1 convolutions of terms that need them (``feature``, ``gram``); they are made where the
            student is.

    Raises:
        ArgumentError: unknown terms, options or modules; taps that are none; a teacher that requires grad, or one in
            training mode with a cache.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        terms: Mapping[str, str | float | Schedule | WeightedTerm | None] | Iterable[str],
        *,
        options: Mapping[str, Any] | None = None,
        taps: Taps | Mapping[str, Taps] | None = None,
        cache: TeacherCache | None = None,
        half: HalfPrecision | None = None,
    ) -> None:
        if any(parameter.requires_grad for parameter in teacher.parameters()):
            raise ArgumentError("the teacher requires grad: freeze it with teacher.requires_grad_(False)")
        super().__init__()
        # Not as submodules, whose parameters and states would be the distiller's.
        self._networks = {"student": student, "teacher": teacher}
        self.terms = _built(terms, options)
        self.epoch = 1.0
        reading = [name for name, weighted in self.terms.items() if weighted.term.reads == "features"]
        if isinstance(taps, Mapping):
            strange = [name for name in taps if name not in reading]
        else:
            strange = ["no term"] if taps and not reading else []
        if strange:
            known = ", ".join(reading) or "none"
            raise ArgumentError(f"taps are given for {strange[0]}, but the terms that read features are {known}")
        self.taps = {name: self._taps_of(name, taps) for name in reading}
        self._half = half
        self._teacher_pass = TeacherPass(teacher, {tap.teacher for tap in self._all_taps()}, cache)
        for weighted in self.terms.values():
            weighted.term.load()
        self.adapters = nn.ModuleDict(
            {
                name: nn.ModuleList(make_adapters(student, teacher, taps))
                for name, taps in self.taps.items()
                if self.terms[name].term.adapts
            }
        )

    @property
    def student(self) -> nn.Module:
        """The network in training."""
        return self._networks["student"]

    @property
    def teacher(self) -> nn.Module:
        """The frozen network."""
        return self._networks["teacher"]

    def follow(self, student: nn.Module) -> None:
        """Take the student in another wrapping (DataParallel, DDP): some hosts wrap their networks late."""
        if unwrap(student) is unwrap(self.student):
            self._networks["student"] = student

    def drawn_networks(self) -> dict[str, nn.Module]:
        """Return the networks that terms have drawn at random, by term."""
        networks = {name: weighted.term.drawn() for name, weighted in self.terms.items()}
        return {name: network for name, network in networks.items() if network is not None}

    def get_extra_state(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the states of the networks drawn at random; part of ``state_dict()``."""
        return {name: network.state_dict() for name, network in self.drawn_networks().items()}

    def set_extra_state(self, state: dict[str, dict[str, torch.Tensor]]) -> None:
        """Restore what :meth:`get_extra_state` returned; part of ``load_state_dict()``."""
        for name, network in self.drawn_networks().items():
            if name in state:
                network.load_state_dict(state[name])

    def _apply(self, function: Any, recurse: bool = True) -> Distiller:
        self.teacher._apply(function)  # type: ignore[no-untyped-call]
        super()._apply(function, recurse)  # type: ignore[no-untyped-call]
        return self

    def record(self) -> Recorder:
        """Return a context manager; calls of the student inside it can be distilled afterwards."""
        return Recorder(self.student, [tap.student for tap in self._all_taps()])

    def distill(self, call: Call) -> Distillation:
        """Run the teacher on the input of a recorded call of the student, and compute the terms.

        Raises:
            ArgumentError: the image size does not suit the teacher, or outputs or features do not fit.
        """
        if not isinstance(call.output, torch.Tensor):
            raise ArgumentError(f"the student gave a {type(call.output).__name__}, expected a batch of images")
        # A network that a host runs under autocast gives half precision; terms are better off in float32.
        leave = self._half.leave if self._half else _in_float32
        output, kept = call.output, keep_layout(_in_float32(call.output))
        features = {name: keep_layout(leave(feature)) for name, feature in call.features.items()}
        call = Call(call.input, kept, features)
        self._check_size(call.input)
        teacher_output, teacher_features = self._teacher_pass(call.input)
        losses = {}
        for name, weighted in self.terms.items():
            weight = weighted.weight(self.epoch)
            # A term of weight 0 is not computed: neither its time nor a value that is not finite is wanted.
            value = self._value(name, call, teacher_output, teacher_features) if weight else kept.new_zeros(())
            losses[name] = weight * value
        return Distillation(output, teacher_output, losses)

    def _value(
        self, name: str, call: Call, teacher_output: torch.Tensor, teacher_features: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        term = self.terms[name].term
        if term.reads == "features":
            values = []
            for i, tap in enumerate(self.taps[name]):
                features = call.features[tap.student]
                if term.adapts:
                    features = cast(nn.ModuleList, self.adapters[name])[i](features)
                try:
                    values.append(term(features, teacher_features[tap.teacher]))
                except ArgumentError as error:
                    raise ArgumentError(f"{name} at {tap}: {error}", argument=error.argument) from error
            return torch.stack(values).mean()
        source = (call.input,) if term.reads == "translation" else ()
        value: torch.Tensor = term(call.output, teacher_output, *source)
        return value

    def teach(self, call: Call) -> torch.Tensor:
        """Return the teacher's images for the input of a recorded call of the student.

        Raises:
            ArgumentError: the image size does not suit the teacher.
        """
        self._check_size(call.input)
        return self._teacher_pass(call.input)[0]

    def _taps_of(self, name: str, given: Taps | Mapping[str, Taps] | None) -> list[Tap]:
        own = given.get(name) if isinstance(given, Mapping) else given
        taps = read_taps(own) if own else default_taps(self.student, self.teacher, self.terms[name].term.places)
        return resolve_taps(taps, self.student, self.teacher)

    def _all_taps(self) -> set[Tap]:
        return {tap for taps in self.taps.values() for tap in taps}

    def forward(self, images: torch.Tensor) -> Distillation:
        """Run the student on images (B, C, H, W) in [-1, 1] and distil the call."""
        with self.record() as recorder:
            self.student(images)
        return self.distill(recorder.calls[-1])

    def _check_size(self, images: torch.Tensor) -> None:
        spec = getattr(self.teacher, "spec", None)
        if spec is None:
            return
        height, width = images.shape[-2:]
        if height % spec.multiple or width % spec.multiple:
            raise ArgumentError(
                f"the teacher, a {spec.netG}, takes images whose sides are multiples of {spec.multiple}, "
                f"got {width}x{height}: choose the crop size accordingly"
            )
        if images.shape[1] != spec.input_nc:
            raise ArgumentError(f"the teacher takes {spec.input_nc} channels, got {images.shape[1]}")


def _in_float32(tensor: torch.Tensor) -> torch.Tensor:
    half = isinstance(tensor, torch.Tensor) and tensor.dtype in (torch.bfloat16, torch.float16)
    return tensor.float() if half else tensor


def _built(
    terms: Mapping[str, str | float | Schedule | WeightedTerm | None] | Iterable[str],
    options: Mapping[str, Any] | None,
) -> dict[str, WeightedTerm]:
    if not isinstance(terms, Mapping):
        return build_terms(terms, options)
    given = {name: term for name, term in terms.items() if isinstance(term, WeightedTerm)}
    rest = {name: weight for name, weight in terms.items() if not isinstance(weight, WeightedTerm)}
    built = {**given, **(build_terms(rest, options) if rest or not given else {})}
    return {name: built[name] for name in terms}
