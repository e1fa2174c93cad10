r"""Structural similarity of the two outputs.

.. math:: \mathcal{L} = 1 - \operatorname{mean} \frac{(2 \mu_S \mu_T + c_1)(2 \sigma_{ST} + c_2)}
                                                    {(\mu_S^2 + \mu_T^2 + c_1)(\sigma_S^2 + \sigma_T^2 + c_2)}

with means, variances and covariance under a Gaussian window of 11 x 11 pixels and :math:`\sigma = 1.5`, and
:math:`c_1 = (0.01 R)^2`, :math:`c_2 = (0.03 R)^2`, R = 2 the range of an image in [-1, 1].

Source: Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 2004; used for distillation by OMGD (Ren et al., ICCV 2021).
OMGD's code uses R = 1 for images in [-1, 1] and zero padding; this uses the actual range, and only windows within
the image, as in the paper.
"""

from __future__ import annotations

import math

import torch

from ..errors import ArgumentError
from .registry import Term, register
from .validate import check_images, common_dtype

_SIDE, _SIGMA = 11, 1.5
_RANGE = 2.0
_GAUSS = [math.exp(-0.5 * ((i - _SIDE // 2) / _SIGMA) ** 2) for i in range(_SIDE)]
_WINDOW = tuple(value / sum(_GAUSS) for value in _GAUSS)


def ssim_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return one minus the mean structural similarity of two images (equation in the module's docstring).

    Args:
        student, teacher: (B, C, H, W) of the same shape, in [-1, 1], at least 11 x 11 pixels.

    Returns:
        A scalar between 0 and 2.

    Raises:
        ArgumentError: If the shapes differ or an image is smaller than the window.
    """
    check_images(student, teacher)
    if min(student.shape[2:]) < _SIDE:
        raise ArgumentError(
            f"ssim needs images of at least {_SIDE}x{_SIDE} pixels, these are {student.shape[3]}x{student.shape[2]}: "
            f"remove ssim, or train on larger crops"
        )
    dtype = common_dtype(student, teacher)
    s, t = student.to(dtype), teacher.to(dtype)
    mean_s, mean_t, square_s, square_t, product = _blur(torch.stack((s, t, s * s, t * t, s * t))).unbind()
    c1, c2 = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2
    luminance = (2 * mean_s * mean_t + c1) / (mean_s * mean_s + mean_t * mean_t + c1)
    covariance = product - mean_s * mean_t
    variances = (square_s - mean_s * mean_s) + (square_t - mean_t * mean_t)
    return 1 - (luminance * (2 * covariance + c2) / (variances + c2)).mean()


def _blur(maps: torch.Tensor) -> torch.Tensor:
    """Average under the window, (..., H, W) -> (..., H - 10, W - 10), by sums of slices, without TF32."""
    for dim in (-1, -2):
        count = maps.shape[dim] - _SIDE + 1
        total = maps.narrow(dim, 0, count) * _WINDOW[0]
        for i, factor in enumerate(_WINDOW[1:], 1):
            total.add_(maps.narrow(dim, i, count), alpha=factor)
        maps = total
    return maps


@register
class SsimLoss(Term):
    """The structural similarity term as a module; see :func:`ssim_loss`."""

    name = "ssim"
    summary = "one minus the structural similarity of the two outputs (Wang et al., 2004; OMGD, ICCV 2021)"
    reads = "output"
    default_weight = 50.0

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return ssim_loss(student, teacher)
