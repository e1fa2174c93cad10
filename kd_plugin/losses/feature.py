r"""Feature distillation: the student's features, through a learnt 1x1 convolution, against the teacher's.

.. math:: \mathcal{L} = \operatorname{mean} (r(f^S) - f^T)^2

with the mean over batch, channels and pixels, and *r* the adapter from the student's channels to the teacher's (the
regressor of FitNets). It is trained with the student and is not part of it.

Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, as used by GAN Compression (Li et al., CVPR
2020) at four layers of a generator. FitNets halves the square; GAN Compression and this loss do not.
"""

from __future__ import annotations

import torch

from .registry import Term, register
from .validate import check_features, common_dtype


def feature_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of two feature maps (B, C, H, W) of the same shape, a scalar.

    Raises:
        ArgumentError: If the shapes differ; the message has both.
    """
    student, teacher = check_features(student, teacher, same_channels=True)
    dtype = common_dtype(student, teacher)
    return (student.to(dtype) - teacher.to(dtype)).square().mean()


@register
class FeatureLoss(Term):
    """The feature term as a module; see :func:`feature_loss`."""

    name = "feature"
    summary = "mean squared difference of features, the student's through a learnt 1x1 convolution (FitNets)"
    reads = "features"
    adapts = True
    default_weight = 30.0

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return feature_loss(student, teacher)
