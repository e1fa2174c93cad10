r"""Output distillation: the distance of the two images, pixel by pixel.

With :math:`d = S(x) - T(x)`, the mean over all pixels and channels of

======================  ===========================================================================
``l1``                  :math:`|d|`
``l2``                  :math:`d^2`
``smooth_l1``           :math:`d^2 / 2\beta` where :math:`|d| < \beta`, :math:`|d| - \beta / 2` elsewhere
``charbonnier``         :math:`\sqrt{d^2 + \epsilon^2} - \epsilon`
======================  ===========================================================================

Source: the L1 output term that "Semantic Relation Preserving Knowledge Distillation" (Li et al., ECCV 2020) and
others combine with their terms. Smooth L1 is Girshick's (Fast R-CNN, ICCV 2015); its usual :math:`\beta = 1` spans
half of the range of an image in [-1, 1] and leaves little but the square, so the default here is 0.1. Charbonnier
et al., ICIP 1994, up to scale; image restoration often omits the constant, and equal images then give
:math:`\epsilon`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F

from ..errors import ArgumentError, unknown_name
from .registry import Term, TermOption, register
from .validate import check_images, common_dtype

PixelNorm = Literal["l1", "l2", "smooth_l1", "charbonnier"]


def pixel_loss(
    student: torch.Tensor, teacher: torch.Tensor, norm: PixelNorm = "l1", beta: float = 0.1, epsilon: float = 1e-3
) -> torch.Tensor:
    """Return the mean distance of two batches of images (table in the module's docstring), a scalar.

    Args:
        student, teacher: (B, C, H, W) of the same shape, in [-1, 1].
        norm: the distance.
        beta: where smooth L1 changes from square to absolute value.
        epsilon: width of the rounded minimum of Charbonnier.

    Raises:
        ArgumentError: If the shapes differ, the tensors are not batches of images, the norm is unknown, or a width
            is not positive.
    """
    check_images(student, teacher)
    if not (beta > 0 and epsilon > 0):
        raise ArgumentError(f"beta is {beta} and epsilon {epsilon}: give positive widths")
    dtype = common_dtype(student, teacher)
    student, teacher = student.to(dtype), teacher.to(dtype)
    if norm == "l1":
        return (student - teacher).abs().mean()
    if norm == "l2":
        return (student - teacher).square().mean()
    if norm == "smooth_l1":
        return F.smooth_l1_loss(student, teacher, beta=beta)
    if norm == "charbonnier":
        squares = (student - teacher).square()
        # The equation without its difference of nearly equal numbers, which would cancel.
        return (squares / ((squares + epsilon**2).sqrt() + epsilon)).mean()
    raise ArgumentError(unknown_name("pixel norm", str(norm), get_args(PixelNorm)))


@register
class PixelLoss(Term):
    """The pixel term as a module; see :func:`pixel_loss`."""

    name = "pixel"
    summary = "distance of the two outputs, pixel by pixel"
    reads = "output"
    default_weight = 50.0
    options = (TermOption("pixel_norm", "norm", str, "l1", "distance of two pixels", get_args(PixelNorm)),)

    def __init__(self, norm: PixelNorm = "l1") -> None:
        super().__init__()
        probe = torch.zeros(1, 1, 1, 1)
        pixel_loss(probe, probe, norm)  # validates, so a bad value fails here
        self.norm = norm

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return pixel_loss(student, teacher, self.norm)

    def extra_repr(self) -> str:
        return f"norm={self.norm!r}"
