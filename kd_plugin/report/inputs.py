"""The images that a report is about: inputs, their ground truth, and finished images of the same names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ..errors import ArgumentError, KDError
from ..pictures import (
    Preprocessing,
    UnusableImageError,
    as_array,
    data_set,
    find_images,
    match_images,
    name_of,
    open_image,
    open_labels,
)
from .results import Problem

Side = Literal["", "A", "B"]


@dataclass(frozen=True)
class Images:
    """A set of images.

    Attributes:
        folder: where they are.
        half: the side of pairs A|B to use, or "" for whole images.
    """

    folder: Path
    half: Side = ""


@dataclass(frozen=True)
class Item:
    """An input and the files that belong to it.

    Attributes:
        name: file name of the input, relative to its folder.
        file: the input.
        half: side of a pair.
        truth: file of the ground truth, if any.
        truth_half: side of a pair.
        finished: file by key of the subject.
        labels: file of the label map, if any.
        whole: the finished images that were made of whole inputs, by key.
    """

    name: str
    file: Path
    half: Side = ""
    truth: Path | None = None
    truth_half: Side = ""
    finished: dict[str, Path] = field(default_factory=dict)
    labels: Path | None = None
    whole: Collection[str] = ()


@dataclass(frozen=True)
class Task:
    """What to translate in one direction.

    Attributes:
        direction: ``"AtoB"`` or ``"BtoA"``.
        inputs: the inputs.
        truth: their ground truth, by name or as the other half; None without.
        real: real images of the target domain; None without.
    """

    direction: str
    inputs: Images
    truth: Images | None = None
    real: Images | None = None


def tasks_of(
    images: Path | None,
    dataroot: Path | None,
    truth: Path | None,
    pairs: Path | None,
    real: Path | None,
    phase: str,
    directions: Sequence[str],
) -> list[Task]:
    """Return the tasks that the given folders define.

    Args:
        images: folder of inputs.
        dataroot: data set of a host, instead.
        truth: folder of ground truth with the names of the inputs.
        pairs: folder of pairs A|B, instead of ``images`` and ``truth``.
        real: folder of real images of the target domain; the ground truth by default.
        phase: part of the data set.
        directions: directions to report, from those the networks have.

    Raises:
        ArgumentError: If the folders do not define one set of inputs.
        KDError: If the data set is not one of the hosts.
    """
    given = [name for name, value in (("images", images), ("dataroot", dataroot), ("pairs", pairs)) if value]
    if len(given) != 1:
        raise ArgumentError(f"{' and '.join(given) or 'no folder'} given: name the inputs by one of them")
    if truth and not images:
        raise ArgumentError(
            f"{given[0]} has its own ground truth: remove the folder {truth}, or name the inputs alone"
        )
    if dataroot:
        folders = data_set(dataroot, phase)
        pairs = folders.get("AB")
        if pairs is None:
            sides = {"AtoB": ("A", "B"), "BtoA": ("B", "A")}
            return [
                Task(d, Images(folders[sides[d][0]]), None, Images(real or folders[sides[d][1]])) for d in directions
            ]
    if pairs:
        halves: dict[str, tuple[Side, Side]] = {"AtoB": ("A", "B"), "BtoA": ("B", "A")}
        return [
            Task(
                d,
                Images(pairs, halves[d][0]),
                Images(pairs, halves[d][1]),
                Images(real) if real else Images(pairs, halves[d][1]),
            )
            for d in directions
        ]
    if len(directions) > 1:
        raise ArgumentError("one folder of inputs belongs to one direction, and the networks have both")
    assert images is not None
    known = Images(truth) if truth else None
    return [Task(directions[0], Images(images), known, Images(real) if real else known)]


def items_of(
    task: Task, finished: Mapping[str, Path], labels: Path | None = None, whole: Collection[str] = ()
) -> tuple[list[Item], list[Problem]]:
    """Match the inputs of a task with the ground truth and finished images.

    Args:
        task: the task.
        finished: folder of finished images by key of the subject.
        labels: folder of label maps.
        whole: the finished images, by key, that were made of whole inputs.

    Returns:
        The items that have everything, and a problem for each that does not.

    Raises:
        KDError: If a folder has no images, or no input has everything.
    """
    folder, half = task.inputs.folder, task.inputs.half
    files = [(name_of(file, folder), file) for file in find_images(folder)]
    names = [name for name, _ in files]
    problems = []
    others: dict[str, dict[str, Path]] = {}
    folders = {**finished, **({"labels": labels} if labels else {})}
    if task.truth and not task.truth.half:
        folders["truth"] = task.truth.folder
    for key, place in folders.items():
        others[key], unused = match_images(names, place)
        problems += [Problem(str(file), "there is no input of this name: left out", fatal=False) for file in unused]
    items = []
    for name, file in files:
        missing = [str(folders[key]) for key, found in others.items() if name not in found]
        if missing:
            problems.append(Problem(str(file), f"there is no image of this name in {', '.join(missing)}: left out"))
            continue
        truth = file if task.truth and task.truth.half else others.get("truth", {}).get(name)
        items.append(
            Item(
                file.relative_to(folder).as_posix(),
                file,
                half,
                truth,
                task.truth.half if task.truth else "",
                {key: others[key][name] for key in finished},
                others["labels"][name] if labels else None,
                whole,
            )
        )
    if not items:
        raise KDError(f"{folder}: none of its {len(files)} images has one of the same name in {_all_of(folders)}")
    return items, problems


def _all_of(folders: Mapping[str, Path]) -> str:
    return " and ".join(str(folder) for folder in folders.values())


@dataclass(frozen=True)
class Loaded:
    """The pixels of an item, uint8 (H, W, C) each."""

    item: Item
    input: np.ndarray
    truth: np.ndarray | None
    finished: dict[str, np.ndarray]
    labels: np.ndarray | None = None  # (H, W)


def load_item(item: Item, preprocessing: Preprocessing, channels: int, multiple: int) -> Loaded:
    """Read the images of an item.

    Args:
        item: the item.
        preprocessing: of input, ground truth, and finished images that were made of whole inputs; others are used
            as they are.
        channels: of the input.
        multiple: sides of the input are multiples of it.

    Raises:
        UnusableImageError: If one cannot be used; the message names the file.
    """

    def read(file: Path, half: Side = "", prepare: bool = False, channels: int = 3) -> np.ndarray:
        try:
            image = open_image(file, half)
            return as_array(preprocessing(image) if prepare else image, channels)
        except UnusableImageError as error:
            raise UnusableImageError(f"{file}: {error}") from error

    def read_labels(file: Path) -> np.ndarray:
        try:
            return np.asarray(preprocessing(open_labels(file), Image.Resampling.NEAREST))
        except UnusableImageError as error:
            raise UnusableImageError(f"{file}: {error}") from error

    image = read(item.file, item.half, prepare=True, channels=channels)
    height, width = image.shape[:2]
    if height % multiple or width % multiple:
        raise UnusableImageError(f"{item.file}: {width}x{height} pixels, the network takes multiples of {multiple}")
    truth = None if item.truth is None else read(item.truth, item.truth_half, prepare=True)
    finished = {key: read(file, prepare=key in item.whole) for key, file in item.finished.items()}
    labels = None if item.labels is None else read_labels(item.labels)
    shapes = {
        "ground truth": truth,
        "label map": labels,
        **{str(item.finished[key]): value for key, value in finished.items()},
    }
    for name, array in shapes.items():
        if array is not None and array.shape[:2] != (height, width):
            raise UnusableImageError(
                f"{item.file}: {name} has {array.shape[1]}x{array.shape[0]} pixels, the input {width}x{height}"
            )
    return Loaded(item, image, truth, finished, labels)
