r"""How well a segmenter reads generated images: the scores of its predictions against the labels.

With :math:`n_{ij}` the number of pixels of class *i* that are predicted as class *j*, over all images,

.. math::
    \text{pixel accuracy} = \frac{\sum_i n_{ii}}{\sum_{ij} n_{ij}}, \quad
    \text{class accuracy} = \operatorname{mean}_i \frac{n_{ii}}{\sum_j n_{ij}}, \quad
    \text{mean IoU} = \operatorname{mean}_i \frac{n_{ii}}{\sum_j n_{ij} + \sum_j n_{ji} - n_{ii}}

Source: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, and the FCN
score of pix2pix (Isola et al., CVPR 2017). The means are over the classes that occur: in the labels, for class
accuracy, and in labels or predictions, for the mean IoU. A class that occurs in no image would otherwise count as
wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import ArgumentError
from .intervals import RESAMPLES, Resamples, resample_sums

IGNORED = 255


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of predictions, 0 to 1; higher is better. NaN if no pixel is labelled.

    Attributes:
        pixel_accuracy: share of the pixels that are right.
        class_accuracy: mean over classes of the share of their pixels that are right.
        mean_iou: mean over classes of intersection over union.
    """

    pixel_accuracy: float
    class_accuracy: float
    mean_iou: float


def confusion(predicted: torch.Tensor, labels: torch.Tensor, classes: int) -> np.ndarray:
    """Count the pixels of each class that are predicted as each class.

    Args:
        predicted: (B, H, W), integers from 0 to ``classes - 1``.
        labels: (B, H, W), the same, or 255 for pixels that are ignored.
        classes: number of classes, at most 255.

    Returns:
        (B, classes, classes), int64, for each image: rows are labels, columns predictions.

    Raises:
        ArgumentError: If the shapes differ, values are not integers, or a class is out of range.
    """
    if predicted.ndim != 3 or predicted.shape != labels.shape:
        raise ArgumentError(
            f"expected classes of pixels (B, H, W), got predictions of the shape {tuple(predicted.shape)} and labels "
            f"of {tuple(labels.shape)}"
        )
    if not 1 <= classes <= IGNORED:
        raise ArgumentError(f"classes is {classes}: give 1 to {IGNORED}, as label {IGNORED} is ignored")
    for name, values in (("predictions", predicted), ("labels", labels)):
        if values.is_floating_point() or values.is_complex():
            raise ArgumentError(f"the {name} are {values.dtype}: give integers, the numbers of classes")
    predicted, labels = predicted.detach().cpu().long().flatten(1), labels.detach().cpu().long().flatten(1)
    kept = labels != IGNORED
    for name, values in (("prediction", predicted), ("label", labels)):
        wrong = values[kept & ((values < 0) | (values >= classes))]
        if len(wrong):
            raise ArgumentError(f"{name} {int(wrong[0])} is not one of {classes} classes, 0 to {classes - 1}")
    pairs = labels * classes + predicted
    counts = [torch.bincount(p[k], minlength=classes**2) for p, k in zip(pairs, kept, strict=True)]
    return torch.stack(counts).view(-1, classes, classes).numpy()


def segmentation_scores(counts: np.ndarray) -> SegmentationScores:
    """Return the scores over all images, from the counts (N, K, K) of :func:`confusion`."""
    return SegmentationScores(*map(float, _scores(_flat(counts).sum(axis=0, keepdims=True))[0]))


def segmentation_resamples(counts: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Resamples]:
    """Return the scores resampled over images; those of two networks are paired.

    Args:
        counts: (N, K, K) of :func:`confusion`.
        resamples: number of draws.
        seed: of the draws.

    Returns:
        By the name of the score, as in :class:`SegmentationScores`.
    """
    found = resample_sums(_flat(counts), _scores, resamples, seed)
    return dict(zip(SegmentationScores.__dataclass_fields__, found, strict=True))


def _flat(counts: np.ndarray) -> np.ndarray:
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or not len(counts):
        raise ArgumentError(f"expected counts (N, K, K) of one or more images, got the shape {counts.shape}")
    return counts.reshape(len(counts), -1)


def _scores(sums: np.ndarray) -> np.ndarray:
    """Return the three scores (R, 3) of counts (R, K * K)."""
    classes = round(sums.shape[1] ** 0.5)
    counts = sums.reshape(-1, classes, classes).astype(np.float64)
    right = np.diagonal(counts, axis1=1, axis2=2)  # (R, K)
    labelled, predicted = counts.sum(axis=2), counts.sum(axis=1)
    pixel = _share(right.sum(axis=1), labelled.sum(axis=1))
    return np.stack([pixel, _mean_share(right, labelled), _mean_share(right, labelled + predicted - right)], axis=1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return the ratio, NaN where the whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0))


def _mean_share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return the mean (R,) over the classes (R, K) whose whole is not 0."""
    shares = _share(part, whole)
    return _share(np.nansum(shares, axis=1), (whole > 0).sum(axis=1))
