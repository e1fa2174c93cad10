r"""The relations between the pixels of a generator's encoding, for the pictures of the relation paper.

"Semantic Relation Preserving Knowledge Distillation for Image-to-Image Translation" (Li et al., ECCV 2020) compares
the matrices :math:`A_{ij} = f_i \cdot f_j / (|f_i| |f_j|)` of teacher and student, with :math:`f_i` the features of
pixel *i* of the encoding.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import ArgumentError
from ..networks.taps import Recorder, tap_points
from ..networks.translator import Translator, to_tensor

_MOST = 16  # maximum side of the grid: the matrix has its fourth power of entries


def relation_matrix(translator: Translator, image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]] | None:
    """Return the relations between the pixels of an image's encoding.

    Features are averaged to at most 16x16 pixels.

    Args:
        translator: the generator.
        image: input, uint8 (H, W, C).

    Returns:
        The matrix, uint8 (N, N) with 0 to 255 for cosine similarities of -1 to 1, and height and width of the grid
        with N pixels; None for a network whose encoding is not known.
    """
    if translator.module is None:
        return None
    try:
        point = tap_points(translator.module)["middle"][0]
    except ArgumentError:
        return None
    with Recorder(translator.module, [point.module]) as recorder:
        translator.translate(to_tensor([image]), [0])
    features = recorder.calls[-1].features[point.module].detach().float()  # (1, C, H, W)
    height, width = (min(side, _MOST) for side in features.shape[2:])
    pixels = F.normalize(F.adaptive_avg_pool2d(features, (height, width))[0].flatten(1), dim=0)  # (C, N)
    cosines = (pixels.T @ pixels).clamp(-1, 1)  # (N, N)
    matrix: np.ndarray = ((cosines + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    return matrix, (height, width)
