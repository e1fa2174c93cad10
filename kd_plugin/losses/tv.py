r"""Total variation of the student's output: a smoothness prior, independent of the teacher.

.. math:: \mathcal{L} = \operatorname{mean} |S_{i,j+1} - S_{i,j}| + \operatorname{mean} |S_{i+1,j} - S_{i,j}|

Source: Rudin, Osher and Fatemi, 1992, in its anisotropic form. OMGD (Ren et al., ICCV 2021) combines it with other
terms, as a sum over batch, channels and pixels, which grows with the image; these are means. Without other terms it
blurs the student's output.
"""

from __future__ import annotations

import torch

from .registry import Term, register
from .validate import check_images, common_dtype


def total_variation_loss(images: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference of neighbours along the width plus that along the height, a scalar.

    Args:
        images: (B, C, H, W). An axis of one pixel has no variation.

    Raises:
        ArgumentError: If ``images`` is not a batch of images.
    """
    check_images(images)
    images = images.to(common_dtype(images))
    variations = [images.diff(dim=dim).abs() for dim in (-1, -2)]
    return torch.stack([v.sum() / max(v.numel(), 1) for v in variations]).sum()


@register
class TotalVariationLoss(Term):
    """The total variation term as a module; see :func:`total_variation_loss`."""

    name = "tv"
    summary = "total variation of the student's output, a smoothness prior for use with other terms (OMGD, ICCV 2021)"
    reads = "output"
    compares = False
    default_weight = 5.0

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        check_images(student, teacher)
        return total_variation_loss(student)
