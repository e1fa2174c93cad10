r"""Where the spectra of generated and real images differ: errors of wavelet bands, power spectra, maps.

The error of band *b* at level *l* is that of the frequency study in "Wavelet Knowledge Distillation" (Zhang et al.,
CVPR 2022). With :math:`\Psi` the band, *G* generated and *R* real images,

.. math:: e_{b,l} = \frac{\sum |\Psi_{b,l}(G) - \Psi_{b,l}(R)|}{\sum |\Psi_{b,l}(R)|}

with both sums over all images, channels and pixels: 0 is perfect, an empty band has the error 1. The paper does not
specify the denominator; this is our interpretation.

Images are (B, C, H, W), floating point, in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import ArgumentError
from ..losses.validate import check_images
from ..losses.wavelet_transform import wavelet_decompose
from .image_pairs import checked_pair, checked_range
from .intervals import RESAMPLES, Resamples, resample_sums

# Of the sum of an image: less is the rounding of a few float64 additions per coefficient, in a band that is empty.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class BandSums:
    """Sums of absolute coefficients, of each image, from which errors of any set of images follow.

    Attributes:
        names: (K), band and level, in order of frequency: ``"LL2", "LH2", "HL2", "HH2", "LH1", "HL1", "HH1"``. Level
            1 is the finest. The first letter is the band along the width, the second along the height.
        difference: (N, K), sums of the absolute difference of generated and real coefficients.
        real: (N, K), sums of absolute real coefficients.
    """

    names: tuple[str, ...]
    difference: np.ndarray
    real: np.ndarray

    def errors(self) -> dict[str, float]:
        """Return the normalised L1 error of each band over all images (equation in the module's docstring).

        A band that is empty in all real images has the error 0 if it is also empty in the generated ones, else
        infinity.
        """
        values = _ratios(np.concatenate([self.difference, self.real], axis=1).sum(axis=0, keepdims=True))[0]
        return dict(zip(self.names, map(float, values), strict=True))

    def resamples(self, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Resamples]:
        """Return the error of each band, resampled over images; those of two networks are paired.

        Args:
            resamples: number of draws.
            seed: of the draws.
        """
        sums = np.concatenate([self.difference, self.real], axis=1)  # (N, 2K)
        return dict(zip(self.names, resample_sums(sums, _ratios, resamples, seed), strict=True))


def band_sums(generated: torch.Tensor, real: torch.Tensor, levels: int = 3, wavelet: str = "haar") -> BandSums:
    """Return the sums of each image over the bands of a wavelet transform.

    Args:
        generated, real: (B, C, H, W) of the same shape, in [0, 1].
        levels: number of levels.
        wavelet: a discrete wavelet of PyWavelets.

    Raises:
        ArgumentError: If shapes differ, values are outside [0, 1], or a setting is not valid.
    """
    generated, real = checked_pair(generated, real)
    rounding = _ROUNDING * (generated + real).sum(dim=(1, 2, 3))  # (B,)
    bands = _bands(real, levels, wavelet)
    differences = _bands(generated - real, levels, wavelet)  # the transform is linear
    sums = []
    for group in (differences, bands):
        found = torch.stack([band.abs().sum(dim=(1, 2, 3)) for _, band in group], dim=1)  # (B, K)
        sums.append(torch.where(found > rounding[:, None], found, 0.0).numpy())
    return BandSums(tuple(name for name, _ in bands), *sums)


def join_band_sums(parts: Sequence[BandSums]) -> BandSums:
    """Return the sums of all images of several batches.

    Raises:
        ArgumentError: If their bands differ.
    """
    if len({part.names for part in parts}) != 1:
        raise ArgumentError("cannot join sums of different bands: use the same number of levels for all batches")
    joined = [np.concatenate([getattr(part, name) for part in parts]) for name in ("difference", "real")]
    return BandSums(parts[0].names, *joined)


def _bands(images: torch.Tensor, levels: int, wavelet: str) -> list[tuple[str, torch.Tensor]]:
    """Return the bands of images (B, C, H, W) with their names, each (B, C, h, w), in order of frequency."""
    approximation, details = wavelet_decompose(images, levels, wavelet)
    found = [(f"LL{levels}", approximation)]
    for level in range(levels, 0, -1):
        names = (f"{band}{level}" for band in ("LH", "HL", "HH"))
        found += zip(names, details[level - 1].unbind(dim=2), strict=True)
    return found


def _ratios(sums: np.ndarray) -> np.ndarray:
    """Return ratios (R, K) of sums (R, 2K): 0 / 0 is 0, and anything else / 0 infinite."""
    difference, real = np.split(sums, 2, axis=1)
    empty = np.where(difference == 0, 0.0, math.inf)
    return np.asarray(np.divide(difference, real, out=empty, where=real != 0))


def power_spectrum(images: torch.Tensor) -> torch.Tensor:
    r"""Return the power spectrum of images, the mean over channels.

    Each channel, less its mean, is multiplied by a Hann window along both axes: an image is not periodic, and without
    a window the steps from one border to the opposite one would cover the high frequencies, where students differ.
    The scale is that of a power spectral density per pixel: white noise of variance :math:`\sigma^2` has the expected
    power :math:`\sigma^2` at every frequency but the lowest, and the mean over all frequencies is the variance under
    the window (Parseval), :math:`\sum w^2 x^2 / \sum w^2`.

    Args:
        images: (B, C, H, W), floating point, of 3x3 pixels or more.

    Returns:
        (B, H, W), in the order of ``torch.fft.fftfreq``.

    Raises:
        ArgumentError: If it is not a batch of images, or images are too small.
    """
    check_images(images)
    height, width = images.shape[2:]
    if min(height, width) < 3:
        raise ArgumentError(f"a power spectrum needs images of 3x3 pixels or more, got {width}x{height}")
    images = images.detach().cpu().double()
    rows, columns = (torch.hann_window(side, periodic=True, dtype=torch.float64) for side in (height, width))
    window = rows[:, None] * columns
    # The mean under the window: the lowest frequency is then exactly 0.
    images = images - (images * window).sum(dim=(2, 3), keepdim=True) / window.sum()
    power: torch.Tensor = torch.fft.fft2(images * window).abs().square() / window.square().sum()
    return power.mean(dim=1)


def radial_spectrum(images: torch.Tensor, bins: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the radially averaged power spectrum of each image (:func:`power_spectrum`).

    The mean power over rings of equal width, in every direction. The corners of the spectrum, above half a cycle per
    pixel, are left out: not every direction has them.

    Args:
        images: (B, C, H, W), floating point, in [0, 1].
        bins: number of rings, at most half of the shorter side, which is the default. Images of different sizes have
            the same frequencies if the number is the same.

    Returns:
        Frequencies (F,) of the centres of the rings in cycles per pixel, up to 0.5, and power (B, F).

    Raises:
        ArgumentError: If values are outside [0, 1], or an argument is not valid.
    """
    check_images(images)
    power = power_spectrum(checked_range(images, "given")).flatten(1).numpy()  # (B, H * W)
    height, width = images.shape[2:]
    most = min(height, width) // 2
    bins = most if bins is None else bins
    if not 1 <= bins <= most:
        raise ArgumentError(f"bins is {bins}: images of {width}x{height} pixels have 1 to {most} rings")
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    # Ring k is around k / (2 bins); 1e-9 keeps frequencies on the border of two rings together despite rounding.
    ring = np.floor(radius.ravel() * 2 * bins + 0.5 + 1e-9).astype(int)
    kept = (ring >= 1) & (ring <= bins)
    members = np.bincount(ring[kept], minlength=bins + 1)[1:]
    means = [np.bincount(ring[kept], weights=p[kept], minlength=bins + 1)[1:] / members for p in power]
    return np.arange(1, bins + 1) / (2 * bins), np.stack(means)


def missing_detail(generated: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return where the reference has fine detail that the generated image has not.

    The magnitude of detail is the root of the squared Haar details of level 1, summed over the bands and averaged
    over the channels. It does not depend on signs, so detail that is present but displaced is not missing.

    Args:
        generated, reference: (B, C, H, W) of the same shape, in [0, 1].

    Returns:
        (B, H, W), float64: the magnitude that is missing, on squares of 2x2 pixels; 0 where the generated image has
        as much detail, or more. A checkerboard of black and white has the magnitude 1.

    Raises:
        ArgumentError: If shapes differ or values are outside [0, 1].
    """
    generated, reference = checked_pair(generated, reference)
    missing = (_magnitude(reference) - _magnitude(generated)).clamp(min=0)
    height, width = reference.shape[2:]
    return missing.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)[:, :height, :width]


def _magnitude(images: torch.Tensor) -> torch.Tensor:
    """Return the magnitude of the finest details, (B, h, w)."""
    # Repeats the last row or column of an odd side, which zeros would turn into an edge.
    images = F.pad(images, (0, images.shape[3] % 2, 0, images.shape[2] % 2), mode="replicate")
    _, (details,) = wavelet_decompose(images, levels=1)
    return details.square().sum(dim=2).mean(dim=1).sqrt()
