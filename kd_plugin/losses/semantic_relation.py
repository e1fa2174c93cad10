r"""Semantic relation preserving distillation: match how the pixels of an encoding relate to each other.

Source: Li, Jiang, Aarabi, "Semantic Relation Preserving Knowledge Distillation for Image-to-Image
Translation", ECCV 2020. An encoding of one image is a matrix *f* with a row of *C* channels for each of
:math:`N = H'W'` pixels. Its relation matrix is

.. math:: A = f f^{\top}, \qquad \hat{A}_{i} = A_{i} / \lVert A_{i} \rVert_2

with every row divided by its L2 norm, and the loss is the mean absolute difference of the teacher's and the
student's:

.. math:: \mathcal{L} = \frac{1}{N^2} \sum_{ij} |\hat{A}^{T}_{ij} - \hat{A}^{S}_{ij}|

averaged over the batch; relations are within an image, so batch size 1 is no special case. *A* is N x N for any
*C*, so teacher and student may differ in channels.

Rows of unit length have entries of the order of :math:`1/\sqrt{N}`, and so has the loss: with the paper's equation,
doubling the side of the images halves it. Value and gradient are computed by tiles (``relation.py``), in memory
linear in N.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ..errors import ArgumentError
from .registry import Term, TermOption, register
from .relation import relation_distance
from .validate import check_features, common_dtype, without_autocast


class _Relation(torch.autograd.Function):
    """The loss of a batch of pixels (B, N, C), without a graph: the gradients are computed with the value."""

    @staticmethod
    def forward(ctx: Any, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        value, gradient = _batch(student, teacher, ctx.needs_input_grad[0])
        # The loss is symmetric, so the gradient of the teacher is that with swapped roles.
        gradient_t = _batch(teacher, student, True)[1] if ctx.needs_input_grad[1] else None
        ctx.save_for_backward(gradient, gradient_t)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        student, teacher = (None if saved is None else gradient * saved for saved in ctx.saved_tensors)
        return student, teacher


def _batch(
    student: torch.Tensor, teacher: torch.Tensor, with_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the mean loss of a batch (B, N, C) and, if requested, its gradient with respect to the student."""
    results = [relation_distance(s, t, with_gradient) for s, t in zip(student, teacher, strict=True)]
    gradients = [gradient for _, gradient in results if gradient is not None]
    value = torch.stack([distance for distance, _ in results]).mean()
    return value, torch.stack(gradients).div_(len(student)) if gradients else None


def semantic_relation_loss(
    student_features: torch.Tensor, teacher_features: torch.Tensor, size: int | None = None
) -> torch.Tensor:
    """Return the mean absolute difference of two relation matrices (equation in the module's docstring).

    Args:
        student_features: (B, C_s, H', W').
        teacher_features: (B, C_t, H', W'); the channels may differ.
        size: average both encodings over ``size`` x ``size`` cells first; H' and W' may then differ.

    Returns:
        A scalar, float32 or float64.

    Raises:
        ArgumentError: If the batch or spatial sizes differ (the message has both shapes), or ``size`` is larger than
            an encoding.
    """
    student_features, teacher_features = check_features(
        student_features, teacher_features, same_size=size is None, remedy=", or give srp_size"
    )
    with without_autocast(student_features):
        dtype = common_dtype(student_features, teacher_features)
        pair = student_features.to(dtype), teacher_features.to(dtype)
        if size is not None:
            pair = _pool(pair[0], size), _pool(pair[1], size)
        if pair[0].shape[2:].numel() == 1:
            raise ArgumentError(
                "the relation term needs more than one pixel, but the encoding is 1x1, where every relation is 1: "
                "choose an earlier module",
                argument="taps",
            )
        student, teacher = (features.flatten(2).transpose(1, 2).contiguous() for features in pair)  # (B, N, C)
        value: torch.Tensor = _Relation.apply(student, teacher)  # type: ignore[no-untyped-call]
        return value


def _pool(features: torch.Tensor, size: int) -> torch.Tensor:
    if not 2 <= size <= min(features.shape[2:]):
        raise ArgumentError(
            f"srp_size is {size}, but the encoding is {features.shape[3]}x{features.shape[2]}: give a size between 2 "
            f"and {min(features.shape[2:])}"
        )
    return F.adaptive_avg_pool2d(features, size)


@register
class SemanticRelationLoss(Term):
    """The relation term as a module; see :func:`semantic_relation_loss`."""

    name = "srp"
    summary = "difference of the relation matrices of the encoder's pixels (SRP, ECCV 2020)"
    reads = "features"
    default_weight = 1000.0
    places = ("middle",)
    options = (
        TermOption("srp_size", "size", int, None, "average the encodings of srp over SIZE x SIZE cells first"),
    )

    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        if size is not None and (not isinstance(size, int) or size < 2):
            raise ArgumentError(f"srp_size is {size!r}: give a whole number of 2 or more")
        self.size = size

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return semantic_relation_loss(student, teacher, self.size)

    def extra_repr(self) -> str:
        return f"size={self.size}"
