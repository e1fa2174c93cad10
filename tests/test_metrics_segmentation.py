"""Scores of segmentation compared with a worked example and a loop over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kd_plugin.errors import ArgumentError
from kd_plugin.metrics.segmentation import (
    SegmentationScores,
    confusion,
    segmentation_resamples,
    segmentation_scores,
)


def classes_of(seed: int, classes: int = 4, shape: tuple[int, ...] = (5, 6, 7)) -> torch.Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def test_a_worked_example() -> None:
    """Class 0: 3 pixels, 2 right; class 1: 2 pixels, 1 right; class 2 occurs in the predictions alone."""
    labels = torch.tensor([[[0, 0, 0], [1, 1, 255]]])
    predicted = torch.tensor([[[0, 0, 1], [1, 2, 7]]])  # the ignored pixel may be of any class
    counts = confusion(predicted, labels, 5)
    assert counts.shape == (1, 5, 5) and counts.sum() == 5
    assert counts[0, :3, :3].tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 0]]
    found = segmentation_scores(counts)
    assert found.pixel_accuracy == pytest.approx(3 / 5)
    assert found.class_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.mean_iou == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)


def test_scores_are_those_of_a_loop_over_the_pixels_of_all_images() -> None:
    predicted, labels = classes_of(1), classes_of(2)
    labels[0, :3] = 255
    pairs = [(int(p), int(t)) for p, t in zip(predicted.flatten(), labels.flatten(), strict=True) if t != 255]
    shares, unions = [], []
    for k in range(4):
        both, either = sum(p == t == k for p, t in pairs), sum(k in pair for pair in pairs)
        shares.append(both / sum(t == k for _, t in pairs))
        unions.append(both / either)
    found = segmentation_scores(confusion(predicted, labels, 4))
    assert found.pixel_accuracy == pytest.approx(sum(p == t for p, t in pairs) / len(pairs))
    assert found.class_accuracy == pytest.approx(np.mean(shares))
    assert found.mean_iou == pytest.approx(np.mean(unions))


def test_right_predictions_score_one_and_no_labels_score_nothing() -> None:
    labels = classes_of(1)
    assert segmentation_scores(confusion(labels, labels, 9)) == SegmentationScores(1, 1, 1)
    nothing = segmentation_scores(confusion(labels, torch.full_like(labels, 255), 4))
    assert all(math.isnan(score) for score in vars(nothing).values())


def test_counts_of_batches_add_up() -> None:
    predicted, labels = classes_of(1), classes_of(2).byte()
    parts = [confusion(predicted[i : i + 2], labels[i : i + 2], 4) for i in (0, 2, 4)]
    assert np.array_equal(np.concatenate(parts), confusion(predicted, labels, 4))


def test_intervals_are_over_images() -> None:
    """Images of equal size: the pixel accuracy is the mean over images, with its standard error."""
    predicted, labels = classes_of(1, 2, (200, 4, 4)), classes_of(2, 2, (200, 4, 4))
    counts = confusion(predicted, labels, 2)
    found = segmentation_resamples(counts)
    assert list(found) == ["pixel_accuracy", "class_accuracy", "mean_iou"]
    accuracies = (predicted == labels).double().mean((1, 2)).numpy()
    # A standard deviation of 2,000 draws has one of 1 / sqrt(4000); five of these.
    expected = pytest.approx(accuracies.std() / math.sqrt(200), rel=5 / math.sqrt(4000))
    assert found["pixel_accuracy"].draws.std() == expected
    assert {name: resamples.value for name, resamples in found.items()} == vars(segmentation_scores(counts))
    interval = found["mean_iou"].interval()
    assert interval.low < interval.value < interval.high
    assert found["mean_iou"].difference(segmentation_resamples(counts)["mean_iou"]).high == 0


def test_wrong_arguments_are_refused() -> None:
    labels = classes_of(1)
    for predicted, classes, problem in (
        (labels[:2], 4, r"predictions of the shape \(2, 6, 7\) and labels of \(5, 6, 7\)"),
        (labels.float(), 4, "the predictions are torch.float32: give integers"),
        (labels + 1, 4, "prediction 4 is not one of 4 classes, 0 to 3"),
        (labels - 1, 4, "prediction -1 is not one of 4 classes"),
        (labels, 3, "prediction 3 is not one of 3 classes"),
        (labels, 256, "classes is 256: give 1 to 255"),
    ):
        with pytest.raises(ArgumentError, match=problem):
            confusion(predicted, labels, classes)
    with pytest.raises(ArgumentError, match="label 3 is not one of 3 classes"):
        confusion(labels.clamp(max=2), labels, 3)
    with pytest.raises(ArgumentError, match=r"expected counts \(N, K, K\)"):
        segmentation_scores(np.zeros((4, 4)))
