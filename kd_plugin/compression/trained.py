"""A host's finished training whose generators are compressed: what it was, and the folders of the students.

The folder ``compress`` in that of the training holds ``training.json``, which describes it, and the compressions. A
student is then put together in a folder beside that of the training: ``NAME_7x`` beside ``NAME``, with all
generators, so that the host's test loads them as those of ``NAME``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from ..errors import ArgumentError, CheckpointError
from ..files import sha256, write_text_atomically
from ..pictures import Preprocess
from ..students import RECORD_NAME, StudentRecord
from ..watch.log import LOG_NAME
from .outputs import CHOICES, checkpoint
from .settings import Direction

FOLDER, FILE = "compress", "training.json"
_FORMAT = 1


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator of a finished training.

    Attributes:
        sha256: of its file.
        inputs: folder of the images that it was trained on.
        pairs: whether these are pairs A|B, of which it reads one half.
        direction: that it translates.
    """

    sha256: str
    inputs: str
    pairs: bool
    direction: Direction


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        model, direction, dataset_mode: the host's options.
        preprocess, load_size, crop_size, no_flip: likewise.
        generators: by name: ``G``, or ``G_A`` and ``G_B``.
        options: all options as text, by name.
        test: a command that tests the student ``SIZE``.
        sets: names of the students that are trained in one compression, in the order in which these began.
    """

    model: str
    direction: Direction
    dataset_mode: str
    preprocess: Preprocess
    load_size: int
    crop_size: int
    no_flip: bool
    generators: dict[str, TrainedGenerator]
    options: dict[str, str]
    test: str = ""
    sets: list[list[str]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write the description to the folder of the training."""
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=2) + "\n"
        write_text_atomically(folder / FOLDER / FILE, text)

    @classmethod
    def read(cls, folder: Path) -> Trained | None:
        """Return the description in the folder of a training; None without one.

        Raises:
            CheckpointError: If it cannot be read.
        """
        file = folder / FOLDER / FILE
        if not file.is_file():
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content.pop("format") != _FORMAT:
                raise ValueError("written by another version of kd_plugin")
            described = {net: TrainedGenerator(**values) for net, values in content.pop("generators").items()}
            found = cls(generators=described, **content)
            found._check_types()
            return found
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{file}: not the description of a training ({error}): delete it") from error

    def _check_types(self) -> None:
        named = [name for names in self.sets for name in names]
        texts = [self.model, self.dataset_mode, self.test, *named, *self.options.values()]
        texts += [text for each in self.generators.values() for text in (each.sha256, each.inputs)]
        directions = [self.direction, *(each.direction for each in self.generators.values())]
        numbers = [self.load_size, self.crop_size]
        names = [*self.generators, *named]  # of files and folders
        if not (
            all(isinstance(text, str) for text in texts)
            and all(direction in get_args(Direction) for direction in directions)
            and all(type(number) is int and number > 0 for number in numbers)
            and all(name and Path(name).name == name for name in names)
            and self.preprocess in get_args(Preprocess)
            and self.generators
        ):
            raise TypeError("a value is not valid")

    def check_teachers(self, folder: Path) -> None:
        """Raise a :class:`CheckpointError` if a generator is not the one that was trained."""
        for net, generator in self.generators.items():
            file = teacher_file(folder, net)
            if not file.is_file() or sha256(file) != generator.sha256:
                what = "has changed since" if file.is_file() else "is missing, and"
                raise CheckpointError(
                    f"{file} {what} the training that {folder / FOLDER / FILE} describes: delete {folder / FOLDER} "
                    "if its students are not needed, or choose another name"
                )

    def is_finished(self, folder: Path, name: str) -> bool:
        """Return whether a student is in its folder.

        Raises:
            CheckpointError: If the folder has something else.
        """
        target = student_folder(folder, name)
        if is_free(target):
            return False
        try:
            content = json.loads((target / RECORD_NAME).read_text(encoding="utf-8"))
            found = {net: described["sha256"] for net, described in content["teachers"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            found = {}
        if found != {net: generator.sha256 for net, generator in self.generators.items()}:
            raise CheckpointError(f"{target}: holds something else than a student of {folder}: rename or delete it")
        return True

    def missing_sets(self, names: Sequence[str], folder: Path) -> list[list[str]]:
        """Return the sets of students to train, those that have begun first; none if all are in their folders."""
        left = [name for name in names if not self.is_finished(folder, name)]
        found = []
        for begun in self.sets:
            if set(begun) & set(left) and set(begun) <= set(names):
                found.append(begun)
                left = [name for name in left if name not in begun]
        return [*found, *([left] if left else [])]


def teacher_file(folder: Path, net: str) -> Path:
    """Return the file of a generator in the folder of its training."""
    return folder / f"latest_net_{net}.pth"


def student_folder(folder: Path, name: str) -> Path:
    """Return the folder of a student, beside that of the training."""
    return folder.with_name(f"{folder.name}_{name}")


def is_free(folder: Path) -> bool:
    """Return whether a folder is empty or does not exist."""
    return not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))


