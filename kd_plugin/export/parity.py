"""Compare the images of an exported file with those of the network it was made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

STEP = 2 / 255  # of 8 bits, in [-1, 1]


@dataclass(frozen=True)
class Parity:
    """How far images are apart.

    Attributes:
        images: number of images.
        largest, mean: of the absolute differences, in steps of 8 bits.
        psnr: in dB; infinite for equal images.
    """

    images: int
    largest: float
    mean: float
    psnr: float

    def __str__(self) -> str:
        """Return a description for the reader."""
        pictures = "1 image" if self.images == 1 else f"{self.images} images"
        return (
            f"largest difference {self.largest:.3g}, mean {self.mean:.2g} of 255 steps, PSNR {self.psnr:.1f} dB, on "
            f"{pictures}"
        )


def compare(
    expected: Callable[[torch.Tensor], torch.Tensor],
    found: Callable[[np.ndarray], np.ndarray],
    batches: Sequence[torch.Tensor],
) -> Parity:
    """Return the differences of two functions of images.

    Args:
        expected, found: take and return images, float32 in [-1, 1] or uint8, of one format.
        batches: the images.
    """
    largest, total, squares, values, images = 0.0, 0.0, 0.0, 0, 0
    for batch in batches:
        first, second = expected(batch).cpu().numpy(), found(batch.cpu().numpy())
        if first.shape != second.shape:
            raise ValueError(f"shapes {first.shape} and {second.shape}")
        scale = 1.0 if first.dtype == np.uint8 else 1 / STEP
        steps = np.abs(first.astype(np.float64) - second.astype(np.float64)) * scale
        # The maximum of values that are not numbers is not a number, as it must be.
        largest = max(largest, float(steps.max())) if np.isfinite(steps).all() else math.inf
        total, squares = total + float(steps.sum()), squares + float(np.square(steps).sum())
        values, images = values + steps.size, images + len(batch)
    error = squares / values
    psnr = math.inf if error == 0 else 10 * math.log10(255**2 / error) if math.isfinite(error) else -math.inf
    return Parity(images, largest, total / values, psnr)
