"""Argument checks that the losses share."""

from __future__ import annotations

import contextlib

import torch

from ..errors import ArgumentError

__all__ = ["check_images", "without_autocast"]


def check_images(*tensors: torch.Tensor) -> None:
    """Check for non-empty floating-point tensors (B, C, H, W), all of one shape.

    Raises:
        ArgumentError: naming the shape or the type that is wrong.
    """
    for tensor in tensors:
        if tensor.ndim != 4:
            raise ArgumentError(f"expected a batch (B, C, H, W), got the shape {tuple(tensor.shape)}")
        if not tensor.is_floating_point():
            raise ArgumentError(f"expected floating-point values, got {tensor.dtype}: scale images to [-1, 1]")
        if tensor.numel() == 0:
            raise ArgumentError(f"expected a batch that is not empty, got the shape {tuple(tensor.shape)}")
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(set(shapes)) > 1:
        raise ArgumentError(f"the student's shape {shapes[0]} and the teacher's {shapes[1]} differ")


def without_autocast(tensor: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Return a context in which operations on the tensor's device keep the precision of their inputs."""
    kind = tensor.device.type
    # Older PyTorch refuses to construct an autocast for other devices, even one that is off.
    return torch.autocast(kind, enabled=False) if kind in ("cpu", "cuda") else contextlib.nullcontext()