def compression_folder(folder: Path, net: str, names: Sequence[str]) -> Path:
    """Return the folder of the compression of a generator to several students."""
    return folder / FOLDER / net / "_".join(names)


def assemble(folder: Path, trained: Trained, names: Sequence[str], options: Mapping[str, type]) -> dict[str, Path]:
    """Put the students of a finished set together, in folders beside that of the training.

    Args:
        folder: of the training.
        trained: its description.
        names: of the set.
        options: the hosts' options that a record may hold, with their types.

    Returns:
        The folders that were not there before, by student. A student that failed for one generator has none.

    Raises:
        ArgumentError: If the students of two generators differ, so that a host cannot build both.
    """
    made = {}
    for name in names:
        sources = {net: compression_folder(folder, net, names) for net in trained.generators}
        sources = {net: source / (name if len(names) > 1 else "") for net, source in sources.items()}
        found = {net: StudentRecord.read(source, options) for net, source in sources.items()}
        records = {net: record for net, record in found.items() if record is not None}
        if len(records) < len(sources) or trained.is_finished(folder, name):
            continue
        _check_alike(name, records)
        target = student_folder(folder, name)
        temporary = target.with_name(f".{target.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for net, source in sources.items():
            for epoch in ("latest", *CHOICES):
                shutil.copyfile(checkpoint(source, epoch), temporary / f"{epoch}_net_{net}.pth")
            log = LOG_NAME if len(sources) == 1 else f"{net}_{LOG_NAME}"
            shutil.copyfile(source / LOG_NAME, temporary / log)
        _joined(trained, records).write(temporary)
        if target.is_dir():  # empty
            target.rmdir()
        temporary.rename(target)
        made[name] = target
    return made


def _check_alike(name: str, records: Mapping[str, StudentRecord]) -> None:
    built = {net: (record.host_options["ngf"], record.build) for net, record in records.items()}
    if len({json.dumps(each, sort_keys=True) for each in built.values()}) > 1:
        widths = " and ".join(f"{net} {width}" for net, (width, _) in built.items())
        raise ArgumentError(f"the students {name} differ in ngf ({widths}), and hosts build both alike: name an ngf")


def _joined(trained: Trained, records: Mapping[str, StudentRecord]) -> StudentRecord:
    """Return the record of a student of several generators, as of a training in the host."""
    first = next(iter(records.values()))
    of_nets: dict[str, dict[str, Any]] = {net: record.selection for net, record in records.items()}
    return replace(
        first,
        model=trained.model,
        direction=trained.direction,
        dataset_mode=trained.dataset_mode or None,
        students={net: record.students["G"] for net, record in records.items()},
        teachers={net: record.teachers["G"] for net, record in records.items()},
        selection=of_nets if len(of_nets) > 1 else first.selection,
    )
