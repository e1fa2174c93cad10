"""Distil one generator: run the teacher and compute the terms, independent of any host.

In your own training loop::

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
from ..networks.taps import Call, Recorder, Tap, default_taps, element_of, read_taps, resolve_taps, unwrap
from .adapters import make_adapters
from .balance import Balance
from .precision import HalfPrecision
from .teacher_cache import TeacherCache
from .teacher_pass import TeacherPass

Taps = str | Tap | Sequence[str | Tap]
Taught = tuple[torch.Tensor, Mapping[str, torch.Tensor]]  # images and features of a teacher
Terms = Mapping[str, str | float | Schedule | WeightedTerm | None] | Iterable[str]


@dataclass
class Distillation:
    """The result of one distillation step.

    Attributes:
        output: the student's images (B, C, H, W), with their graph.
        teacher_output: the teacher's images, without a graph.
        losses: the weighted terms by name, scalars with their graph.
    """

    output: torch.Tensor
    teacher_output: torch.Tensor
    losses: dict[str, torch.Tensor]

    @property
    def total(self) -> torch.Tensor:
        """The sum of the weighted terms, to add to the loss of the training."""
        return functools.reduce(torch.add, self.losses.values())


class Distiller(nn.Module):
    """Compare a student generator with a frozen teacher.

    The student is not a submodule: ``to()`` moves teacher and adapters, ``parameters()`` returns the adapters'
    parameters, for the student's optimizer, and ``state_dict()`` contains the adapters and the randomly initialised
    networks of terms.

    Args:
        student: the network in training; may be wrapped (DataParallel, DDP, compiled).
        teacher: a frozen network that takes the same images, for instance from
            :func:`~kd_plugin.load_teacher`.
        terms: term names, or names with weights or with terms built by
            :func:`~kd_plugin.losses.build_terms`.
        options: settings of the terms by flag, e.g. ``{"wavelet_levels": 3}``.
        taps: where terms on features read student and teacher, for all terms or by term name: taps, or text as in
            ``--distill_taps`` (``"model.9,model.12=model.15"``); names may be patterns. The default depends on the
            term. With several taps, a term is the mean over them.
        cache: a disk cache of the teacher's images and features; requires a teacher in eval mode.
        half: the mixed precision of the student, if any.
        balance: adjusts the weights of terms to their shares of the gradient; the training measures these and calls
            its ``update``.

    Attributes:
        epoch: the epoch for the weight schedules, counted from 1; set it in the loop if a weight changes.
        adapters: the learnt 1x1 convolutions of terms that need them (``feature``, ``gram``), on the student's
            device.

    Raises:
        ArgumentError: If a term, option, module or tap is unknown, the teacher requires grad, or it is in training
            mode and has a cache.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        terms: Terms,
        *,
        options: Mapping[str, Any] | None = None,
        taps: Taps | Mapping[str, Taps] | None = None,
        cache: TeacherCache | None = None,
        half: HalfPrecision | None = None,
        balance: Balance | None = None,
    ) -> None:
        if any(parameter.requires_grad for parameter in teacher.parameters()):
            raise ArgumentError("the teacher requires grad: freeze it with teacher.requires_grad_(False)")
        super().__init__()
        # Not submodules: their parameters and state are not the distiller's.
        self._networks = {"student": student, "teacher": teacher}
        self.terms = _built(terms, options)
        self.epoch = 1.0
        self.balance = balance
        reading = [name for name, weighted in self.terms.items() if weighted.term.reads == "features"]
        if isinstance(taps, Mapping):
            unknown = [name for name in taps if name not in reading]
        else:
            unknown = ["no term"] if taps and not reading else []
        if unknown:
            known = ", ".join(reading) or "none"
            raise ArgumentError(f"taps are given for {unknown[0]}, but the terms that read features are {known}")
        self.taps = {name: self._taps_of(name, taps) for name in reading}
        self._half = half
        self._teacher_pass = TeacherPass(teacher, self.teacher_taps, cache)
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
        """Use a newly wrapped student (DataParallel, DDP): some hosts wrap their networks late."""
        if unwrap(student) is unwrap(self.student):
            self._networks["student"] = student

    def drawn_networks(self) -> dict[str, nn.Module]:
        """Return the randomly initialised networks of terms, by term."""
        networks = {name: weighted.term.drawn() for name, weighted in self.terms.items()}
        return {name: network for name, network in networks.items() if network is not None}

    def get_extra_state(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the states of :meth:`drawn_networks`; part of ``state_dict()``."""
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
        """Return a context manager that records the student's calls, to distil them afterwards."""
        return Recorder(self.student, [tap.student for tap in self._all_taps()])

    @property
    def teacher_taps(self) -> set[str]:
        """The modules of the teacher whose features the terms read."""
        return {tap.teacher for tap in self._all_taps()}

    def distill(self, call: Call, taught: Taught | None = None) -> Distillation:
        """Run the teacher on the input of a recorded call of the student, and compute the terms.

        Args:
            call: the recorded call.
            taught: the teacher's images and features for the same input, for several students of one teacher: the
                result of a :class:`~kd_plugin.distillation.teacher_pass.TeacherPass` with at least the
                ``teacher_taps``. The teacher is then not run.

        Raises:
            ArgumentError: If the teacher does not support the image size, or outputs or features do not match.
        """
        output = call.images
        if not isinstance(output, torch.Tensor):
            raise ArgumentError(f"the student returned a {type(output).__name__}, expected a batch of images")
        # A network under the host's autocast returns half precision; terms are computed in float32.
        leave = self._half.leave if self._half else _in_float32
        kept = keep_layout(_in_float32(output))
        features = {name: keep_layout(leave(feature)) for name, feature in call.features.items()}
        teacher_output, teacher_features = taught or self._taught(call)
        call = Call(call.input, kept, features)
        losses = {}
        for name, weighted in self.terms.items():
            weight = weighted.weight(self.epoch) * (self.balance.factor(name) if self.balance else 1)
            # A term of weight 0 is not computed: that saves its time, and 0 times a non-finite value is NaN.
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
            ArgumentError: If the teacher does not support the image size.
        """
        return self._taught(call)[0]

    def _taught(self, call: Call) -> Taught:
        self._check_size(call.input)
        output, features = self._teacher_pass(*call.arguments or (), **call.named)
        return element_of(output, call.element), features

    def _taps_of(self, name: str, given: Taps | Mapping[str, Taps] | None) -> list[Tap]:
        named = given.get(name) if isinstance(given, Mapping) else given
        taps = read_taps(named) if named else default_taps(self.student, self.teacher, self.terms[name].term.places)
        return resolve_taps(taps, self.student, self.teacher)

    def _all_taps(self) -> set[Tap]:
        return {tap for taps in self.taps.values() for tap in taps}

    def forward(self, images: torch.Tensor) -> Distillation:
        """Run the student on images (B, C, H, W) in [-1, 1] and compute the terms."""
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
                f"the teacher, a {spec.netG}, needs images whose sides are multiples of {spec.multiple}, "
                f"got {width}x{height}: change the crop size"
            )
        if images.shape[1] != spec.input_nc:
            raise ArgumentError(f"the teacher takes {spec.input_nc} channels, got {images.shape[1]}")


def _in_float32(tensor: torch.Tensor) -> torch.Tensor:
    half = isinstance(tensor, torch.Tensor) and tensor.dtype in (torch.bfloat16, torch.float16)
    return tensor.float() if half else tensor


def _built(terms: Terms, options: Mapping[str, Any] | None) -> dict[str, WeightedTerm]:
    if not isinstance(terms, Mapping):
        return build_terms(terms, options)
    given = {name: term for name, term in terms.items() if isinstance(term, WeightedTerm)}
    rest = {name: weight for name, weight in terms.items() if not isinstance(weight, WeightedTerm)}
    built = {**given, **(build_terms(rest, options) if rest or not given else {})}
    return {name: built[name] for name in terms}
