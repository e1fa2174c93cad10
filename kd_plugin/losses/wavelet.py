r"""Wavelet distillation: match the high-frequency bands of the teacher's image.

Source: Zhang et al., "Wavelet Knowledge Distillation: Towards Efficient Image-to-Image Translation",
CVPR 2022. With :math:`\Psi_l` the detail bands (horizontal, vertical, diagonal) of level *l* of a discrete
wavelet transform with *L* levels,

.. math:: \mathcal{L} = \sum_{l=1}^{L} \operatorname{mean} |\Psi_l(S(x)) - \Psi_l(T(x))|

the mean running over batch, channels, the three bands and pixels. The paper uses Haar, four levels and zero
padding. The transform is linear, so it is applied once, to the difference of the images, where the paper's
code applies it to each: same value, same gradient, half the work.
"""

from __future__ import annotations

import functools
from typing import Literal, get_args

import pywt
import torch
import torch.nn.functional as F

from ..errors import ArgumentError, unknown_name
from .registry import Term, TermOption, register
from .validate import check_images

__all__ = ["Bands", "Mode", "WaveletLoss", "wavelet_decompose", "wavelet_loss"]

Bands = Literal["high", "low", "all"]
Mode = Literal["zero", "symmetric", "reflect", "constant", "periodic", "periodization"]


