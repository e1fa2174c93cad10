"""Record what a network computes on the way, with forward hooks on named modules.

A host may run one generator several times in a step (CycleGAN: translation, cycle, identity), so the recorder
keeps the calls apart, and the caller picks the one whose output it holds.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import nn

from ..errors import ArgumentError
from .architecture import Place, Places, TapPoint
from .generator import architectures

__all__ = [
    "Call",
    "Place",
    "Recorder",
    "Tap",
    "default_taps",
    "find_modules",
    "parse_taps",
    "read_taps",
    "resolve_taps",
    "tap_points",
    "unwrap",
]


@dataclass(frozen=True)
class Tap:
    """A place to compare features: a module of the student and one of the teacher, by name or pattern."""

    student: str
    teacher: str

    def __str__(self) -> str:
        """Return it as :func:`parse_taps` reads it."""
        return self.student if self.student == self.teacher else f"{self.student}={self.teacher}"


@dataclass
class Call:
    """One pass through a network: what went in, what came out, and the tapped features (B, C, H, W) by name."""

    input: torch.Tensor
    output: torch.Tensor | None = None
    features: dict[str, torch.Tensor] = field(default_factory=dict)


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel and torch.compile wrappers."""
    while True:
        inner: nn.Module | None = getattr(network, "_orig_mod", None)
        if inner is None and isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = network.module
        if inner is None:
            return network
        network = inner


