r"""The relation loss of one image by tiles: value and gradient in O(N C) memory, with half of the products.

With *f* the pixels of the student (N, C), :math:`A = f f^{\top}`, *n* the norms of its rows and
:math:`D_{ij} = T_{ij} / n^T_i - A_{ij} / n_i` with *T* the teacher's A, the loss is the mean of :math:`|D|`. With
:math:`G = \operatorname{sign}(D) / N^2` its gradient is

.. math:: -(P + P^{\top}) f + (K A + A K) f, \qquad P_{ij} = G_{ij} / n_i, \qquad
          K = \operatorname{diag}_i \big( \sum_j G_{ij} A_{ij} / n_i^3 \big)

Three identities keep every N x N matrix out of memory: the norms need none, as
:math:`n_i^2 = f_i (f^{\top} f) f_i^{\top}`; nor does the second part of the gradient, as
:math:`A f = f (f^{\top} f)`; and A is symmetric, so one tile of A gives two tiles of D and P, mirrored at the
diagonal.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
# Side in pixels. On a CPU a tile is 1 MB in float32, so the few in use fit the cache; on a GPU launches dominate.
_TILE, _LARGE_TILE = 512, 2048


def relation_distance(
    student: torch.Tensor, teacher: torch.Tensor, with_gradient: bool = True
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the relation loss of one image and its gradient with respect to the student.

    Args:
        student: (N, C_s), a row per pixel, contiguous.
        teacher: (N, C_t), likewise.
        with_gradient: whether to compute the gradient.

    Returns:
        A scalar, and (N, C_s) or None. For a pixel whose features are all zero, the row of relations is zero and has
        no gradient.
    """
    count = len(student)
    inverse, inverse_t = _inverse_norms(student), _inverse_norms(teacher)
    # D is scaled to T - ratio * A, or to -A where the teacher's row is zero: one product less per tile, and exactly
    # zero where student and teacher are equal.
    zero, ones = inverse_t == 0, torch.ones_like(inverse)
    ratio = torch.where(zero, ones, inverse / torch.where(zero, ones, inverse_t))
    scale = torch.where(zero, inverse, inverse_t)
    value = student.new_zeros(())
    pulled = torch.zeros_like(student)  # (P + Pᵀ) f, times N²
    moments = student.new_zeros(count)  # the sums over G A, times N²
    tile = min(_TILE if student.device.type == "cpu" else _LARGE_TILE, count)
    buffers = [student.new_empty(tile**2) for _ in range(3)]
    for i in range(0, count, tile):
        rows = slice(i, min(i + tile, count))
        for j in range(i, count, tile):
            columns = slice(j, min(j + tile, count))
            # Transposed tiles, (columns, rows), as the products use them.
            relations, relations_t = (_times(f[columns], f[rows]) for f in (student, teacher))
            sign, scratch, pull = (buffer[: relations.numel()].view_as(relations) for buffer in buffers)
            pull.zero_()
            # The tile (i, j) of D, normalised along its rows, and the tile (j, i).
            for axis, place in ((0, rows), (1, columns))[: 1 if i == j else 2]:
                torch.addcmul(relations_t, relations, ratio[place].unsqueeze(axis), value=-1, out=sign)
                value += torch.abs(sign, out=scratch).sum(axis) @ scale[place]
                if with_gradient:
                    sign.sign_()
                    moments[place] += torch.mul(sign, relations, out=scratch).sum(axis)
                    pull.addcmul_(sign, inverse[place].unsqueeze(axis))
            if with_gradient:
                pulled[columns] += _times(pull, student[rows].T.contiguous())
                pulled[rows].addmm_(pull.T, student[columns])
    value /= count**2
    if not with_gradient:
        return value, None
    # The rows of K f; n_i cubed would underflow float32 where features are small.
    scaled = student * inverse.unsqueeze(1) * inverse.unsqueeze(1) * (moments * inverse).unsqueeze(1)
    gradient = torch.addmm(scaled @ (student.T @ student), student, student.T @ scaled)
    return value, gradient.sub_(pulled).div_(count**2)


def _times(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a bᵀ for contiguous a (n, k) and b (m, k).

    On a CPU, as a 1x1 convolution: oneDNN vectorises those on processors of any vendor, the BLAS behind PyTorch's
    matrix product fully on one vendor's only. A matrix has the memory layout of an image in channels_last.
    """
    if a.device.type != "cpu" or a.dtype != torch.float32 or not _ONEDNN:
        return a @ b.T
    image = a.view(1, 1, *a.shape).permute(0, 3, 1, 2)  # (1, k, 1, n)
    product = F.conv2d(image, b.reshape(*b.shape, 1, 1))  # (1, m, 1, n)
    return product.permute(0, 2, 3, 1).reshape(len(a), len(b))


def _inverse_norms(pixels: torch.Tensor) -> torch.Tensor:
    """Return 1 / n of every row of the relation matrix (N,), 0 where a row is zero.

    In float64 where supported: a pixel may be small compared with fᵀ f, the sum over all pixels.
    """
    wide = torch.float32 if pixels.device.type == "mps" else torch.float64
    parts = torch.split(pixels, _TILE)  # a copy of all in float64 would be the largest tensor here
    moment = torch.stack([part.to(wide).T @ part.to(wide) for part in parts]).sum(0)
    squares = torch.cat([((part.to(wide) @ moment) * part.to(wide)).sum(1) for part in parts]).clamp_min(0)
    return torch.where(squares == 0, squares, squares.rsqrt()).to(pixels.dtype)
