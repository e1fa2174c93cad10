"""Stability: how much outputs change if the input is shifted or compressed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image

from ...metrics.intervals import difference_interval, mean_interval
from ...metrics.stability import reencode_error, shift_error
from ...networks.translator import to_tensor
from ..measuring import Batch, Measured, Part
from ..results import Stability, Subject
from .quality import differences

_SHIFTS = (1, 2, 4)  # pixels
_QUALITY = 90  # of the JPEG
_MOST = 200  # images: each takes eight more passes of every network


def stability_parts(keys: tuple[str, ...]) -> list[tuple[str, Part]]:
    """Return the changes of the input, each with the part that computes those of the output for each image."""
    changes: dict[str, Callable[[Batch], list[np.ndarray]]] = {
        f"shifted by {pixels} pixel{'s' if pixels > 1 else ''}": partial(_shifted, pixels) for pixels in _SHIFTS
    }
    changes[f"JPEG quality {_QUALITY}"] = _reencoded
    return [(title, Part(f"stability 1, {title}", compute, keys, most=_MOST)) for title, compute in changes.items()]


def stability(
    parts: Sequence[tuple[str, Part]], measured: Measured, subjects: Sequence[Subject]
) -> tuple[Stability, ...]:
    """Return the rows of the table."""
    rows = []
    for title, part in parts:
        arrays = measured.arrays[part.name, ""]  # (N, 2): changes of output and input
        outputs = {key: array[:, 0] for key, array in arrays.items()}
        rows.append(
            Stability(
                title,
                float(next(iter(arrays.values()))[:, 1].mean()),
                {key: mean_interval(values) for key, values in outputs.items()},
                differences(subjects, list(outputs), lambda a, b, v=outputs: difference_interval(v[a], v[b])),  # type: ignore[misc]
            )
        )
    return tuple(rows)


def _shifted(pixels: int, batch: Batch) -> list[np.ndarray]:
    # Two windows of the size that the networks need, from images enlarged by the shift.
    enlarged = to_tensor([_enlarged(loaded.input, pixels) for loaded in batch.loaded])
    border = min(16, min(enlarged.shape[2:]) // 8)
    return [np.array([change, 0.0]) for change in shift_error(batch.network, enlarged, pixels, border)]


def _reencoded(batch: Batch) -> list[np.ndarray]:
    inputs = to_tensor([loaded.input for loaded in batch.loaded])
    return list(np.stack(reencode_error(batch.network, inputs, _QUALITY), axis=1))


def _enlarged(image: np.ndarray, pixels: int) -> np.ndarray:
    height, width, channels = image.shape
    opened = Image.fromarray(image[:, :, 0] if channels == 1 else image)
    resized = opened.resize((width + pixels, height + pixels), Image.Resampling.BICUBIC)
    return np.asarray(resized).reshape(height + pixels, width + pixels, channels)
