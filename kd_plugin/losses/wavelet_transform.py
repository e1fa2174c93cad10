"""The two-dimensional discrete wavelet transform of PyWavelets, and the adjoint of its steps."""

from __future__ import annotations

import functools
from typing import Literal, get_args

import pywt
import torch
import torch.nn.functional as F

from ..errors import ArgumentError, unknown_name
from .validate import check_images, common_dtype

Mode = Literal["zero", "symmetric", "reflect", "constant", "periodic", "periodization"]


def check_settings(levels: int, mode: Mode) -> None:
    """Check the number of levels and the extension mode.

    Raises:
        ArgumentError: If one of them is not valid; the message names it.
    """
    if isinstance(levels, bool) or not isinstance(levels, int) or levels < 1:
        raise ArgumentError(f"levels is {levels!r}: give a whole number of 1 or more")
    if mode not in get_args(Mode):
        raise ArgumentError(unknown_name("mode", str(mode), get_args(Mode)))


def wavelet_filters(wavelet: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the decomposition filters (low, high) of a discrete wavelet of PyWavelets.

    Raises:
        ArgumentError: If the name is unknown.
    """
    return _look_up(wavelet)


# As torch.compiler.assume_constant_result, without importing the compiler, which would double the start-up time.
vars(wavelet_filters)["_dynamo_marked_constant"] = True


@functools.cache
def _look_up(wavelet: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    known = pywt.wavelist(kind="discrete")
    if wavelet not in known:
        raise ArgumentError(
            unknown_name("wavelet", wavelet, known)
            if wavelet not in pywt.wavelist()
            else f"the wavelet '{wavelet}' is continuous: give a discrete one, such as haar, db4 or bior2.2"
        )
    bank = pywt.Wavelet(wavelet)
    return tuple(bank.dec_lo), tuple(bank.dec_hi)


def _margins(size: int, taps: int, mode: Mode) -> tuple[int, int]:
    """Return how many samples a stride-2 correlation with ``taps`` taps reads before and after an axis."""
    if mode == "periodization":
        margin = taps // 2 - 1
        return margin, margin + size % 2  # an odd signal is first extended by its last sample
    return taps - 2, 2 * ((size + taps - 1) // 2) - size


def _source(index: torch.Tensor, size: int, mode: Mode) -> torch.Tensor:
    """Return the index of the sample at each position of an extended axis."""
    if mode == "constant":
        return index.clamp(0, size - 1)
    if mode == "periodic":
        return index % size
    if mode == "periodization":
        return (index % (size + size % 2)).clamp(0, size - 1)
    if mode == "symmetric":  # mirrors: "symmetric" repeats the edge sample, "reflect" does not
        index = index % (2 * size)
        return torch.minimum(index, 2 * size - 1 - index)
    if size == 1:
        raise ArgumentError("mode 'reflect' cannot extend a band of one sample: use fewer levels")
    index = index % (2 * size - 2)
    return torch.minimum(index, 2 * size - 2 - index)


def _extend(x: torch.Tensor, dim: int, taps: int, mode: Mode) -> torch.Tensor:
    """Extend an axis at both ends by what the filters read."""
    size = x.shape[dim]
    before, after = _margins(size, taps, mode)
    if not (before or after):
        return x
    if mode == "zero":
        return F.pad(x, (before, after) if dim == -1 else (0, 0, before, after))
    return x.index_select(dim, _source(torch.arange(-before, size + after, device=x.device), size, mode))


def _extend_adjoint(gradient: torch.Tensor, dim: int, size: int, taps: int, mode: Mode) -> torch.Tensor:
    """Return the gradient of an axis from that of its extension: repeated samples are summed."""
    before, after = _margins(size, taps, mode)
    inner = gradient.narrow(dim, before, size)
    if mode == "zero":
        return inner
    for start, stop in ((-before, 0), (size, size + after)):
        source = _source(torch.arange(start, stop, device=gradient.device), size, mode)
        inner = inner.index_add(dim, source, gradient.narrow(dim, start + before, stop - start))
    return inner


def phases_of(x: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return views of the even and odd samples of an axis."""
    return (x[..., 0::2], x[..., 1::2]) if dim == -1 else (x[..., 0::2, :], x[..., 1::2, :])


def analyse(x: torch.Tensor, dim: int, wavelet: str, mode: Mode) -> tuple[torch.Tensor, torch.Tensor]:
    """Filter and decimate the last axis (-1) or the one before (-2): (..., n) -> low and high band (..., n').

    Weighted sums of slices rather than a convolution, which cuDNN may run in TF32 (10 bits) and autocast in half
    precision.
    """
    banks = wavelet_filters(wavelet)
    taps = len(banks[0])
    phases = phases_of(_extend(x, dim, taps, mode), dim)
    if dim == -1:  # a copy: sums over contiguous rows are several times faster
        phases = phases[0].contiguous(), phases[1].contiguous()
    count = phases[0].shape[dim] - taps // 2 + 1
    bands = []
    for bank in banks:
        # PyWavelets convolves, so the filters are reversed.
        band = phases[0].narrow(dim, 0, count) * bank[-1]
        for i in range(1, taps):
            band.add_(phases[i % 2].narrow(dim, i // 2, count), alpha=bank[-1 - i])
        bands.append(band)
    return bands[0], bands[1]


def analyse_adjoint(
    low: torch.Tensor | None, high: torch.Tensor | None, dim: int, size: int, wavelet: str, mode: Mode
) -> torch.Tensor | None:
    """Return the gradient of an axis of ``size`` samples from those of its two bands; None means zeros."""
    given = [
        (band, bank) for band, bank in zip((low, high), wavelet_filters(wavelet), strict=True) if band is not None
    ]
    if not given:
        return None
    (first, bank), *_ = given
    taps, count = len(bank), first.shape[dim]
    shape = list(first.shape)
    shape[dim] = count + taps // 2 - 1
    phases = first.new_zeros(shape), first.new_zeros(shape)
    for band, bank in given:
        for i in range(taps):
            phases[i % 2].narrow(dim, i // 2, count).add_(band, alpha=bank[-1 - i])
    shape[dim] *= 2
    extended = first.new_empty(shape)
    for view, phase in zip(phases_of(extended, dim), phases, strict=True):
        view.copy_(phase)
    return _extend_adjoint(extended, dim, size, taps, mode)


def wavelet_decompose(
    images: torch.Tensor, levels: int = 4, wavelet: str = "haar", mode: Mode = "zero"
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Two-dimensional discrete wavelet transform, differentiable, equal to ``pywt.wavedec2``.

    Args:
        images: (B, C, H, W), floating point; half precision is computed and returned in float32.
        levels: number of levels, 1 or more.
        wavelet: any of ``pywt.wavelist(kind="discrete")``.
        mode: signal extension at the borders, as in PyWavelets.

    Returns:
        The approximation (B, C, h, w) of the coarsest level, and per level, finest first, the details
        (B, C, 3, h, w) in the order horizontal, vertical, diagonal (``cH, cV, cD``).

    Raises:
        ArgumentError: If the wavelet or mode is unknown, ``levels`` is below 1, or ``images`` is not a batch.
    """
    check_images(images)
    check_settings(levels, mode)
    approximation = images.to(common_dtype(images))
    details = []
    for _ in range(levels):
        # Along the width, then each half along the height: cA and cH, cV and cD.
        halves = analyse(approximation, -1, wavelet, mode)
        approximation, *bands = (band for half in halves for band in analyse(half, -2, wavelet, mode))
        details.append(torch.stack(bands, dim=2))
    return approximation, details
