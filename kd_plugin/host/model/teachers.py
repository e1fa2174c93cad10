"""Find the teacher's checkpoint of each pair, and refuse one that translates the other way."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from ...errors import CheckpointError, OptionError, UnknownNetworkError
from ...networks.checkpoint import inspect_checkpoint
from ...networks.discriminator import load_discriminator
from ...networks.generator import GeneratorSpec
from ...students import describe
from ..options.distill import DistillConfig
from ..repository.family import Pair, known_pairs

__all__ = ["check_channels", "check_not_overwritten", "check_teacher_paths", "find_teachers", "peek_teacher"]

_NAME = re.compile(r"_net_(G\w*)\.pth$")
_DIRECTION = re.compile(r"^\s*direction:\s*(AtoB|BtoA)\b", re.MULTILINE)


def check_not_overwritten(config: DistillConfig, folder: Path) -> None:
    """Check that the run does not write its checkpoints over its teacher.

    Raises:
        OptionError: a teacher is in the experiment's own folder.
    """
    for option, path in _given(config).items():
        if folder.resolve() in (path.resolve(), path.resolve().parent):
            raise OptionError(
                f"--{option} {path} is where this run would save its student, over the teacher: "
                f"give the student another --name than {folder.name}"
            )


def check_teacher_paths(config: DistillConfig, beside: Path) -> None:
    """Check that the teachers named are there, before it is known which generators they are for.

    Args:
        config: the options.
        beside: the host's ``--checkpoints_dir``, where a mistyped teacher may be.

    Raises:
        OptionError: no such file or folder, or no generator of the epoch in it; the message names the nearest.
    """
    for option, path in _given(config).items():
        if option != "teacher" and path.is_dir():
            raise OptionError(f"--{option} {path} is a folder: give one file of it, such as {path}/latest_net_G.pth")
        _check_exists(option, path, beside)
        if path.is_dir() and not _files_in(path, config.teacher_epoch):
            raise _none_in(path, f"{config.teacher_epoch}_net_G*.pth")


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
        CheckpointError: a file cannot be read.
        OptionError: a file holds a discriminator.
    """
    specs: list[GeneratorSpec | None] = []
    for option, path in _given(config).items():
        file = next(iter(_files_in(path, config.teacher_epoch)), None) if path.is_dir() else path
        if file is None or not file.is_file():
            continue
        try:
            specs.append(inspect_checkpoint(file))
        except UnknownNetworkError:  # perhaps the host knows how to build it
            if _is_discriminator(file):
                generator = file.with_name(file.name.replace("_net_D", "_net_G"))
                there = generator != file and generator.is_file()
                raise OptionError(
                    f"--{option} {file} is a discriminator, and a teacher is a generator: "
                    f"give {generator if there else 'a file such as latest_net_G.pth'}"
                ) from None
            specs.append(None)
    return specs[0] if specs else None


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


def _given(config: DistillConfig) -> dict[str, Path]:
    """The teachers named, by their options; those of one generator first."""
    named = {"teacher_G_A": config.teacher_G_A, "teacher_G_B": config.teacher_G_B, "teacher": config.teacher}
    return {option: _path(text) for option, text in named.items() if text}


def _files_in(folder: Path, epoch: str) -> list[Path]:
    nets = {"G*", *(pair.net for pairs in known_pairs() for pair in pairs)}
    return sorted({file for net in nets for file in folder.glob(f"{epoch}_net_{net}.pth")})


def _is_discriminator(file: Path) -> bool:
    if "_net_D" in file.name:
        return True
    try:
        load_discriminator(file)
    except CheckpointError:
        return False
    return True


def _check_exists(option: str, path: Path, beside: Path) -> None:
    if path.exists():
        return
    nearest = next(
        (place for place in (beside / path, *_similar(path.parent, path), *_similar(beside, path)) if place.exists()),
        None,
    )
    hint = f", did you mean {nearest}?" if nearest else ""
    kind = "file or folder" if option == "teacher" else "file"
    raise OptionError(f"--{option} {path}: no such {kind}{hint}")


def _similar(folder: Path, path: Path) -> list[Path]:
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return [folder / name for name in difflib.get_close_matches(path.name, names, n=1)]


def _none_in(folder: Path, wanted: str) -> OptionError:
    there = sorted(file.name for file in folder.glob("*.pth"))
    listed = ", ".join(there[:6]) + (", ..." if len(there) > 6 else "")
    return OptionError(
        f"--teacher {folder}: there is no {wanted}; it holds {listed or 'no .pth file'} "
        f"(--teacher_epoch names another epoch; a .pth file can be given itself)"
    )


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
    _check_exists("teacher", teacher, beside)
    found = {pair: teacher / f"{epoch}_net_{pair.net}.pth" for pair in pairs}
    found = {pair: file for pair, file in found.items() if file.is_file()}
    if not found:
        raise _none_in(teacher, " or ".join(f"{epoch}_net_{pair.net}.pth" for pair in pairs))
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
