"""Run networks in bfloat16 or float16 inside a training that is in float32 otherwise.

What goes into such a network and what comes out of it is float32, whoever calls it, so the losses around it stay as
they are. Gradients in float16 have to be scaled, or the small ones are lost. Scaling a loss is the business of the
code that computes it; here the scale is applied where a gradient enters a network, and taken out where it leaves it
again: at its parameters and at its input. Nothing outside sees a scaled gradient. The scale moves as that of
``torch.amp.GradScaler`` does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from ..errors import ArgumentError, first_line

__all__ = ["DTYPES", "HalfPrecision", "PrecisionName", "autocast_dtype", "run_in"]

PrecisionName = Literal["bf16", "fp16"]
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_GROWTH_INTERVAL = 2000  # steps, and the first scale: those of torch.amp.GradScaler
_FIRST_SCALE = 2.0**16

_open = threading.local()  # the autocast contexts that are open, in this thread


class HalfPrecision:
    """Mixed precision of one training: the networks given to :meth:`run` compute in half precision from then on.

    Args:
        name: ``"bf16"`` or ``"fp16"``.
        device: where the networks are.

    Attributes:
        dtype: that of convolutions and products; what PyTorch's autocast keeps in float32 stays so.
        scales: whether gradients inside the networks are scaled: in float16.
        scale: what they are multiplied with, a power of two.
        growth: how many steps have been made since the scale has changed.

    Raises:
        ArgumentError: the device cannot compute in that precision.
    """

    def __init__(self, name: PrecisionName, device: torch.device | str) -> None:
        self.name = name
        self.dtype = DTYPES[name]
        self.scales = name == "fp16"
        self.scale = _FIRST_SCALE if self.scales else 1.0
        self.growth = 0
        self._kind = torch.device(device).type
        self._unscaled = WeakTensorKeyDictionary()  # the parameters whose gradients leave at their true size
        self._finite: bool | None = None  # the gradients of this step; None if there were none yet
        try:
            works = torch.autocast(self._kind, self.dtype)._enabled
        except RuntimeError as error:
            raise ArgumentError(f"{name} does not work on this device: {first_line(error, 120)}") from error
        if not works:
            raise ArgumentError(f"{name} does not work on {self._kind} in PyTorch {torch.__version__}: try the other")

    def run(self, network: nn.Module) -> None:
        """Make a network compute in half precision whenever it is called.

        One that is wrapped for several GPUs does so inside, where DataParallel has a thread for each of them. What is
        called of a network other than the whole stays in float32; in float16, that raises an ArgumentError, as its
        gradients would be unscaled without having been scaled.

        In float16, a network without convolutions stays in float32. CUT's netF is one: it divides features by their
        norms, and squares of features are too small for float16, in which autocast on CPUs computes them.
        """
        while isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            network = network.module
        in_float32 = self.scales and not any(parameter.ndim > 2 for parameter in network.parameters())

        def enter(module: nn.Module, arguments: Any, named: Any) -> Any:
            stack = _open.__dict__.setdefault("stack", [])
            if not stack and autocast_dtype(self._kind):
                raise ArgumentError(
                    "the network is called under autocast already: leave one of the two out", argument="half"
                )
            if self.scales and torch.is_grad_enabled():
                self._unscale_parameters(module)  # those that have come since
                if not stack:
                    arguments, named = tree_map(self._enter, (arguments, named))
            context = torch.autocast(self._kind, self.dtype, enabled=bool(stack) or not in_float32)
            context.__enter__()  # type: ignore[no-untyped-call]
            stack.append(context)
            return arguments, named

        def leave(module: nn.Module, arguments: Any, named: Any, output: Any) -> Any:
            stack = _open.__dict__.get("stack")
            if stack:
                stack.pop().__exit__(None, None, None)
            return output if stack else tree_map(self.leave, output)

        network.register_forward_pre_hook(enter, with_kwargs=True)
        network.register_forward_hook(leave, with_kwargs=True, always_call=True)
        if self.scales and any(parameter.requires_grad for parameter in network.parameters()):
            self._unscale_parameters(network)
            if hasattr(network, "_orig_mod"):  # torch.compile would trace the hooks
                return
            for module in (module for module in network.modules() if module is not network):
                module.register_forward_pre_hook(_refuse_alone)

    def leave(self, value: Any) -> Any:
        """Return what has been read inside a network, in float32; its gradient is scaled on the way in."""
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        if not self.scales or not value.requires_grad:
            return value.float()
        return _Scale.apply(value, torch.float32, lambda: self.scale)  # type: ignore[no-untyped-call]

    def overflow(self) -> bool:
        """Take note of gradients that are not finite; return whether a smaller scale may mend it."""
        self._finite = False
        return self.scales and self.scale > 1

    def stepped(self) -> None:
        """Take note of gradients that are finite."""
        if self._finite is None:
            self._finite = True

    def update(self) -> None:
        """Between two steps: halve the scale if gradients of the last were not finite, or let it grow."""
        if self.scales and self._finite is False:
            self.scale = max(self.scale / 2, 1.0)
            self.growth = 0
        elif self.scales and self._finite:
            self.growth += 1
            if self.growth == _GROWTH_INTERVAL:
                self.scale *= 2
                self.growth = 0
        self._finite = None

    def _enter(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not value.requires_grad:
            return value
        return _Scale.apply(value, value.dtype, lambda: 1 / self.scale)  # type: ignore[no-untyped-call]

    def _unscale_parameters(self, network: nn.Module) -> None:
        for parameter in network.parameters():
            if parameter.requires_grad and parameter not in self._unscaled:
                self._unscaled[parameter] = True
                parameter.register_hook(self._unscale)  # type: ignore[no-untyped-call]

    def _unscale(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient / self.scale


def run_in(network: nn.Module, name: str) -> None:
    """Convert a frozen network to ``float32``, ``bf16`` or ``fp16``; it still takes and gives float32."""
    dtype = DTYPES[name]
    network.to(dtype)
    if dtype == torch.float32:
        return
    network.register_forward_pre_hook(lambda module, arguments: tree_map(_to(dtype), arguments))
    network.register_forward_hook(lambda module, arguments, output: tree_map(_to(torch.float32), output))


def autocast_dtype(kind: str) -> torch.dtype | None:
    """Return what autocast computes in just now on a kind of device; None if it is off."""
    try:
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    except (TypeError, AttributeError):  # before PyTorch 2.4
        if kind == "cpu":
            return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
        return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def _refuse_alone(module: nn.Module, arguments: Any) -> None:
    if torch.is_grad_enabled() and not _open.__dict__.get("stack"):
        raise ArgumentError(
            f"a part of a network is called alone, a {type(module).__name__}, and fp16 would not scale its "
            f"gradients: use bf16",
            argument="half",
        )


def _to(dtype: torch.dtype) -> Callable[[Any], Any]:
    return lambda value: value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


class _Scale(torch.autograd.Function):
    """The same values in another type; the gradient is multiplied, in float32, with what ``factor`` then gives."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, dtype: torch.dtype, factor: Callable[[], float]) -> torch.Tensor:
        ctx.dtype, ctx.factor = value.dtype, factor
        return value.to(dtype) if value.dtype != dtype else value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        if torch.is_grad_enabled():
            raise ArgumentError(
                "fp16 scales gradients, so a loss cannot be made of them, as a gradient penalty does: use bf16",
                argument="half",
            )
        return (gradient.float() * ctx.factor()).to(ctx.dtype), None, None
