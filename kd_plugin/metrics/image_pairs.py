"""The check that measures of two batches of images share."""

from __future__ import annotations

import torch

from ..errors import ArgumentError
from ..losses.validate import check_images


def checked_pair(generated: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Check two batches (B, C, H, W) in [0, 1]; return them on the CPU in float64, without graphs.

    Raises:
        ArgumentError: If shapes differ, values are outside [0, 1], or a tensor is not a batch of images.
    """
    check_images(generated)
    check_images(real)
    if generated.shape != real.shape:
        raise ArgumentError(
            f"generated and real images differ in shape: {tuple(generated.shape)} and {tuple(real.shape)}"
        )
    return checked_range(generated, "generated"), checked_range(real, "real")


def checked_range(images: torch.Tensor, name: str) -> torch.Tensor:
    """Check that values are in [0, 1]; return them on the CPU in float64, without graphs.

    Raises:
        ArgumentError: If they are not; the message has ``name``, what the images are.
    """
    low, high = (float(value) for value in images.aminmax())
    if not (low >= 0 and high <= 1):  # also true of NaN
        raise ArgumentError(f"the {name} images run from {low:g} to {high:g}: scale them to [0, 1]")
    return images.detach().cpu().double()
