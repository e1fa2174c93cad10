r"""Feature distillation: the student's features, through a learnt 1x1 convolution, against the teacher's.

.. math:: \mathcal{L} = \operatorname{mean} (r(f^S) - f^T)^2

with the mean over batch, channels and pixels, and *r* the adapter that brings the student's channels to the teacher's
(a regressor in FitNets). It is trained with the student and left behind when the student ships.

Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, as used by GAN Compression (Li et al., CVPR
2020) at four layers of a generator. FitNets halves the square; GAN Compression and we do not.
"""

from __future__ import annotations

import torch

from .registry import Term, register
from .validate import check_features, common_dtype

__all__ = ["FeatureLoss", "feature_loss"]


def feature_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of two feature maps (B, C, H, W) of one shape; returns a scalar.

    Raises:
        ArgumentError: the shapes differ (both are in the message).
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
