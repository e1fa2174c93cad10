r"""Wavelet distillation: match the high-frequency bands of the teacher's image.

Source: Zhang et al., "Wavelet Knowledge Distillation: Towards Efficient Image-to-Image Translation",
CVPR 2022. With :math:`\Psi_l` the detail bands (horizontal, vertical, diagonal) of level *l* of a discrete
wavelet transform with *L* levels,

.. math:: \mathcal{L} = \sum_{l=1}^{L} \operatorname{mean} |\Psi_l(S(x)) - \Psi_l(T(x))|

with the mean over batch, channels, the three bands and pixels. The paper uses Haar, four levels and zero padding.
The transform is linear, so it is applied once, to the difference of the images; the paper's code applies it to
each: same value, same gradient, half the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch

from ..errors import ArgumentError, unknown_name
from .haar import haar_value_and_gradient, is_haar
from .registry import Term, TermOption, register
from .validate import check_images, common_dtype
from .wavelet_transform import Mode, analyse, analyse_adjoint, check_settings

__all__ = ["Bands", "Mode", "WaveletLoss", "wavelet_loss"]

Bands = Literal["high", "low", "all"]
_is_compiling: Callable[[], bool] = getattr(torch.compiler, "is_compiling", lambda: False)  # new in PyTorch 2.3


def _value_and_gradient(
    difference: torch.Tensor, levels: int, wavelet: str, mode: Mode, bands: Bands
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of a difference of two images, and its gradient: the adjoint transform of the signs.

    The difference is contiguous and may be overwritten.
    """
    # torch.compile fuses the general form, and does not support writes into parts of a tensor.
    if bands == "high" and is_haar(difference.shape, levels, wavelet) and not _is_compiling():
        return haar_value_and_gradient(difference, levels)
    low, value = difference, difference.new_zeros(())
    passed: list[tuple[torch.Size, list[torch.Tensor | None]]] = []
    for _ in range(levels):
        shape = low.shape
        halves = analyse(low, -1, wavelet, mode)
        low, *details = (band for half in halves for band in analyse(half, -2, wavelet, mode))
        if bands == "low":
            passed.append((shape, [None, None, None]))
            continue
        count = 3 * low.numel()
        value = value + sum(band.abs().sum() for band in details) / count
        passed.append((shape, [band.sign_().div_(count) for band in details]))
    gradient: torch.Tensor | None = None
    if bands != "high":
        value = value + low.abs().mean()
        gradient = low.sign_().div_(low.numel())
    for shape, (horizontal, vertical, diagonal) in reversed(passed):
        left = analyse_adjoint(gradient, horizontal, -2, shape[-2], wavelet, mode)
        right = analyse_adjoint(vertical, diagonal, -2, shape[-2], wavelet, mode)
        gradient = analyse_adjoint(left, right, -1, shape[-1], wavelet, mode)
    assert gradient is not None
    return value, gradient


class _BandDistance(torch.autograd.Function):
    """The loss of two images of the same dtype, without a graph: the gradient is computed with the value."""

    @staticmethod
    def forward(
        ctx: Any, student: torch.Tensor, teacher: torch.Tensor, levels: int, wavelet: str, mode: Mode, bands: Bands
    ) -> torch.Tensor:
        difference = (student - teacher).contiguous()  # in channels_last, rows are not contiguous
        value, gradient = _value_and_gradient(difference, levels, wavelet, mode, bands)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        student = gradient * ctx.saved_tensors[0]
        return student, -student if ctx.needs_input_grad[1] else None, None, None, None, None


def wavelet_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    levels: int = 4,
    wavelet: str = "haar",
    mode: Mode = "zero",
    bands: Bands = "high",
) -> torch.Tensor:
    """Return the mean absolute difference of wavelet bands, summed over levels (equation in the module's docstring).

    Args:
        student, teacher: images (B, C, H, W) of the same shape. The teacher's is not detached.
        levels, wavelet, mode: see :func:`~kd_plugin.losses.wavelet_decompose`.
        bands: ``"high"`` for the detail bands of every level (the paper), ``"low"`` for the approximation of the
            coarsest level, ``"all"`` for the sum of both.

    Returns:
        A scalar, float32 or float64.

    Raises:
        ArgumentError: If the shapes differ or a setting is not valid.
    """
    check_images(student, teacher)
    if bands not in get_args(Bands):
        raise ArgumentError(unknown_name("bands", str(bands), get_args(Bands)))
    check_settings(levels, mode)
    dtype = common_dtype(student, teacher)
    value: torch.Tensor = _BandDistance.apply(  # type: ignore[no-untyped-call]
        student.to(dtype), teacher.to(dtype), levels, wavelet, mode, bands
    )
    return value


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
            "bands to match: the details, the coarsest approximation, or both",
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
