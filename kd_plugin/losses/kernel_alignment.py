r"""Kernel alignment: the similarity of two encodings up to rotation and scale.

With *X* (n, C_s) and *Y* (n, C_t) the features of student and teacher at the *n* pixels of the whole batch,

.. math:: \mathcal{L} = 1 - \frac{\lVert Y^{\top} X \rVert_F^2}
                                 {\lVert X^{\top} X \rVert_F \, \lVert Y^{\top} Y \rVert_F}

between 0 and 1; 0 if the two agree up to rotation and scale.

Source: Jin et al., "Teachers Do More Than Teach: Compressing Image-to-Image Models" (CAT), CVPR 2021, which calls it
global kernel alignment and maximises the fraction; the constant 1 makes equality 0. CAT's code has a row per
*image*: at batch size 1, which the hosts use, that fraction is 1 for any student. A row per pixel does not saturate.
No product is larger than C x C.
"""

from __future__ import annotations

import torch

from .registry import Term, register
from .validate import check_features, common_dtype, without_autocast


def kernel_alignment_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return one minus the kernel alignment of two encodings (equation in the module's docstring).

    Args:
        student: (B, C_s, H, W).
        teacher: (B, C_t, H, W); the channels may differ.

    Returns:
        A scalar; 1 if one of the two is all zero.

    Raises:
        ArgumentError: If the batch or spatial sizes differ; the message has both shapes.
    """
    student, teacher = check_features(student, teacher)
    dtype = common_dtype(student, teacher)
    with without_autocast(student):
        x, y = (_rows(features.to(dtype)) for features in (student, teacher))
        xx, yy, yx = (((a @ b.T) / a.shape[1]).square().sum() for a, b in ((x, x), (y, y), (y, x)))
        scale = xx * yy
        return 1 - yx / torch.where(scale == 0, torch.ones_like(scale), scale).sqrt()


def _rows(features: torch.Tensor) -> torch.Tensor:
    """Return the channels (C, n), scaled to a root mean square of 1.

    The loss is of degree 8 in the features and would overflow float32. It does not depend on their scale, so the
    scale is treated as a constant without effect on the gradient.
    """
    rows = features.transpose(0, 1).flatten(1)
    scale = rows.detach().square().mean().sqrt()
    return rows / torch.where(scale == 0, torch.ones_like(scale), scale)


@register
class KernelAlignmentLoss(Term):
    """The kernel alignment term as a module; see :func:`kernel_alignment_loss`."""

    name = "kernel_alignment"
    summary = "one minus the global kernel alignment over the pixels (CAT, CVPR 2021)"
    reads = "features"
    default_weight = 50.0

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return kernel_alignment_loss(student, teacher)
