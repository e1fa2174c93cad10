r"""Gram matrices: correlations of channels, anywhere in the image.

.. math:: G = \frac{f f^{\top}}{C N}, \qquad \mathcal{L} = \lVert G^{S} - G^{T} \rVert_F^2

with *f* the features of one image, (C, N) over its *N* pixels; averaged over the batch. The matrix is C x C, so a
learnt 1x1 convolution first maps the student's features to the teacher's channels.

Source: the style loss of Johnson, Alahi and Fei-Fei, ECCV 2016, after Gatys et al. GCC (NeurIPS 2021)
applies it to features of the generators, through learnt 1x1 convolutions, with the mean of the squares or its root;
OMGD (ICCV 2021) to VGG features of the outputs, with the mean of absolute values. This is Johnson's sum of squares.
"""

from __future__ import annotations

import torch

from .registry import Term, register
from .validate import check_features, common_dtype, without_autocast


def gram_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the squared distance of two Gram matrices (equation in the module's docstring).

    Args:
        student: (B, C, H_s, W_s).
        teacher: (B, C, H_t, W_t); the spatial sizes may differ.

    Returns:
        A scalar.

    Raises:
        ArgumentError: If the batch sizes or channels differ; the message has both shapes.
    """
    student, teacher = check_features(student, teacher, same_size=False, same_channels=True)
    dtype = common_dtype(student, teacher)
    with without_autocast(student):
        gram, gram_t = (_gram(features.to(dtype)) for features in (student, teacher))
        return (gram - gram_t).square().sum((1, 2)).mean()


def _gram(features: torch.Tensor) -> torch.Tensor:
    rows = features.flatten(2)  # (B, C, N)
    return rows @ rows.transpose(1, 2) / rows[0].numel()


@register
class GramLoss(Term):
    """The Gram term as a module; see :func:`gram_loss`."""

    name = "gram"
    summary = (
        "difference of Gram matrices, the student's through a learnt 1x1 convolution (Johnson et al., ECCV 2016)"
    )
    reads = "features"
    adapts = True
    default_weight = 10.0

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return gram_loss(student, teacher)
