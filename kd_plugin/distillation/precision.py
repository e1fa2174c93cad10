"""Run networks in bfloat16 or float16 in a training that is otherwise in float32.

Inputs and outputs of such a network are float32 for any caller, so the losses do not change. Gradients in float16
need scaling, or small ones underflow. Instead of the loss, which the host computes, the gradient is scaled where it
enters a network and unscaled where it leaves it: at its parameters and at its input. Nothing outside sees a scaled
gradient. The scale is updated as in ``torch.amp.GradScaler``.
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
from ..networks.generator import GeneratorSpec, build_generator

PrecisionName = Literal["bf16", "fp16"]
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_GROWTH_INTERVAL = 2000  # steps; this and the first scale are those of torch.amp.GradScaler
_FIRST_SCALE = 2.0**16

# Generators that a precision is tested on.
_SIDE = 32
_SMALL = (
    GeneratorSpec("resnet", 1, 1, 1, 1, "instance", False, False),
    GeneratorSpec("unet", 1, 1, 1, 5, "batch", False, False),
)

_open = threading.local()  # the open autocast contexts of this thread


class HalfPrecision:
    """Mixed precision of one training: the networks passed to :meth:`run` compute in half precision from then on.

    Args:
        name: ``"bf16"`` or ``"fp16"``.
        device: the device of the networks.

    Attributes:
        dtype: dtype of convolutions and matrix products; PyTorch's autocast keeps other operations in float32.
        scales: whether gradients inside the networks are scaled, as in float16.
        scale: their scale, a power of two.
        growth: number of steps since the scale changed.

    Raises:
        ArgumentError: If the device does not support the precision.
    """

    def __init__(self, name: PrecisionName, device: torch.device | str) -> None:
        self.name = name
        self.dtype = DTYPES[name]
        self.scales = name == "fp16"
        self.scale = _FIRST_SCALE if self.scales else 1.0
        self.growth = 0
        self._kind = torch.device(device).type
        self._unscaled = WeakTensorKeyDictionary()  # the parameters whose gradients are unscaled by a hook
        self._finite: bool | None = None  # whether the gradients of this step are; None before the first
        try:
            works = torch.autocast(self._kind, self.dtype)._enabled
        except RuntimeError as error:
            raise ArgumentError(f"{name} does not work on this device: {first_line(error, 120)}") from error
        if not works:
            raise ArgumentError(f"{name} does not work on {self._kind} in PyTorch {torch.__version__}: try the other")

    def run(self, network: nn.Module) -> None:
        """Make a network compute in half precision in every call.

        The hooks are on the module inside DataParallel or DDP, since DataParallel has a thread per GPU. A direct call
        of a submodule stays in float32; in float16 it raises an ArgumentError, since its gradients would be unscaled
        without having been scaled.

        In float16, a network without convolutions stays in float32. CUT's netF is one: it divides features by their
        norms, and squares of features underflow in float16, in which autocast on CPUs computes them.
        """
        while isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            network = network.module
        in_float32 = self.scales and not any(parameter.ndim > 2 for parameter in network.parameters())

        def enter(module: nn.Module, arguments: Any, named: Any) -> Any:
            stack = _open.__dict__.setdefault("stack", [])
            if not stack and autocast_dtype(self._kind):
                raise ArgumentError("the network is already under autocast: remove one of the two", argument="half")
            if self.scales and torch.is_grad_enabled():
                self._unscale_parameters(module)  # those added since
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
                module.register_forward_pre_hook(_refuse_direct_call)

    def leave(self, value: Any) -> Any:
        """Return a tensor of the network in float32; its gradient is scaled when it enters the network."""
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        if not self.scales or not value.requires_grad:
            return value.float()
        return _Scale.apply(value, torch.float32, lambda: self.scale)  # type: ignore[no-untyped-call]

    def overflow(self) -> bool:
        """Record that gradients are not finite; return whether a smaller scale may fix it."""
        self._finite = False
        return self.scales and self.scale > 1

    def stepped(self) -> None:
        """Record that gradients are finite."""
        if self._finite is None:
            self._finite = True

    def update(self) -> None:
        """Update the scale between two steps: halve it if gradients were not finite, double it after enough steps."""
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
                parameter.register_hook(lambda gradient: gradient / self.scale)  # type: ignore[no-untyped-call]


def run_in(network: nn.Module, name: str) -> None:
    """Convert a frozen network to ``float32``, ``bf16`` or ``fp16``; it still takes and returns float32."""
    dtype = DTYPES[name]
    network.to(dtype)
    if dtype == torch.float32:
        return

    def convert(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        if len(arguments) + len(named) > 1:  # rounded, a time step would be another
            raise ArgumentError(f"a network that takes more than images does not compute in {name}: use float32")
        return tree_map(_to(dtype), arguments), tree_map(_to(dtype), named)

    network.register_forward_pre_hook(convert, with_kwargs=True)
    network.register_forward_hook(lambda module, arguments, output: tree_map(_to(torch.float32), output))


def checked_half(name: PrecisionName, device: torch.device) -> HalfPrecision:
    """Return a mixed precision that was tried on small generators.

    Raises:
        ArgumentError: If the device does not support it.
    """
    half = HalfPrecision(name, device)
    _try(name, device, half.run)
    return half


def prepare_teacher(
    teacher: nn.Module, dtype: str | None = None, compiled: bool = False, half: HalfPrecision | None = None
) -> nn.Module:
    """Return a frozen teacher in another precision, and compiled.

    Args:
        teacher: modified in place.
        dtype: ``float32``, ``bf16`` or ``fp16``; None for that of ``half``.
        compiled: whether it runs through ``torch.compile``.
        half: the mixed precision of the training, if any.

    Raises:
        ArgumentError: If the device does not support the precision.
    """
    prepared: Any = torch.compile(teacher) if compiled else teacher
    if dtype:
        _try(dtype, next(teacher.parameters()).device, lambda network: run_in(network, dtype))
        run_in(prepared, dtype)
    elif half:
        half.run(prepared)
    return prepared  # type: ignore[no-any-return]


def _try(name: str, device: torch.device, convert: Callable[[nn.Module], None]) -> None:
    try:
        for spec in _SMALL:
            with torch.random.fork_rng(devices=[]):  # leave the RNG state of the run unchanged
                network = build_generator(spec).requires_grad_(False).eval().to(device)
            convert(network)
            network(torch.zeros(1, 1, _SIDE, _SIDE, device=device))
    except RuntimeError as error:
        raise ArgumentError(
            f"{name}: PyTorch {torch.__version__} does not support it on {device.type} "
            f"({first_line(error, 80)}): remove it, or try another"
        ) from error


def autocast_dtype(kind: str) -> torch.dtype | None:
    """Return the current autocast dtype of a device type; None if autocast is off."""
    try:
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    except (TypeError, AttributeError):  # before PyTorch 2.4
        if kind == "cpu":
            return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
        return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def _refuse_direct_call(module: nn.Module, arguments: Any) -> None:
    if torch.is_grad_enabled() and not _open.__dict__.get("stack"):
        raise ArgumentError(
            f"a submodule is called directly, a {type(module).__name__}, and fp16 would not scale its gradients: "
            f"use bf16",
            argument="half",
        )


def _to(dtype: torch.dtype) -> Callable[[Any], Any]:
    return lambda value: value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


class _Scale(torch.autograd.Function):
    """Convert values to another dtype; the gradient is multiplied in float32 by ``factor()``."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, dtype: torch.dtype, factor: Callable[[], float]) -> torch.Tensor:
        ctx.dtype, ctx.factor = value.dtype, factor
        return value.to(dtype) if value.dtype != dtype else value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        if torch.is_grad_enabled():
            raise ArgumentError(
                "fp16 scales gradients, so a loss cannot depend on them, as a gradient penalty does: use bf16",
                argument="half",
            )
        return (gradient.float() * ctx.factor()).to(ctx.dtype), None, None
