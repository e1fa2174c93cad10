"""The images of a compression: found, checked, and divided into those to train on and those held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..errors import KDError, first_line
from ..pictures import Preprocessing, UnusableImageError
from ..processes import say
from ..report.inputs import Item, Task, items_of, tasks_of
from ..report.results import Problem
from .samples import check_unusable, split_items
from .settings import CompressSettings
from .teachers import KEY, Teacher


@dataclass(frozen=True)
class Data:
    """The images of a compression.

    Attributes:
        training: to train on.
        held_out: to validate with.
        problems: those that were left out.
        folder: of the inputs.
    """

    training: list[Item]
    held_out: list[Item]
    problems: list[Problem]
    folder: Path


def find_data(settings: CompressSettings, teacher: Teacher, direction: str, preprocessing: Preprocessing) -> Data:
    """Return the images of the settings, of which the headers are checked.

    Raises:
        KDError: If there are none, or more than one in a hundred cannot be used.
    """
    if settings.pairs and (settings.pairs / "train").is_dir():
        raise KDError(f"{settings.pairs}: is a whole data set: name its folder {settings.pairs / 'train'}")
    (task,) = tasks_of(settings.images, None, None, settings.pairs, None, "train", [direction])
    finished = {KEY: teacher.experiment.images} if teacher.experiment.images else {}
    items, problems = items_of(task, finished, whole=[KEY])
    if problems:
        say(f"note: {len(problems)} images have no counterpart in the other folder: left out")
    items, found = _usable(items, preprocessing)
    training, held_out = split_items(items, settings.validation)
    return Data(training, held_out, [*problems, *found], task.inputs.folder)


def find_real(folder: Path, preprocessing: Preprocessing) -> tuple[list[Item], list[Problem]]:
    """Return the real images of a folder, and those that were left out; raises as :func:`find_data`."""
    (task,) = tasks_of(folder, None, None, None, None, "train", ["AtoB"])
    return _usable(items_of(Task("", task.inputs), {})[0], preprocessing)


def _usable(items: Sequence[Item], preprocessing: Preprocessing) -> tuple[list[Item], list[Problem]]:
    """Return the items whose header can be used, without decoding their pixels, which takes long for photographs."""
    usable, problems = [], []
    for item in items:
        try:
            for file, half in ((item.file, item.half), *((file, "") for file in item.finished.values())):
                _check_header(file, bool(half), preprocessing)
            usable.append(item)
        except UnusableImageError as error:
            problems.append(Problem(str(item.file), f"{error}: left out"))
    if problems:
        check_unusable(
            [problem.what for problem in problems], len(items), problems[0].reason.removesuffix(": left out")
        )
    return usable, problems


def _check_header(file: Path, pair: bool, preprocessing: Preprocessing) -> None:
    try:
        with Image.open(file) as image:
            width, height, mode = *image.size, image.mode
    except Exception as error:  # damaged files may raise anything
        raise UnusableImageError(f"it cannot be read ({first_line(error, 120)})") from error
    if mode.startswith(("I", "F")):
        raise UnusableImageError(f"its mode {mode} has more than 8 bits per pixel: convert it to 8 bits")
    width = width // 2 if pair else width
    crop = preprocessing.crop_size
    if preprocessing.preprocess == "crop" and min(width, height) < crop:
        raise UnusableImageError(f"its {width}x{height} pixels are less than the crop of {crop}")
