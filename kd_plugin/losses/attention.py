r"""Attention transfer: where in the image the activations are large.

.. math:: Q = \sum_c f_c^2, \qquad
          \mathcal{L} = \Big\lVert \frac{Q^S}{\lVert Q^S \rVert_2} - \frac{Q^T}{\lVert Q^T \rVert_2} \Big\rVert_2^2

with *Q* the map of one image, over its pixels; averaged over the batch. Between 0 and 2 at any resolution.

Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017. Their equation uses the norm, which
has no gradient where the maps agree; their code uses its square, averaged over pixels, which decreases with the
resolution. This is the square, summed over pixels.
"""

from __future__ import annotations

import torch

from .registry import Term, register
from .validate import check_features, common_dtype, safe_normalize


def attention_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the squared distance of two normalised attention maps (equation in the module's docstring).

    Args:
        student: (B, C_s, H, W).
        teacher: (B, C_t, H, W); the channels may differ.

    Returns:
        A scalar. The map of an image whose features are all zero is zero.

    Raises:
        ArgumentError: If the batch or spatial sizes differ; the message has both shapes.
    """
    student, teacher = check_features(student, teacher)
    dtype = common_dtype(student, teacher)
    maps = [safe_normalize(features.to(dtype).square().sum(1).flatten(1)) for features in (student, teacher)]
    return (maps[0] - maps[1]).square().sum(1).mean()


@register
class AttentionLoss(Term):
    """The attention term as a module; see :func:`attention_loss`."""

    name = "attention"
    summary = "distance of normalised spatial attention maps (Zagoruyko and Komodakis, ICLR 2017)"
    reads = "features"
    default_weight = 20.0

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return attention_loss(student, teacher)
