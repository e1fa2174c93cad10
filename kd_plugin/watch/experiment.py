"""What a training has written next to its log: the record of the student, and images."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RECORD_NAME = "student.json"  # as in students.record, whose import takes seconds
_PICTURE = re.compile(r"epoch(\d+)_(.+)\.png")
_OUTPUT = re.compile(r"fake_([AB])(.*)")
_GAP = 4  # pixels between two images


@dataclass(frozen=True)
class Facts:
    """What ``student.json`` says of a run.

    Attributes:
        model: the host's model.
        terms: weights by name of the term.
        teachers: file of the teacher by generator, such as ``"G_A"``.
        sizes: number of parameters of student and teacher by generator; 0 if unknown.
    """

    model: str = ""
    terms: dict[str, str] = field(default_factory=dict)
    teachers: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def losses(self) -> set[str]:
        """The names under which the terms are logged: ``wavelet``, or ``wavelet_A`` and ``wavelet_B``."""
        return {f"{term}{net.removeprefix('G')}" for term in self.terms for net in self.teachers}


def read_facts(folder: Path) -> Facts | None:
    """Return the facts of an experiment's folder; None without a valid record, which the first save writes."""
    try:
        record = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    students, teachers = _table(record, "students"), _table(record, "teachers")
    sizes = {net: (_count(students, net), _count(teachers, net)) for net in students}
    terms = {name: str(weight) for name, weight in _table(_table(record, "distillation"), "terms").items()}
    files = {net: str(described.get("file")) for net, described in teachers.items() if isinstance(described, dict)}
    return Facts(str(record.get("model", "")), terms, files, sizes)


def _table(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _count(described: Mapping[str, Any], net: str) -> int:
    found = _table(described, net).get("parameters")
    return found if isinstance(found, int) else 0


def newest_images(folder: Path) -> tuple[int, dict[str, Path]]:
    """Return the epoch of the last image that the host has written for its web page, and its images by name.

    The folder may hold images of later epochs, of an older run of the same name. The epoch is 0 without images.
    """
    found: dict[int, dict[str, Path]] = {}
    newest = (0.0, 0)
    for file in (folder / "web" / "images").glob("epoch*.png"):
        match = _PICTURE.fullmatch(file.name)
        if match:
            epoch = int(match[1])
            found.setdefault(epoch, {})[match[2]] = file
            newest = max(newest, (file.stat().st_mtime, epoch))
    epoch = newest[1]
    return epoch, found.get(epoch, {})


def rows_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the images to show side by side: input, student, teacher, and real image, by name of the student's.

    >>> rows_of(["real_A", "fake_B", "real_B", "teacher_fake_B"])
    {'fake_B': ['real_A', 'fake_B', 'teacher_fake_B', 'real_B']}
    """
    names = sorted(names)
    rows = {}
    for name in names:
        if match := _OUTPUT.fullmatch(name):
            other = "A" if match[1] == "B" else "B"
            # In colorization, only the converted image has the rest of the name.
            source = next((n for n in (f"real_{other}{match[2]}", f"real_{other}") if n in names), "")
            row = [source, name, f"teacher_{name}", f"real_{match[1]}{match[2]}"]
            rows[name] = [n for n in row if n in names]
    return rows or ({"images": names} if names else {})


def side_by_side(files: Iterable[Path]) -> np.ndarray:
    """Return images as one, (3, H, W), uint8, all of the height of the first.

    Raises:
        OSError: If an image cannot be read: the host may be writing it.
    """
    images: list[Image.Image] = []
    for file in files:
        with Image.open(file) as opened:
            images.append(opened.convert("RGB"))
    height = images[0].height
    images = [image.resize((max(1, image.width * height // image.height), height)) for image in images]
    row = Image.new("RGB", (sum(image.width + _GAP for image in images) - _GAP, height), "white")
    left = 0
    for image in images:
        row.paste(image, (left, 0))
        left += image.width + _GAP
    return np.asarray(row).transpose(2, 0, 1)
