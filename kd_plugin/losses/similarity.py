r"""Similarity preserving distillation: the similarities between images, and between their parts.

Every image is divided into ``grid`` x ``grid`` parts; each of the *n* parts of a batch is a row of *Q* with all of
its features. With :math:`G = Q Q^{\top}` and its rows divided by their L2 norms,

.. math:: \mathcal{L} = \frac{1}{n} \lVert \hat{G}^{T} - \hat{G}^{S} \rVert_F^2

Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, where the rows are whole images
(``grid=1``). The hosts train at batch size 1, where that matrix is a single 1 and the loss 0 for any student; parts
avoid this, and one image with ``grid=1`` is refused. The paper divides by :math:`n^2`; as rows have unit length,
that decreases with the batch size, so this divides by *n*: between 0 and 4 at any batch size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import ArgumentError
from .registry import Term, TermOption, register
from .validate import check_features, common_dtype, safe_normalize, without_autocast


def similarity_loss(student: torch.Tensor, teacher: torch.Tensor, grid: int = 4) -> torch.Tensor:
    """Return the squared distance of two similarity matrices (equation in the module's docstring).

    Args:
        student: (B, C_s, H, W).
        teacher: (B, C_t, H, W); the channels may differ.
        grid: number of parts along height and width. Where it does not divide them, the last parts are zero-padded.

    Returns:
        A scalar.

    Raises:
        ArgumentError: If the batch or spatial sizes differ (the message has both shapes), there is only one part, or
            ``grid`` is not a whole number from 1 to the side of the features.
    """
    student, teacher = check_features(student, teacher)
    _check(grid)
    if len(student) * grid**2 < 2:
        raise ArgumentError(
            "similarity compares the images of a batch or their parts, and this batch is one image in one part: give "
            "similarity_grid 2 or more, or a batch size of 2 or more"
        )
    if grid > min(student.shape[2:]):
        raise ArgumentError(
            f"similarity_grid is {grid}, but the features have {student.shape[3]}x{student.shape[2]} pixels: give "
            f"{min(student.shape[2:])} or less"
        )
    dtype = common_dtype(student, teacher)
    with without_autocast(student):
        similarities, similarities_t = (_similarities(features.to(dtype), grid) for features in (student, teacher))
        return (similarities - similarities_t).square().sum(1).mean()


def _check(grid: int) -> None:
    if isinstance(grid, bool) or not isinstance(grid, int) or grid < 1:
        raise ArgumentError(f"similarity_grid is {grid!r}: give a whole number of 1 or more")


def _similarities(features: torch.Tensor, grid: int) -> torch.Tensor:
    height, width = features.shape[2:]
    padded = F.pad(features, (0, -width % grid, 0, -height % grid))
    sides = padded.shape[2] // grid, padded.shape[3] // grid
    parts = padded.reshape(*padded.shape[:2], grid, sides[0], grid, sides[1])  # (B, C, grid, h, grid, w)
    rows = parts.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(0, 2)  # (B grid², C h w)
    return safe_normalize(rows @ rows.T)


@register
class SimilarityLoss(Term):
    """The similarity term as a module; see :func:`similarity_loss`."""

    name = "similarity"
    summary = "difference of the similarities within a batch and its parts (Tung and Mori, ICCV 2019)"
    reads = "features"
    default_weight = 50.0
    options = (
        TermOption("similarity_grid", "grid", int, 4, "divide every image into GRID x GRID parts; 1: whole images"),
    )

    def __init__(self, grid: int = 4) -> None:
        super().__init__()
        _check(grid)
        self.grid = grid

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return similarity_loss(student, teacher, self.grid)

    def extra_repr(self) -> str:
        return f"grid={self.grid}"
