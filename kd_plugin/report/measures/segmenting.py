"""Columns of a segmenter's agreement with label maps: the FCN score of pix2pix, with any segmenter."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from ...errors import ArgumentError, KDError, in_one_line
from ...imports import import_function
from ...metrics.segmentation import confusion, segmentation_resamples
from ..measuring import Batch, Measured, Part
from ..results import Measure, Subject
from .quality import differences

_TITLES = {"pixel_accuracy": "pixel accuracy", "class_accuracy": "class accuracy", "mean_iou": "mean IoU"}


def segmentation_part(source: str, subjects: Sequence[Subject], size: int) -> Part:
    """Return the part that counts the confusions of each image.

    Args:
        source: ``package.module:function``, which takes images (B, 3, H, W) in [0, 1] and returns scores of the
            classes (B, K, H, W).
        subjects: the subjects; inputs are not segmented.
        size: side of an image to identify the function by.

    Raises:
        ArgumentError: If the function cannot be imported, or fails.
    """
    function = import_function("the segmenter", source)

    def scores(images: torch.Tensor) -> torch.Tensor:
        try:
            with torch.no_grad():
                found = function(images)
        except KDError:
            raise
        except Exception as error:  # the user's function may raise anything
            raise ArgumentError(f"the segmenter {source} fails: {in_one_line(error)}") from error
        shape = (len(images), *images.shape[2:])
        if not isinstance(found, torch.Tensor) or found.ndim != 4 or (len(found), *found.shape[2:]) != shape:
            got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise ArgumentError(
                f"the segmenter {source} returned {got} for images of {tuple(images.shape)}: return scores of the "
                "classes (B, K, H, W)"
            )
        return found

    def compute(batch: Batch) -> list[np.ndarray]:
        found = scores(batch.images)
        labels = torch.from_numpy(np.stack([one.labels for one in batch.loaded if one.labels is not None])).long()
        return list(confusion(found.argmax(dim=1).cpu(), labels, found.shape[1]))

    probe = scores(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)))
    digest = hashlib.sha256(probe.float().cpu().numpy().tobytes()).hexdigest()
    keys = tuple(s.key for s in subjects if s.role != "input")
    return Part(f"segmentation 1, {source}, {digest}", compute, keys, "labels")


def segmentation_measures(
    measured: Measured, protocol: dict[str, str], part: Part, source: str, subjects: Sequence[Subject]
) -> list[Measure]:
    """Return the columns: accuracy of pixels and classes, and mean intersection over union."""
    arrays = measured.arrays[part.name, part.against]
    drawn = {key: segmentation_resamples(counts) for key, counts in arrays.items()}
    return [
        Measure(
            name,
            title,
            "",
            True,
            "labels",
            3,
            {key: found[name].interval() for key, found in drawn.items()},
            differences(subjects, list(drawn), lambda a, b, n=name: drawn[a][n].difference(drawn[b][n])),  # type: ignore[misc]
            {"segmenter": source, **protocol},
        )
        for name, title in _TITLES.items()
    ]
