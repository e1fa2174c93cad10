"""Argument checks that the losses share."""

from __future__ import annotations

import contextlib
import functools

import torch
from torch import nn

from ..errors import ArgumentError
from .layout import keep_layout

__all__ = ["check_features", "check_images", "common_dtype", "fit", "safe_normalize", "without_autocast"]


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
    for tensor in tensors[1:]:
        if tensor.shape != tensors[0].shape:
            own, other = tuple(tensors[0].shape), tuple(tensor.shape)
            raise ArgumentError(f"the student's shape {own} and the teacher's {other} differ")


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
        The two, such that their gradients arrive in their own layout (:mod:`kd_plugin.losses.layout`).

    Raises:
        ArgumentError: with both shapes; ``remedy`` is added, and ``argument`` is ``"taps"``.
    """
    check_images(student)
    check_images(teacher)
    own, other = tuple(student.shape), tuple(teacher.shape)
    unequal = [
        what
        for what, compared, equal in (
            ("batch size", True, own[0] == other[0]),
            ("channels", same_channels, own[1] == other[1]),
            ("resolution", same_size, own[2:] == other[2:]),
        )
        if compared and not equal
    ]
    if unequal:
        raise ArgumentError(
            f"the features do not fit: the student's are {own}, the teacher's {other} (B, C, H, W); choose modules "
            f"of the same {' and '.join(unequal)}{remedy}",
            argument="taps",
        )
    return keep_layout(student), keep_layout(teacher)


def common_dtype(*tensors: torch.Tensor) -> torch.dtype:
    """Return the type to compute in: the widest of the tensors', float32 or more.

    In half precision, a mean over an image would lose most of its digits.
    """
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)


def fit(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Bring a network to a device and a type, if it is not there already."""
    parameter = next(network.parameters(), None)
    if parameter is not None and (parameter.device != device or parameter.dtype != dtype):
        network.to(device=device, dtype=dtype)


def safe_normalize(rows: torch.Tensor) -> torch.Tensor:
    """Divide the rows (n, m) by their L2 norms; rows of zeros stay, and their gradient is finite."""
    peaks = rows.detach().abs().amax(1, keepdim=True)  # so that no square leaves float32; without effect on gradients
    rows = rows / torch.where(peaks == 0, torch.ones_like(peaks), peaks)
    squares = rows.square().sum(1, keepdim=True)
    return rows / torch.where(squares == 0, torch.ones_like(squares), squares).sqrt()


def without_autocast(tensor: torch.Tensor) -> contextlib.AbstractContextManager[object]:
    """Return a context in which operations on the tensor's device keep the precision of their inputs."""
    kind = tensor.device.type
    # Older PyTorch refuses to construct an autocast for other devices, even one that is off.
    return torch.autocast(kind, enabled=False) if kind in ("cpu", "cuda") else contextlib.nullcontext()
