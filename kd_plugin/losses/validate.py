"""Argument checks that the losses share."""

from __future__ import annotations

import torch

from ..errors import ArgumentError

__all__ = ["check_images"]


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
