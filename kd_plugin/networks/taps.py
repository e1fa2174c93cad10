"""Record intermediate features of a network, with forward hooks on named modules.

A host may run a generator several times in a step (CycleGAN: translation, cycle, identity), so the recorder keeps the
calls apart, and the caller finds a call by its output.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from ..errors import ArgumentError
from .architecture import Place, Places, TapPoint
from .generator import architectures


@dataclass(frozen=True)
class Tap:
    """A place to compare features: a module of the student and one of the teacher, by name or pattern."""

    student: str
    teacher: str

    def __str__(self) -> str:
        """Return the text that :func:`parse_taps` parses."""
        return self.student if self.student == self.teacher else f"{self.student}={self.teacher}"


@dataclass
class Call:
    """One forward pass of a network.

    Attributes:
        input: its images, the first argument.
        output: what it returned: images, or a tuple, list or dictionary with images in it.
        features: the tapped features (B, C, H, W) by name.
        arguments, named: all arguments, with the images; the images alone by default.
        element: the place of the images among the tensors of the output.
    """

    input: torch.Tensor
    output: Any = None
    features: dict[str, torch.Tensor] = field(default_factory=dict)
    arguments: tuple[Any, ...] | None = None
    named: dict[str, Any] = field(default_factory=dict)
    element: int = 0

    def __post_init__(self) -> None:
        if self.arguments is None:
            self.arguments = (self.input,)

    @property
    def images(self) -> Any:
        """The images of the output."""
        return element_of(self.output, self.element)

    def part(self, part: slice, images: torch.Tensor, element: int) -> Call:
        """Return the call for some of its images, which are a slice of an element of its output."""
        batch, whole = len(self.input), element_of(self.output, element)

        def cut(value: object) -> object:
            if value is whole:
                return images
            return value[part] if isinstance(value, torch.Tensor) and value.ndim and len(value) == batch else value

        return Call(**{each.name: tree_map(cut, getattr(self, each.name)) for each in fields(self)})


def tensors_of(output: Any) -> list[torch.Tensor]:
    """Return the tensors of an output, or of a tuple, list or dictionary, in order."""
    return [value for value in tree_leaves(output) if isinstance(value, torch.Tensor)]


def element_of(output: Any, element: int) -> Any:
    """Return one of the tensors of an output, counted in order; an output without tensors as it is."""
    tensors = tensors_of(output)
    return tensors[element] if element < len(tensors) else output


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
    """Context manager that records every call of a network, and removes its hooks on exit.

    If an in-place activation follows a tapped module (as in the U-Net), its features are read after the activation,
    in student and teacher, since the two share memory.
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

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def find(self, output: torch.Tensor) -> Call | None:
        """Return the call that returned this tensor, or a batch that it is a slice of (``fake[:n]``, in CUT)."""
        held = [
            (call, element, tensor) for call in self.calls for element, tensor in enumerate(tensors_of(call.output))
        ]
        for call, element, tensor in held:
            if tensor is output:
                return call if element == call.element else replace(call, element=element)
        for call, element, tensor in held:
            if part := _part(output, tensor):
                return replace(call.part(part, output, element), element=element)
        return None

    def _begin(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.calls.append(Call(next(iter((*inputs, *named.values()))), arguments=inputs, named=named))

    def _keep(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self.calls[-1].features[name] = output

        return hook

    def _end(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.calls[-1].output = output
        if missed := self._modules.keys() - self.calls[-1].features.keys():
            raise ArgumentError(
                f"module '{sorted(missed)[0]}' was not called in the forward pass, so it has no features: name "
                f"another or, if the network is compiled, create the Distiller before its first pass"
            )


def _part(view: torch.Tensor, batch: torch.Tensor) -> slice | None:
    """Return the slice of a batch that a view holds; None if it is not a view of consecutive whole images."""
    # By memory addresses: in inference mode, a view does not know its base.
    if not view.numel() or view.untyped_storage().data_ptr() != batch.untyped_storage().data_ptr():
        return None
    if view.shape[1:] != batch.shape[1:] or view.stride() != batch.stride():
        return None
    if not batch.stride(0):
        return None
    first, within = divmod(int(view.storage_offset()) - int(batch.storage_offset()), batch.stride(0))
    return slice(first, first + len(view)) if not within and 0 <= first <= len(batch) - len(view) else None


def find_modules(network: nn.Module, names: Sequence[str], role: str = "") -> dict[str, nn.Module]:
    """Return modules of a network by their names in ``named_modules()``.

    Raises:
        ArgumentError: If a name is unknown; the message names the network (``role``) and suggests others.
    """
    modules: dict[str, nn.Module] = dict(network.named_modules()) if names else {}  # costs time in every step
    for name in names:
        if name not in modules or not name:
            nearest = difflib.get_close_matches(name, modules, n=3)
            hint = f"; did you mean {', '.join(nearest)}?" if nearest else ""
            raise ArgumentError(f"there is no module '{name}' in the {_called(network, role)}{hint}")
    return {name: modules[name] for name in names}


def parse_taps(text: str) -> list[Tap]:
    """Parse a comma-separated list of module names, ``name`` or ``student=teacher``.

    >>> parse_taps("model.12, model.11=model.14")
    [Tap(student='model.12', teacher='model.12'), Tap(student='model.11', teacher='model.14')]

    Raises:
        ArgumentError: If an entry is empty.
    """
    taps = []
    for entry in text.split(","):
        student, _, teacher = (part.strip() for part in entry.partition("="))
        if not student or ("=" in entry and not teacher):
            raise ArgumentError(
                f"'{text}' is not a list of taps: give module names such as model.12,model.15=model.18"
            )
        taps.append(Tap(student, teacher or student))
    return taps


def read_taps(given: str | Tap | Sequence[str | Tap]) -> list[Tap]:
    """Return taps given as :class:`Tap` objects, or as text for :func:`parse_taps`.

    >>> read_taps(["model.12", Tap("model.11", "model.14")])
    [Tap(student='model.12', teacher='model.12'), Tap(student='model.11', teacher='model.14')]

    Raises:
        ArgumentError: If an entry is neither.
    """
    taps: list[Tap] = []
    for entry in given if isinstance(given, Sequence) and not isinstance(given, str) else [given]:
        if not isinstance(entry, (str, Tap)):
            raise ArgumentError(f"{entry!r} is not a tap: give module names such as 'model.12,model.15=model.18'")
        taps += [entry] if isinstance(entry, Tap) else parse_taps(entry)
    return taps


def default_taps(student: nn.Module, teacher: nn.Module, places: Sequence[Place] = ("middle",)) -> list[Tap]:
    """Return taps at the same places of two networks, at a common resolution where there is one.

    The method ``places`` of an architecture defines them.

    Raises:
        ArgumentError: If a network is of no registered architecture; the message lists modules to tap.
    """
    points, teacher_points = tap_points(student, "student"), tap_points(teacher, "teacher")
    return [_pair(points[place], teacher_points[place]) for place in places]


def _pair(student: Sequence[TapPoint], teacher: Sequence[TapPoint]) -> Tap:
    pairs = ((small, large) for small in student for large in teacher if small.stride == large.stride)
    small, large = next(pairs, (student[0], teacher[0]))
    return Tap(small.module, large.module)


def tap_points(network: nn.Module, role: str = "network") -> Places:
    """Return where features of a generator are read by default, the best point of each place first.

    Raises:
        ArgumentError: If the network is of no registered architecture; the message names its ``role``.
    """
    network = unwrap(network)
    for architecture in architectures():
        if points := architecture.places(network):
            return points
    names = [name for name, _ in network.named_modules()]
    some = ", ".join(name for name in names if name and "." not in name.replace("model.", "", 1))
    raise ArgumentError(
        f"cannot find encoder and decoder of the {role} ({type(network).__name__}): name modules to tap, such as "
        f"{some or ', '.join(names[1:6])}",
        argument="taps",
    )


def resolve_taps(taps: Sequence[Tap], student: nn.Module, teacher: nn.Module) -> list[Tap]:
    """Return taps with their patterns replaced by the modules they match.

    ``*``, ``?`` and ``[...]`` match within one part of a dotted name. The matches in student and teacher are paired
    in order; if their numbers differ, by relative depth: the *i*-th of *n* with the one at the same fraction.

    Raises:
        ArgumentError: If a name is unknown or a pattern matches nothing.
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
            # Rounded up, to pair the last with the last.
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
