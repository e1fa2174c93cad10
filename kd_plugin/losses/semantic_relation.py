r"""Semantic relation preserving distillation: match how the pixels of an encoding relate to each other.

Source: Li, Jiang, Aarabi, "Semantic Relation Preserving Knowledge Distillation for Image-to-Image
Translation", ECCV 2020. An encoding of one image is a matrix *f* with a row of *C* channels for each of
:math:`N = H'W'` pixels. Its relation matrix is

.. math:: A = f f^{\top}, \qquad \hat{A}_{i} = A_{i} / \lVert A_{i} \rVert_2

with every row divided by its own L2 norm, and the loss is the mean absolute difference of the teacher's and
the student's:

.. math:: \mathcal{L} = \frac{1}{N^2} \sum_{ij} |\hat{A}^{T}_{ij} - \hat{A}^{S}_{ij}|

averaged over the batch; relations are within an image, so batch size 1 is no special case. *A* is N x N
whatever *C* is, so teacher and student may differ in channels.

Rows of unit length have entries of the order of :math:`1/\sqrt{N}`, and so has the loss: by the papers' equation,
doubling the side of the images halves it. A backward pass keeps two N x N matrices for every image, 130 MB for a
256x256 picture read at a quarter of its resolution, sixteen times that for 512x512.
"""

from __future__ import annotations

import torch

from ..errors import ArgumentError
from .registry import Term, register
from .validate import check_images, without_autocast

__all__ = ["SemanticRelationLoss", "semantic_relation_loss"]


def _relations(features: torch.Tensor) -> torch.Tensor:
    """Return the row-normalised relation matrix (N, N) of one encoding (C, H', W')."""
    pixels = features.flatten(1).T  # (N, C)
    matrix = pixels @ pixels.T  # (N, N)
    norms = torch.linalg.vector_norm(matrix, dim=1, keepdim=True)
    # A pixel whose features are all zero relates to nothing: its row stays zero, and its gradient finite.
    return matrix / torch.where(norms > 0, norms, torch.ones_like(norms))


def semantic_relation_loss(student_features: torch.Tensor, teacher_features: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of two relation matrices (equation in the module's docstring).

    Args:
        student_features: (B, C_s, H', W').
        teacher_features: (B, C_t, H', W'); the channels may differ, the rest may not.

    Returns:
        A scalar, float32 or float64.

    Raises:
        ArgumentError: batch or spatial sizes differ (both shapes are in the message).
    """
    check_images(student_features)
    check_images(teacher_features)
    student_shape, teacher_shape = student_features.shape, teacher_features.shape
    if student_shape[0] != teacher_shape[0] or student_shape[2:] != teacher_shape[2:]:
        raise ArgumentError(
            f"the relation term compares encodings of one size, but the student's is {tuple(student_shape)} and "
            f"the teacher's {tuple(teacher_shape)}: tap modules at the same resolution (--srp_layers)"
        )
    if student_shape[2] * student_shape[3] == 1:
        raise ArgumentError(
            "the relation term needs more than one pixel, but the encoding is 1x1, where every relation is 1: "
            "tap an earlier module (--srp_layers)"
        )
    with without_autocast(student_features):
        dtype = torch.promote_types(
            torch.promote_types(student_features.dtype, teacher_features.dtype), torch.float32
        )
        # One image at a time: a batch of N x N matrices would be the largest tensor of the training step.
        pairs = zip(student_features.to(dtype), teacher_features.to(dtype), strict=True)
        return torch.stack([(_relations(s) - _relations(t)).abs().mean() for s, t in pairs]).mean()


@register
class SemanticRelationLoss(Term):
    """The relation term as a module; see :func:`semantic_relation_loss`."""

    name = "srp"
    summary = "difference of the relation matrices of the encoder's pixels (SRP, ECCV 2020)"
    reads = "features"
    default_weight = 1000.0

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return semantic_relation_loss(student, teacher)
