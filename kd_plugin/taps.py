"""Record what a network computes on the way, with forward hooks on named modules.

A host may run one generator several times in a step (CycleGAN: translation, cycle, identity), so the recorder
keeps the calls apart, and the caller picks the one whose output it holds.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import nn

from .errors import ArgumentError

__all__ = ["Call", "Recorder", "Tap", "default_taps", "parse_taps", "unwrap"]


@dataclass(frozen=True)
class Tap:
    """A place to compare features: the name of a module of the student and of one of the teacher."""

    student: str
    teacher: str


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
        self._modules = {name: _module(unwrap(network), name) for name in taps}
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
        """Return the call that made this very tensor."""
        return next((call for call in self.calls if call.output is output), None)

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


def _module(network: nn.Module, name: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(network.named_modules())
    if name not in modules or not name:
        nearest = difflib.get_close_matches(name, modules, n=3)
        hint = f"; near it: {', '.join(nearest)}" if nearest else ""
        raise ArgumentError(f"there is no module '{name}' in the {type(network).__name__}{hint}")
    return modules[name]


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


def default_taps(student: nn.Module, teacher: nn.Module) -> list[Tap]:
    """Return the tap at the end of the encoder of each network.

    The papers say the encoder is the downsampling and the first blocks; we read a ResNet after the first half
    of its residual blocks (rounded up), a U-Net after its third halving, where pixels are still many. Beside a
    ResNet, which halves twice, the U-Net is read after its second, so that the two have the same pixels.

    Raises:
        ArgumentError: a network is neither; the message lists names that could be tapped.
    """
    networks = {"student": unwrap(student), "teacher": unwrap(teacher)}
    mixed = len({_third_level(network) for network in networks.values()}) > 1
    return [Tap(*(_encoder(network, role, 2 if mixed else 3) for role, network in networks.items()))]


def _level(number: int) -> str:
    """Name of the norm after a U-Net's second or third halving."""
    return "model.model.1." + "model.3." * (number - 2) + "model.2"


def _third_level(network: nn.Module) -> bool:
    return any(name == _level(3) for name, _ in network.named_modules())


def _encoder(network: nn.Module, role: str, level: int) -> str:
    names: list[str] = [name for name, _ in network.named_modules()]
    blocks = [name for name in names if re.fullmatch(r"model\.\d+", name) and f"{name}.conv_block" in names]
    if blocks:
        return blocks[(len(blocks) + 1) // 2 - 1]
    if _third_level(network):
        return _level(level)
    some = ", ".join(name for name in names if name and "." not in name.replace("model.", "", 1))
    raise ArgumentError(
        f"cannot tell where the encoder of the {role} ends ({type(network).__name__}): name a module with "
        f"--srp_layers, for instance one of {some or ', '.join(names[1:6])}"
    )
