"""Choose the images to look at, by rule, and draw them with their heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..files import write_atomically
from ..metrics.frequency import missing_detail
from .measuring import Pipeline, to_unit
from .relation_matrices import relation_matrix
from .results import Sample

FOLDER = "images"
# Anchors of the heat map's colours, from nothing to much.
_COLOURS = np.array([[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]])
_DIFFERENCE = 0.25  # of the range of values: the end of the colours in a map of differences


def choose(psnr: Mapping[str, np.ndarray], labels: Mapping[str, str], reference: str) -> dict[int, str]:
    """Return the best, median and worst image of each student, and why each was chosen.

    Args:
        psnr: by key of the student: PSNR of every image to the reference.
        labels: names of the students.
        reference: name of the reference.

    Returns:
        Reasons by index of the image.
    """
    reasons: dict[int, list[str]] = {}
    for key, values in psnr.items():
        order = np.argsort(values, kind="stable")
        for rank, place in (("best", -1), ("median", len(order) // 2), ("worst", 0)):
            index = int(order[place])
            text = f"{rank} of {labels[key]}: {values[index]:.1f} dB to the {reference}"
            reasons.setdefault(index, []).append(text)
    return {index: "; ".join(texts) for index, texts in reasons.items()}


def even(count: int, number: int = 3) -> dict[int, str]:
    """Return evenly spaced images, where there is no student or nothing to compare with."""
    places = np.linspace(0, count - 1, min(number, count)).round().astype(int)
    return {int(i): f"image {i + 1} of {count}, evenly spaced" for i in places}


def draw_sample(
    folder: Path,
    prefix: str,
    name: str,
    reason: str,
    pipeline: Pipeline,
    item: object,
    keys: Sequence[str],
    reference: str,
    with_relations: bool,
) -> Sample:
    """Write the images of a sample and return their description.

    Args:
        folder: folder of the report.
        prefix: start of the file names, unique in the report.
        name: name of the input.
        reason: why it was chosen.
        pipeline: produces the images.
        item: the item.
        keys: subjects in order of display.
        reference: the subject to compare with; "" without one.
        with_relations: whether to write the relation matrices of the networks.
    """
    loaded = pipeline.load(item)  # type: ignore[arg-type]
    images = {key: pipeline.images(key, [loaded])[0] for key in keys}
    height, width = loaded.input.shape[:2]
    paths: dict[str, dict[str, str]] = {"image": {}, "difference": {}, "detail": {}, "relations": {}}

    def save(kind: str, key: str, array: np.ndarray) -> None:
        path = f"{FOLDER}/{prefix}_{key}_{kind}.png"
        save_png(array, folder / path)
        paths[kind][key] = path

    for key, image in images.items():
        save("image", key, image)
    for key in keys if reference else ():
        if key not in (reference, "input", "truth"):
            pair = to_unit([images[key]]), to_unit([images[reference]])
            save("difference", key, colours((pair[0] - pair[1]).abs().mean(1)[0] / _DIFFERENCE))
            save("detail", key, colours(missing_detail(*pair)[0] / _DIFFERENCE))
    grid = (0, 0)
    for key in pipeline.translators if with_relations else ():
        if found := relation_matrix(pipeline.translators[key], loaded.input):
            matrix, grid = found
            save("relations", key, matrix)
    return Sample(
        name,
        reason,
        width,
        height,
        paths["image"],
        paths["difference"],
        paths["detail"],
        paths["relations"],
        grid,
    )


def colours(values: torch.Tensor) -> np.ndarray:
    """Return a heat map, uint8 (H, W, 3), of values (H, W); values above 1 are drawn as 1, below 0 as 0."""
    places = values.clamp(0, 1).double().cpu().numpy() * (len(_COLOURS) - 1)
    anchors = np.arange(len(_COLOURS))
    channels = [np.interp(places, anchors, _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def save_png(array: np.ndarray, file: Path) -> None:
    """Write an image, uint8 (H, W) or (H, W, 3), atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, lambda stream: Image.fromarray(array).save(stream, format="PNG"))