class Recorder:
    """Context manager that records every call of a network while it is open, and leaves no hook behind.

    A tapped module that an in-place activation follows (the U-Net's) is read with the activation applied, in
    student and teacher alike: the two share the memory.
    """

    def __init__(self, network: nn.Module, taps: Sequence[str] = ()) -> None:
        self.calls: list[Call] = []
        self._network = network
        self._modules = find_modules(unwrap(network), taps)
        self._handles: list[Any] = []

    def __enter__(self) -> Recorder:
        self._handles = [
            self._network.register_forward_pre_hook(self._begin, with_kwargs=True),
            *(m.register_forward_hook(self._keep(name)) for name, m in self._modules.items()),
            self._network.register_forward_hook(self._end),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def find(self, output: torch.Tensor) -> Call | None:
        """Return the call that made this very tensor, or a batch that it is a part of (``fake[:n]``, in CUT)."""
        for call in self.calls:
            if call.output is output:
                return call
            if call.output is not None and (part := _part(output, call.output)):
                features = {name: feature[part] for name, feature in call.features.items()}
                return Call(call.input[part], output, features)
        return None

    def _begin(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.calls.append(Call(next(iter((*inputs, *named.values())))))

    def _keep(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self.calls[-1].features[name] = output

        return hook

    def _end(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.calls[-1].output = output
        if missed := self._modules.keys() - self.calls[-1].features.keys():
            raise ArgumentError(
                f"module '{sorted(missed)[0]}' took no part in the pass, so nothing can be read there: name another, "
                f"or, if the network is compiled, make the Distiller before its first pass"
            )


def _part(view: torch.Tensor, batch: torch.Tensor) -> slice | None:
    """Return which images of a batch a view holds; None if it is no view of it, or no run of whole images."""
    # By their memory: in inference mode, a view does not know what it is one of.
    if not view.numel() or view.untyped_storage().data_ptr() != batch.untyped_storage().data_ptr():
        return None
    if view.shape[1:] != batch.shape[1:] or view.stride() != batch.stride():
        return None
    first = (view.storage_offset() - batch.storage_offset()) // batch.stride(0)
    return slice(first, first + len(view))


def find_modules(network: nn.Module, names: Sequence[str], role: str = "") -> dict[str, nn.Module]:
    """Return modules of a network by their names in ``named_modules()``.

    Raises:
        ArgumentError: there is none; the message says in which network (``role``) and suggests others.
    """
    modules: dict[str, nn.Module] = dict(network.named_modules()) if names else {}  # a walk, in every step
    for name in names:
        if name not in modules or not name:
            nearest = difflib.get_close_matches(name, modules, n=3)
            hint = f"; near it: {', '.join(nearest)}" if nearest else ""
            raise ArgumentError(f"there is no module '{name}' in the {_called(network, role)}{hint}")
    return {name: modules[name] for name in names}


def parse_taps(text: str) -> list[Tap]:
    """Read a comma-separated list of module names, ``name`` or ``student=teacher``.

    >>> parse_taps("model.12, model.11=model.14")
    [Tap(student='model.12', teacher='model.12'), Tap(student='model.11', teacher='model.14')]

    Raises:
        ArgumentError: an entry is empty.
    """
    taps = []
    for entry in text.split(","):
        student, _, teacher = (part.strip() for part in entry.partition("="))
        if not student or ("=" in entry and not teacher):
            raise ArgumentError(f"'{text}' is no list of taps: give module names such as model.12,model.15=model.18")
        taps.append(Tap(student, teacher or student))
    return taps


def read_taps(given: str | Tap | Sequence[str | Tap]) -> list[Tap]:
    """Return taps that are given as such, or as text for :func:`parse_taps`.

    >>> read_taps(["model.12", Tap("model.11", "model.14")])
    [Tap(student='model.12', teacher='model.12'), Tap(student='model.11', teacher='model.14')]

    Raises:
        ArgumentError: something else is given.
    """
    taps: list[Tap] = []
    for entry in given if isinstance(given, Sequence) and not isinstance(given, str) else [given]:
        if not isinstance(entry, (str, Tap)):
            raise ArgumentError(f"{entry!r} is no tap: give module names such as 'model.12,model.15=model.18'")
        taps += [entry] if isinstance(entry, Tap) else parse_taps(entry)
    return taps


def default_taps(student: nn.Module, teacher: nn.Module, places: Sequence[Place] = ("middle",)) -> list[Tap]:
    """Return taps at the same places of two networks, at the same resolution where both have one in common.

    An architecture says where they are in its method ``places``.

    Raises:
        ArgumentError: a network is of no registered architecture; the message lists names that could be tapped.
    """
    points, teacher_points = tap_points(student, "student"), tap_points(teacher, "teacher")
    return [_pair(points[place], teacher_points[place]) for place in places]


def _pair(student: Sequence[TapPoint], teacher: Sequence[TapPoint]) -> Tap:
    """Return the first two points of the same stride, or the first of both."""
    pairs = ((small, large) for small in student for large in teacher if small.stride == large.stride)
    small, large = next(pairs, (student[0], teacher[0]))
    return Tap(small.module, large.module)


def tap_points(network: nn.Module, role: str = "network") -> Places:
    """Return where features of a generator are read by default, the best point of each place first.

    Raises:
        ArgumentError: it is of no registered architecture; ``role`` says which network that is.
    """
    network = unwrap(network)
    for architecture in architectures():
        if points := architecture.places(network):
            return points
    names = [name for name, _ in network.named_modules()]
    some = ", ".join(name for name in names if name and "." not in name.replace("model.", "", 1))
    raise ArgumentError(
        f"cannot tell encoder and decoder of the {role} apart ({type(network).__name__}): name modules to "
        f"read, for instance {some or ', '.join(names[1:6])}",
        argument="taps",
    )


def resolve_taps(taps: Sequence[Tap], student: nn.Module, teacher: nn.Module) -> list[Tap]:
    """Return taps with their patterns replaced by the modules they match.

    ``*``, ``?`` and ``[...]`` match within one part of a dotted name. The modules that a pattern matches in the
    student are paired with those it matches in the teacher in order; where the teacher has more or fewer, by depth:
    the *i*-th of *n* with that at the same fraction of the way.

    Raises:
        ArgumentError: nothing has the name, or matches the pattern.
    """
    resolved = []
    for tap in taps:
        names = _matches(unwrap(student), tap.student, "student")
        large = _matches(unwrap(teacher), tap.teacher, "teacher")
        if len(names) == 1 < len(large):
            raise ArgumentError(
                f"'{tap.teacher}' matches {len(large)} modules of the teacher, '{tap.student}' one of the student: "
                f"name one of {', '.join(large[:4])}{', ...' if len(large) > 4 else ''}"
            )
        for i, name in enumerate(names, 1):
            # Rounded up, so that the last is paired with the last.
            resolved.append(Tap(name, large[-(-i * len(large) // len(names)) - 1]))
    return resolved


def _called(network: nn.Module, role: str) -> str:
    return f"{role} ({type(network).__name__})" if role else type(network).__name__


def _matches(network: nn.Module, pattern: str, role: str) -> list[str]:
    if not any(character in pattern for character in "*?["):
        find_modules(network, [pattern], role)
        return [pattern]
    parts = pattern.split(".")
    found = [
        name
        for name, _ in network.named_modules()
        if name
        and name.count(".") == len(parts) - 1
        and all(fnmatch.fnmatchcase(part, wanted) for part, wanted in zip(name.split("."), parts, strict=True))
    ]
    if not found:
        raise ArgumentError(f"no module of the {_called(network, role)} matches '{pattern}'")
    return found
