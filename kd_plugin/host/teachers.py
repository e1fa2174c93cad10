"""Find the teacher's checkpoint of each pair, and refuse one that translates the other way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ..checkpoint import inspect_checkpoint
from ..errors import OptionError, UnknownNetworkError
from ..networks import GeneratorSpec
from ..students import describe
from .contract import Pair
from .options import DistillConfig

__all__ = ["check_channels", "check_not_overwritten", "find_teachers", "peek_teacher"]

_NAME = re.compile(r"_net_(G\w*)\.pth$")
_DIRECTION = re.compile(r"^\s*direction:\s*(AtoB|BtoA)\b", re.MULTILINE)


def check_not_overwritten(config: DistillConfig, folder: Path) -> None:
    """Check that the run does not write its checkpoints over its teacher.

    Raises:
        OptionError: a teacher is in the experiment's own folder.
    """
    given = {"teacher": config.teacher, "teacher_G_A": config.teacher_G_A, "teacher_G_B": config.teacher_G_B}
    for option, text in given.items():
        path = _path(text)
        if text and folder.resolve() in (path.resolve(), path.resolve().parent):
            raise OptionError(
                f"--{option} {text} is where this run would save its student, over the teacher: "
                f"give the student another --name than {folder.name}"
            )


def find_teachers(config: DistillConfig, pairs: Sequence[Pair], direction: str, beside: Path) -> dict[Pair, Path]:
    """Return the checkpoint file of each pair that has a teacher; a CycleGAN may have one for one pair only.

    Args:
        config: the options.
        pairs: the pairs of the model.
        direction: the host's ``--direction``, "AtoB" or "BtoA".
        beside: the host's ``--checkpoints_dir``, where a mistyped teacher may be.

    Raises:
        OptionError: no file is found, an option does not fit the model, or the teacher of a pair was trained
            to translate the other way.
    """
    single = {"G_A": config.teacher_G_A, "G_B": config.teacher_G_B}
    nets = [pair.net for pair in pairs]
    for net, given in single.items():
        if given and net not in nets:
            raise OptionError(
                f"--teacher_{net} {given}: no generator {net} is distilled here, but {' and '.join(nets)}"
            )
    found = {pair: _path(single[pair.net]) for pair in pairs if single.get(pair.net)}
    if found and not config.teacher and config.teacher_epoch != "latest":
        pair, file = next(iter(found.items()))
        named = file.with_name(f"{config.teacher_epoch}_net_{pair.net}.pth")
        raise OptionError(
            f"--teacher_epoch {config.teacher_epoch} has no effect on a file: give that epoch's, "
            f"--teacher_{pair.net} {named}"
        )
    if config.teacher:
        rest = [pair for pair in pairs if pair not in found]
        if not rest:
            raise OptionError(f"--teacher {config.teacher} has no effect, every generator has a teacher of its own")
        found |= _from_teacher(_path(config.teacher), config.teacher_epoch, rest, beside)
    for pair, file in found.items():
        if not file.is_file():
            raise OptionError(f"no teacher for {pair.net}: {file} is not a file")
        _check_direction(pair, file, direction)
    return {pair: found[pair] for pair in pairs if pair in found}


def peek_teacher(config: DistillConfig) -> GeneratorSpec | None:
    """Return what the first teacher named is, before the model is built; None if no file tells.

    Raises:
        CheckpointError: the file cannot be read.
    """
    named = config.teacher_G_A or config.teacher_G_B or config.teacher
    if not named:
        return None
    given = _path(named)
    files = sorted(given.glob(f"{config.teacher_epoch}_net_G*.pth")) if given.is_dir() else [given]
    try:
        return inspect_checkpoint(files[0]) if files and files[0].is_file() else None
    except UnknownNetworkError:  # perhaps the host knows how to build it
        return None


def check_channels(pair: Pair, file: Path, teacher: nn.Module, student: nn.Module) -> None:
    """Check that teacher and student take and give images of the same channels.

    Raises:
        OptionError: naming the channels of both.
    """
    own, other = ((d.get("input_nc"), d.get("output_nc")) for d in (describe(student), describe(teacher)))
    if None not in (*own, *other) and own != other:
        raise OptionError(
            f"the teacher {file} translates {other[0]} to {other[1]} channels, but {pair.net} "
            f"translates {own[0]} to {own[1]}: check --input_nc and --output_nc, or is it the teacher of the "
            f"other direction?"
        )


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _from_teacher(teacher: Path, epoch: str, pairs: Sequence[Pair], beside: Path) -> dict[Pair, Path]:
    if teacher.is_file():
        if epoch != "latest":
            raise OptionError(f"--teacher_epoch {epoch} has no effect on a file: give --teacher {teacher.parent}")
        if len(pairs) > 1:
            nets = " and ".join(f"--teacher_{pair.net}" for pair in pairs)
            raise OptionError(
                f"--teacher {teacher} is one file, but this model has {len(pairs)} generators: "
                f"give the folder it is in, or {nets} (one of them is enough)"
            )
        return {pairs[0]: teacher}
    if not teacher.is_dir():
        hint = f", did you mean {beside / teacher}?" if (beside / teacher).exists() else ""
        raise OptionError(f"--teacher {teacher}: no such file or folder{hint}")
    found = {pair: teacher / f"{epoch}_net_{pair.net}.pth" for pair in pairs}
    found = {pair: file for pair, file in found.items() if file.is_file()}
    if not found:
        wanted = " or ".join(f"{epoch}_net_{pair.net}.pth" for pair in pairs)
        there = sorted(file.name for file in teacher.glob("*.pth"))
        listed = ", ".join(there[:6]) + (", ..." if len(there) > 6 else "")
        raise OptionError(
            f"--teacher {teacher}: there is no {wanted}; it holds {listed or 'no .pth file'} "
            f"(--teacher_epoch names another epoch; a .pth file can be given itself)"
        )
    return found


def _check_direction(pair: Pair, file: Path, direction: str) -> None:
    """Compare what the teacher's file name and its ``train_opt.txt`` say with what the pair does."""
    named = _NAME.search(file.name)  # a file of another name is taken for what it is given as
    net = named[1] if named else pair.net
    options = file.parent / "train_opt.txt"
    recorded = _DIRECTION.search(options.read_text(errors="replace")) if options.is_file() else None
    trained = recorded[1] if recorded else direction
    teacher_way = _way(trained, swapped=Pair(net, "").swaps)
    student_way = _way(direction, swapped=pair.swaps)
    if teacher_way != student_way:
        source = f" (trained with --direction {trained})" if recorded else ""
        raise OptionError(
            f"the teacher {file}{source} translates {teacher_way}, but {pair.net} with --direction {direction} "
            f"translates {student_way}: give the teacher of the other direction, or change --direction"
        )


def _way(direction: str, swapped: bool) -> str:
    return "A to B" if (direction == "AtoB") != swapped else "B to A"
