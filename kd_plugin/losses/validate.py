"""Argument checks that the losses share."""

from __future__ import annotations

import contextlib
import functools

import torch
from torch import nn

from ..errors import ArgumentError
from .layout import keep_layout


def check_images(*tensors: torch.Tensor) -> None:
    """Check that the tensors (B, C, H, W) are floating point, not empty and of the same shape.

    Raises:
        ArgumentError: If a shape or dtype is wrong; the message names it.
    """
    for tensor in tensors:
        if tensor.ndim != 4:
            raise ArgumentError(f"expected a batch (B, C, H, W), got the shape {tuple(tensor.shape)}")
        if not tensor.is_floating_point():
            raise ArgumentError(f"expected floating-point values, got {tensor.dtype}: scale images to [-1, 1]")
        if tensor.numel() == 0:
            raise ArgumentError(f"expected a non-empty batch, got the shape {tuple(tensor.shape)}")
    for tensor in tensors[1:]:
        if tensor.shape != tensors[0].shape:
            student, teacher = tuple(tensors[0].shape), tuple(tensor.shape)
            raise ArgumentError(f"the student's shape {student} and the teacher's {teacher} differ")


def check_features(
    student: torch.Tensor,
    teacher: torch.Tensor,
    *,
    same_size: bool = True,
    same_channels: bool = False,
    remedy: str = "",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Check that two feature maps (B, C, H, W) can be compared.

    Returns:
        The two, with gradients in their memory format (:mod:`kd_plugin.losses.layout`).

    Raises:
        ArgumentError: If they cannot; the message has both shapes and ``remedy``, and ``argument`` is ``"taps"``.
    """
    check_images(student)
    check_images(teacher)
    shape, shape_t = tuple(student.shape), tuple(teacher.shape)
    unequal = [
        name
        for name, compared, equal in (
            ("batch size", True, shape[0] == shape_t[0]),
            ("channels", same_channels, shape[1] == shape_t[1]),
            ("resolution", same_size, shape[2:] == shape_t[2:]),
        )
        if compared and not equal
    ]
    if unequal:
        raise ArgumentError(
            f"the features do not match: the student's are {shape}, the teacher's {shape_t} (B, C, H, W); choose "
            f"modules with the same {' and '.join(unequal)}{remedy}",
            argument="taps",
        )
    return keep_layout(student), keep_layout(teacher)


def common_dtype(*tensors: torch.Tensor) -> torch.dtype:
    """Return the dtype to compute in: the widest of the tensors' dtypes, at least float32.

    In half precision, a mean over an image would lose most of its digits.
    """
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)


def fit(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Move a network to a device and a dtype, if necessary."""
    parameter = next(network.parameters(), None)
    if parameter is not None and (parameter.device != device or parameter.dtype != dtype):
        network.to(device=device, dtype=dtype)


def safe_normalize(rows: torch.Tensor) -> torch.Tensor:
    """Divide the rows (n, m) by their L2 norms; rows of zeros stay zero, with a finite gradient."""
    peaks = rows.detach().abs().amax(1, keepdim=True)  # keeps squares in range; no effect on gradients
    rows = rows / torch.where(peaks == 0, torch.ones_like(peaks), peaks)
    squares = rows.square().sum(1, keepdim=True)
    return rows / torch.where(squares == 0, torch.ones_like(squares), squares).sqrt()


def without_autocast(tensor: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Return a context in which operations on the tensor's device keep the precision of their inputs."""
    kind = tensor.device.type
    # Older PyTorch raises for other devices, even with enabled=False.
    return torch.autocast(kind, enabled=False) if kind in ("cpu", "cuda") else contextlib.nullcontext()
