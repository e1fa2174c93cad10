r"""Total variation of the student's output: smoothness, whatever the teacher does.

.. math:: \mathcal{L} = \operatorname{mean} |S_{i,j+1} - S_{i,j}| + \operatorname{mean} |S_{i+1,j} - S_{i,j}|

Source: Rudin, Osher and Fatemi, 1992, in its anisotropic form. OMGD (Ren et al., ICCV 2021) distils with it beside
other terms, as a sum over batch, channels and pixels, which grows with the picture; these are means. It compares
nothing with the teacher: alone it would make the student a blur.
"""

from __future__ import annotations

import torch

from .registry import Term, register
from .validate import check_images, common_dtype

__all__ = ["TotalVariationLoss", "total_variation_loss"]


def total_variation_loss(images: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbours, along the width plus along the height; returns a scalar.

    Args:
        images: (B, C, H, W). An axis of one pixel has no variation.

    Raises:
        ArgumentError: not a batch of images.
    """
    check_images(images)
    images = images.to(common_dtype(images))
    variations = [images.diff(dim=dim).abs() for dim in (-1, -2)]
    return torch.stack([v.sum() / max(v.numel(), 1) for v in variations]).sum()


@register
class TotalVariationLoss(Term):
    """The total variation term as a module; see :func:`total_variation_loss`."""

    name = "tv"
    summary = "total variation of the student's output, a smoothness prior beside other terms (OMGD, ICCV 2021)"
    reads = "output"
    compares = False
    default_weight = 5.0

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        check_images(student, teacher)
        return total_variation_loss(student)
