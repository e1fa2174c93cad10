r"""The relation loss of one image, tile by tile: value and gradient in O(N C) memory, with half of the products.

With *f* the pixels of the student (N, C), :math:`A = f f^{\top}`, *n* the norms of its rows and
:math:`D_{ij} = A^T_{ij} / n^T_i - A_{ij} / n_i`, the loss is the mean of :math:`|D|`. With
:math:`G = \operatorname{sign}(D) / N^2` its gradient is

.. math:: -(P + P^{\top}) f + (K A + A K) f, \qquad P_{ij} = G_{ij} / n_i, \qquad
          K = \operatorname{diag}_i \big( \sum_j G_{ij} A_{ij} / n_i^3 \big)

Three identities keep every N x N matrix out of memory: the norms need none, as
:math:`n_i^2 = f_i (f^{\top} f) f_i^{\top}`; nor does the second part of the gradient, as
:math:`A f = f (f^{\top} f)`; and A is symmetric, so that one tile of it serves the two tiles of D and P that lie
across the diagonal from each other.
"""

from __future__ import annotations

import torch

__all__ = ["relation_distance"]

_TILE = 512  # pixels: a tile is 1 MB in float32, so that the few in use stay in a CPU's cache


def relation_distance(
    student: torch.Tensor, teacher: torch.Tensor, with_gradient: bool = True
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the relation loss of one image and its gradient with respect to the student.

    Args:
        student: (N, C_s), a row for every pixel.
        teacher: (N, C_t).
        with_gradient: whether the gradient is wanted.

    Returns:
        A scalar, and (N, C_s) or None. A pixel whose features are all zero relates to nothing: its row of relations
        is zero and has no gradient.
    """
    count = len(student)
    inverse, inverse_t = _inverse_norms(student), _inverse_norms(teacher)
    value = student.new_zeros(())
    pulled = torch.zeros_like(student)  # (P + Pᵀ) f, times N²
    moments = student.new_zeros(count)  # the sums over G A, times N²
    buffers = [student.new_empty(min(_TILE, count) ** 2) for _ in range(5)]
    for i in range(0, count, _TILE):
        for j in range(i, count, _TILE):
            rows, columns = slice(i, min(i + _TILE, count)), slice(j, min(j + _TILE, count))
            shape = rows.stop - i, columns.stop - j
            relations, relations_t, sign, scratch, pull = (b[: shape[0] * shape[1]].view(shape) for b in buffers)
            torch.mm(student[rows], student[columns].T, out=relations)
            torch.mm(teacher[rows], teacher[columns].T, out=relations_t)
            pull.zero_()
            # The tile (i, j) of D, normalised along its rows, and the tile (j, i), transposed.
            for axis, place in ((1, rows), (0, columns))[: 1 if i == j else 2]:
                norm, norm_t = inverse[place].unsqueeze(axis), inverse_t[place].unsqueeze(axis)
                # Not addcmul: fused, it would round the two products differently, and equal inputs would differ.
                torch.mul(relations_t, norm_t, out=sign).sub_(torch.mul(relations, norm, out=scratch))
                value += torch.abs(sign, out=scratch).sum()
                if with_gradient:
                    sign.sign_()
                    moments[place] += torch.mul(sign, relations, out=scratch).sum(axis)
                    pull.addcmul_(sign, norm)
            if with_gradient:
                pulled[rows].addmm_(pull, student[columns])
                pulled[columns].addmm_(pull.T, student[rows])
    value /= count**2
    if not with_gradient:
        return value, None
    # The rows of K f; n_i cubed would leave float32 where features are small.
    scaled = student * inverse.unsqueeze(1) * inverse.unsqueeze(1) * (moments * inverse).unsqueeze(1)
    gradient = torch.addmm(scaled @ (student.T @ student), student, student.T @ scaled)
    return value, gradient.sub_(pulled).div_(count**2)


def _inverse_norms(pixels: torch.Tensor) -> torch.Tensor:
    """Return 1 / n of every row of the relation matrix (N,), 0 where a row is zero.

    In float64 where there is one: a pixel may be small beside the sum over all that fᵀ f holds.
    """
    wide = pixels if pixels.device.type == "mps" else pixels.double()
    squares = ((wide @ (wide.T @ wide)) * wide).sum(1).clamp_min(0)
    return torch.where(squares == 0, squares, squares.rsqrt()).to(pixels.dtype)
