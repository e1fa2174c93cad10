"""Layers that architectures share: building them, and reading them from a state dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from ..errors import CheckpointError
from .architecture import Norm

NormLayer = Callable[[int], nn.Module]


def norm_layer(norm: Norm) -> NormLayer:
    """Return a function from a number of channels to a norm; for ``"none"`` to an identity, which keeps indices."""
    if norm == "batch":
        return nn.BatchNorm2d
    if norm == "instance":
        return nn.InstanceNorm2d
    return lambda channels: nn.Identity()


class SeparableConv(nn.Sequential):
    """A 3x3 convolution in each channel, a norm, and a 1x1 convolution across channels; (B, C, H, W).

    Replaces a 3x3 convolution in the MobileNet-style generators of GAN Compression and OMGD: C^2 + 9 C products per
    pixel instead of 9 C^2. ``padding`` is the width of a border of zeros.
    """

    def __init__(self, channels: int, norm: NormLayer, bias: bool, padding: int = 0) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=padding, groups=channels, bias=bias),
            norm(channels),
            nn.Conv2d(channels, channels, 1, bias=bias),
        )


def read_shape(state: Mapping[str, torch.Tensor], key: str) -> tuple[int, int, int, int]:
    """Return the shape of a convolution's weight.

    Raises:
        CheckpointError: If it is missing or does not have four dimensions.
    """
    if key not in state:
        raise CheckpointError(f"'{key}' is missing, so this is not a generator of the family")
    shape = tuple(state[key].shape)
    if len(shape) != 4 or 0 in shape:
        raise CheckpointError(f"'{key}' has the shape {shape}, expected the four dimensions of a convolution")
    return shape


def read_norm(state: Mapping[str, torch.Tensor], norm_key: str, conv_key: str) -> Norm:
    """Return the norm after a convolution; the family's convolutions have a bias before an instance norm."""
    if f"{norm_key}.weight" in state:
        return "batch"
    # Running statistics without weights: instance norm as PyTorch saved it before 0.4.
    return "instance" if f"{conv_key}.bias" in state or f"{norm_key}.running_mean" in state else "none"