@functools.cache
def _filters(wavelet: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the decomposition filters (low, high) of a discrete wavelet, as PyWavelets gives them."""
    known = pywt.wavelist(kind="discrete")
    if wavelet not in known:
        raise ArgumentError(
            unknown_name("wavelet", wavelet, known)
            if wavelet not in pywt.wavelist()
            else f"the wavelet '{wavelet}' is continuous: give a discrete one, such as haar, db4 or bior2.2"
        )
    bank = pywt.Wavelet(wavelet)
    return tuple(bank.dec_lo), tuple(bank.dec_hi)


def _extend(x: torch.Tensor, taps: int, mode: Mode) -> torch.Tensor:
    """Extend the last axis at both ends, as far as a stride-2 correlation with ``taps`` taps reads."""
    size = x.shape[-1]
    if mode == "reflect" and size == 1:
        raise ArgumentError("mode 'reflect' has nothing to reflect in a band of one sample: take fewer levels")
    if mode == "periodization":
        left = right = taps // 2 - 1
        right += size % 2  # an odd signal is first lengthened by its last sample
    else:
        left = taps - 2
        right = 2 * ((size + taps - 1) // 2) - size
    if mode == "zero":
        return F.pad(x, (left, right))
    index = torch.arange(-left, size + right, device=x.device)
    if mode == "constant":
        index = index.clamp(0, size - 1)
    elif mode == "periodic":
        index = index % size
    elif mode == "periodization":
        index = (index % (size + size % 2)).clamp(0, size - 1)
    else:  # mirrors: "symmetric" repeats the edge sample, "reflect" does not
        period = 2 * size if mode == "symmetric" else 2 * size - 2
        index = index % period
        index = torch.minimum(index, (period - 1 if mode == "symmetric" else period) - index)
    return x.index_select(-1, index)


def _analyse(x: torch.Tensor, wavelet: str, mode: Mode) -> tuple[torch.Tensor, torch.Tensor]:
    """Filter and decimate the last axis, (..., W) -> low and high band (..., W').

    Weighted sums of strided slices rather than a convolution: cuDNN would run that in TF32, with ten bits, and
    autocast in half precision.
    """
    low, high = _filters(wavelet)
    taps = len(low)
    extended = _extend(x, taps, mode)
    count = (extended.shape[-1] - taps) // 2 + 1
    # PyWavelets convolves, so the filters are read from their end.
    slices = [extended[..., taps - 1 - j : taps + 2 * count - 2 - j : 2] for j in range(taps)]
    bands = []
    for bank in (low, high):
        band = slices[0] * bank[0]
        for factor, piece in zip(bank[1:], slices[1:], strict=True):
            band = torch.add(band, piece, alpha=factor)
        bands.append(band)
    return bands[0], bands[1]


def wavelet_decompose(
    images: torch.Tensor, levels: int = 4, wavelet: str = "haar", mode: Mode = "zero"
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Two-dimensional discrete wavelet transform, differentiable, equal to ``pywt.wavedec2``.

    Args:
        images: (B, C, H, W), floating point; half precision is computed and returned in float32.
        levels: number of levels, 1 or more.
        wavelet: any of ``pywt.wavelist(kind="discrete")``.
        mode: extension at the borders, as in PyWavelets.

    Returns:
        The approximation (B, C, h, w) of the coarsest level, and per level, finest first, the details
        (B, C, 3, h, w) in the order horizontal, vertical, diagonal (``cH, cV, cD``).

    Raises:
        ArgumentError: unknown wavelet or mode, ``levels`` below 1, or not a batch of images.
    """
    check_images(images)
    if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
        raise ArgumentError(f"levels is {levels!r}: give a whole number of 1 or more")
    if mode not in get_args(Mode):
        raise ArgumentError(unknown_name("mode", str(mode), get_args(Mode)))
    approximation = images.to(torch.promote_types(images.dtype, torch.float32))
    details = []
    for _ in range(levels):
        along_width = _analyse(approximation, wavelet, mode)
        # Both bands of the width, then along the height, as (low, high) each: cA and cH, cV and cD.
        (approximation, horizontal), (vertical, diagonal) = (
            (band.transpose(-1, -2) for band in _analyse(half.transpose(-1, -2), wavelet, mode))
            for half in along_width
        )
        details.append(torch.stack((horizontal, vertical, diagonal), dim=2))
    return approximation, details


def wavelet_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    levels: int = 4,
    wavelet: str = "haar",
    mode: Mode = "zero",
    bands: Bands = "high",
) -> torch.Tensor:
    """Mean absolute difference of wavelet bands, summed over levels (equation in the module's docstring).

    Args:
        student, teacher: images (B, C, H, W) of one shape. The teacher's is taken as a constant only if it
            does not require grad; nothing is detached here.
        levels, wavelet, mode: see :func:`wavelet_decompose`.
        bands: ``"high"`` the detail bands of every level (the paper), ``"low"`` the approximation of the
            coarsest level alone, ``"all"`` the sum of both.

    Returns:
        A scalar, float32 or float64.

    Raises:
        ArgumentError: shapes differ, or a setting is not valid.
    """
    check_images(student, teacher)
    if bands not in get_args(Bands):
        raise ArgumentError(unknown_name("bands", str(bands), get_args(Bands)))
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    approximation, details = wavelet_decompose(student.to(dtype) - teacher.to(dtype), levels, wavelet, mode)
    low = approximation.abs().mean()
    if bands == "low":
        return low
    high = torch.stack([level.abs().mean() for level in details]).sum()
    return high + low if bands == "all" else high


@register
class WaveletLoss(Term):
    """The wavelet term as a module; see :func:`wavelet_loss`."""

    name = "wavelet"
    summary = "mean absolute difference of the wavelet detail bands of the two outputs (WKD, CVPR 2022)"
    reads = "output"
    default_weight = 100.0
    options = (
        TermOption("wavelet_levels", "levels", int, 4, "levels of the wavelet transform"),
        TermOption("wavelet_basis", "wavelet", str, "haar", "any discrete wavelet of PyWavelets: haar, db4, ..."),
        TermOption(
            "wavelet_bands",
            "bands",
            str,
            "high",
            "which bands to match: the details, the coarsest approximation, or both",
            get_args(Bands),
        ),
    )

    def __init__(self, levels: int = 4, wavelet: str = "haar", bands: Bands = "high") -> None:
        super().__init__()
        probe = torch.zeros(1, 1, 1, 1)
        wavelet_loss(probe, probe, levels, wavelet, bands=bands)  # validates, so a bad value fails here
        self.levels, self.wavelet, self.bands = levels, wavelet, bands

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return wavelet_loss(student, teacher, self.levels, self.wavelet, bands=self.bands)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, wavelet={self.wavelet!r}, bands={self.bands!r}"
