r"""Output distillation: the mean absolute difference of the two images.

.. math:: \mathcal{L} = \operatorname{mean} |S(x) - T(x)|

Source: the output term that "Semantic Relation Preserving Knowledge Distillation" (Li et al., ECCV 2020) and
others combine their own terms with.
"""

from __future__ import annotations

import torch

from .registry import Term, register
from .validate import check_images

__all__ = ["PixelLoss", "pixel_loss"]


def pixel_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of two images (B, C, H, W) of one shape; returns a scalar.

    Raises:
        ArgumentError: the shapes differ, or the tensors are not batches of images.
    """
    check_images(student, teacher)
    # In half precision, a mean over an image would lose most of its digits.
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    return (student.to(dtype) - teacher.to(dtype)).abs().mean()


@register
class PixelLoss(Term):
    """The pixel term as a module; see :func:`pixel_loss`."""

    name = "pixel"
    summary = "mean absolute difference of the two outputs"
    reads = "output"
    default_weight = 50.0

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return pixel_loss(student, teacher)
