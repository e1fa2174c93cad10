"""The data sets of the study: where they are, what kind they are, and their split."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes import Kind

from kd_plugin.errors import KDError
from kd_plugin.pictures import digest_of_files, find_images

PHASES = ("train", "val", "test")
GROUPS = "groups.txt"
_HELD_OUT = 10  # one of so many training images, where a data set has no validation images


@dataclass(frozen=True)
class Task:
    """A data set in the hosts' layout.

    Attributes:
        name: of the task.
        root: folder with ``train/``, ``val/`` and ``test/`` of pairs A|B, or with ``trainA/``, ``trainB/`` and so on.
        kind: ``"paired"`` or ``"unpaired"``.
    """

    name: str
    root: Path
    kind: Kind

    def inputs(self, phase: str) -> Path:
        """Return the folder of the inputs, which for pairs is that of the pairs."""
        return self.root / (phase if self.kind == "paired" else f"{phase}A")

    def reals(self, phase: str) -> Path:
        """Return the folder of real images of the target domain, which for pairs is that of the pairs."""
        return self.root / (phase if self.kind == "paired" else f"{phase}B")

    def groups(self, phase: str) -> list[int]:
        """Return a number for each input: inputs that are nearly the same, by ``groups.txt``, have the same.

        A line of the file has the name of an image, without extension, and that of its group.
        """
        group_of = _groups_of(self.root)
        names = [file.stem for file in find_images(self.inputs(phase))]
        groups = [group_of.get(name, name) for name in names]
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        return [numbers[group] for group in groups]

    def digest(self) -> str:
        """Return the SHA-256 of the names and sizes of all images."""
        folders = [self.inputs(phase) for phase in PHASES] + [self.reals(phase) for phase in PHASES]
        return digest_of_files([file for folder in dict.fromkeys(folders) for file in find_images(folder)], self.root)


def find_task(name: str, root: Path, work: Path, images: int | None = None) -> Task:
    """Return the task of a data set; where it has no validation images, a tenth of its training images.

    Args:
        name: of the task.
        root: its folder.
        work: folder for links to the images, if not all are used as they are.
        images: number of images of each phase at most.

    Raises:
        KDError: it is no data set of the hosts.
    """
    if (root / "train").is_dir():
        kind: Kind = "paired"
    elif (root / "trainA").is_dir() and (root / "trainB").is_dir():
        kind = "unpaired"
    else:
        raise KDError(f"{root}: expected train/ with pairs A|B, or trainA/ and trainB/, as in the hosts' data sets")
    sides = ("",) if kind == "paired" else ("A", "B")
    if missing := [f"test{side}" for side in sides if not (root / f"test{side}").is_dir()]:
        raise KDError(f"{root}: there is no {missing[0]}/: the results are measured on it")
    if images or not all((root / f"val{side}").is_dir() for side in sides):
        root = _link(root, work / name, sides, images)
    return Task(name, root.absolute(), kind)


def _link(root: Path, linked: Path, sides: Sequence[str], images: int | None) -> Path:
    """Create a data set of links to the images of another, with validation images."""
    group_of = _groups_of(root)
    for side in sides:
        folders = {phase: root / f"{phase}{side}" for phase in PHASES}
        names = {
            phase: [file.relative_to(folder) for file in find_images(folder)]
            for phase, folder in folders.items()
            if folder.is_dir()
        }
        if "val" not in names:
            names["val"] = _held_out(names["train"], group_of)
            names["train"] = [name for name in names["train"] if name not in names["val"]]
            folders["val"] = folders["train"]
        for phase in PHASES:
            for name in names[phase][:images]:
                link = linked / f"{phase}{side}" / name
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.is_symlink():
                    os.symlink((folders[phase] / name).resolve(), link)
    if (root / GROUPS).is_file() and not (linked / GROUPS).is_symlink():
        os.symlink((root / GROUPS).resolve(), linked / GROUPS)
    return linked


def _held_out(names: Sequence[Path], group_of: Mapping[str, str]) -> list[Path]:
    """Return about a tenth of images, at least one, by a hash of their groups: an added image moves no other."""

    def hashed(name: Path) -> int:
        return zlib.crc32(group_of.get(name.stem, name.stem).encode())

    return [name for name in names if hashed(name) % _HELD_OUT == 0] or [min(names, key=hashed)]


def _groups_of(root: Path) -> dict[str, str]:
    """Return the group of each image, by its name without extension."""
    file = root / GROUPS
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {name: group for name, _, group in (line.rpartition(" ") for line in lines)}
