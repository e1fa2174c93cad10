"""The difference of generated and real images: L1, PSNR, SSIM and the error of each wavelet band.

All functions take two batches (B, C, H, W) of the same shape, floating point, in [0, 1], and return means over the
batch. :mod:`kd_plugin.metrics.frequency` has the equation of the bands' errors.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..errors import ArgumentError, KDError
from .frequency import band_sums
from .image_pairs import checked_pair

_SSIM_WINDOW = 11  # side of the Gaussian window of sigma 1.5, truncated at 3.5 sigma


@dataclass(frozen=True)
class BandErrors:
    """Normalised L1 error of each band: the first letter is the band along the width, the second the height."""

    LL: float  # approximation
    LH: float  # horizontal details (cH of PyWavelets)
    HL: float  # vertical details (cV)
    HH: float  # diagonal details (cD)


@dataclass(frozen=True)
class Quality:
    """The quality of a set of generated images, compared with the real ones: means over the images."""

    images: int  # their number
    l1: float  # absolute difference on the [0, 1] scale; lower is better
    psnr: float  # peak signal-to-noise ratio in dB; higher is better, infinite for equal images
    ssim: float  # structural similarity; higher is better, 1 for equal images
    bands: BandErrors  # lower is better

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers for JSON, with None for infinity (PSNR of equal images), which JSON does not have."""
        numbers = asdict(self)
        for group in (numbers, numbers["bands"]):
            group.update({k: None for k, v in group.items() if isinstance(v, float) and math.isinf(v)})
        return numbers


def measure_quality(generated: torch.Tensor, real: torch.Tensor, wavelet: str = "haar") -> Quality:
    """Compute every measure of this file; raises as :func:`ssim`."""
    return Quality(
        images=len(generated),
        l1=l1_error(generated, real),
        psnr=psnr(generated, real),
        ssim=ssim(generated, real),
        bands=band_errors(generated, real, wavelet),
    )


def l1_error(generated: torch.Tensor, real: torch.Tensor) -> float:
    """Return the mean absolute difference of two batches (B, C, H, W) in [0, 1]."""
    generated, real = checked_pair(generated, real)
    return float((generated - real).abs().mean())


def psnr(generated: torch.Tensor, real: torch.Tensor) -> float:
    """Return the mean over the batch of the PSNR in dB, -10 log10 of an image's mean squared error."""
    generated, real = checked_pair(generated, real)
    errors = (generated - real).square().mean(dim=(1, 2, 3))  # (B,)
    return float((-10 * torch.log10(errors)).mean())


def ssim(generated: torch.Tensor, real: torch.Tensor) -> float:
    """Return the structural similarity (Wang et al., 2004: Gaussian window, sigma 1.5), mean over channels and batch.

    Raises:
        ArgumentError: If shapes differ, values are outside [0, 1], or a side is shorter than 11 pixels.
        KDError: If scikit-image is not installed.
    """
    try:
        metrics: Any = importlib.import_module("skimage.metrics")
    except ImportError:
        raise KDError('SSIM needs scikit-image: pip install "kd_plugin[metrics]"') from None
    generated, real = checked_pair(generated, real)
    if min(real.shape[2:]) < _SSIM_WINDOW:
        raise ArgumentError(
            f"SSIM needs images of at least {_SSIM_WINDOW}x{_SSIM_WINDOW} pixels, got {real.shape[3]}x{real.shape[2]}"
        )
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    values = [
        metrics.structural_similarity(g, r, channel_axis=0, data_range=1.0, **settings)
        for g, r in zip(generated.numpy(), real.numpy(), strict=True)
    ]
    return float(np.mean(values))


def band_errors(generated: torch.Tensor, real: torch.Tensor, wavelet: str = "haar") -> BandErrors:
    """Return the normalised L1 error of the four bands of a one-level transform.

    The sums of :func:`kd_plugin.metrics.frequency.band_sums` over the batch.
    """
    errors = band_sums(generated, real, 1, wavelet).errors()
    return BandErrors(**{name.removesuffix("1"): error for name, error in errors.items()})
