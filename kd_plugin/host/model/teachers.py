"""Find the teacher's checkpoint of each pair and check its direction."""

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

_SINGLE = ("G_A", "G_B")  # that have an option of their own
_NAME = re.compile(r"_net_(G\w*?)(?:_ema)?\.pth$")  # some hosts save averages of the weights beside them
_DIRECTION = re.compile(r"^\s*(?:data_)?direction:\s*(AtoB|BtoA)\b", re.MULTILINE)


def check_not_overwritten(config: DistillConfig, folder: Path) -> None:
    """Raise an :class:`OptionError` if a teacher is in the folder of the run, which would overwrite it."""
    for option, path in _given(config).items():
        if folder.resolve() in (path.resolve(), path.resolve().parent):
            raise OptionError(
                f"--{option} {path} is in the folder of this run, which would overwrite the teacher: "
                f"give a --name other than {folder.name}"
            )


def check_teacher_paths(config: DistillConfig, checkpoints: Path) -> None:
    """Check that the specified teachers exist, before their generators are known.

    Raises:
        OptionError: a file or folder does not exist (the message suggests one in ``checkpoints``), or holds no
            generator of the epoch.
    """
    for option, path in _given(config).items():
        if option != "teacher" and path.is_dir():
            raise OptionError(f"--{option} {path} is a folder: give a file in it, such as {path}/latest_net_G.pth")
        _check_exists(option, path, checkpoints)
        if path.is_dir() and not _files_in(path, config.teacher_epoch):
            raise _none_in(path, f"{config.teacher_epoch}_net_G*.pth")


def find_teachers(
    config: DistillConfig, pairs: Sequence[Pair], direction: str, checkpoints: Path
) -> dict[Pair, Path]:
    """Return the teacher's checkpoint by pair; a CycleGAN may have a teacher for one pair only.

    The direction is that of the host, "AtoB" or "BtoA"; ``checkpoints`` is searched for suggestions.

    Raises:
        OptionError: no file is found, an option does not fit the model, or a teacher was trained in the opposite
            direction.
    """
    single = {"G_A": config.teacher_G_A, "G_B": config.teacher_G_B}
    nets = [pair.net for pair in pairs]
    for net, given in single.items():
        if given and net not in nets:
            raise OptionError(
                f"--teacher_{net} {given}: this model has no generator {net} to distil, only {' and '.join(nets)}"
            )
    found = {pair: _path(single[pair.net]) for pair in pairs if single.get(pair.net)}
    if found and not config.teacher and config.teacher_epoch != "latest":
        pair, file = next(iter(found.items()))
        named = file.with_name(f"{config.teacher_epoch}_net_{pair.net}.pth")
        raise OptionError(
            f"--teacher_epoch {config.teacher_epoch} has no effect on a file: give the file of that epoch, "
            f"--teacher_{pair.net} {named}"
        )
    if config.teacher:
        rest = [pair for pair in pairs if pair not in found]
        if not rest:
            raise OptionError(f"--teacher {config.teacher} has no effect: every generator has another teacher")
        found |= _from_teacher(_path(config.teacher), config.teacher_epoch, rest, checkpoints)
    for pair, file in found.items():
        if not file.is_file():
            raise OptionError(f"no teacher for {pair.net}: {file} is not a file")
        _check_direction(pair, file, direction)
    return {pair: found[pair] for pair in pairs if pair in found}


def peek_teacher(config: DistillConfig) -> GeneratorSpec | None:
    """Return the spec of the first specified teacher, before the model is built; None if unknown.

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
        except UnknownNetworkError:  # the host may be able to build it
            if _is_discriminator(file):
                generator = file.with_name(file.name.replace("_net_D", "_net_G"))
                there = generator != file and generator.is_file()
                raise OptionError(
                    f"--{option} {file} is a discriminator, but a teacher is a generator: "
                    f"give {generator if there else 'a file such as latest_net_G.pth'}"
                ) from None
            specs.append(None)
    return specs[0] if specs else None


def check_channels(pair: Pair, file: Path, teacher: nn.Module, student: nn.Module) -> None:
    """Raise an :class:`OptionError` if teacher and student differ in their input or output channels."""
    small, large = ((d.get("input_nc"), d.get("output_nc")) for d in (describe(student), describe(teacher)))
    if None not in (*small, *large) and small != large:
        raise OptionError(
            f"the teacher {file} translates {large[0]} to {large[1]} channels, but {pair.net} "
            f"translates {small[0]} to {small[1]}: check --input_nc, --output_nc and the teacher's direction"
        )


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _given(config: DistillConfig) -> dict[str, Path]:
    """Return the specified teachers by option, those of a single generator first."""
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


def _check_exists(option: str, path: Path, checkpoints: Path) -> None:
    if path.exists():
        return
    places = (checkpoints / path, *_similar(path.parent, path), *_similar(checkpoints, path))
    nearest = next((place for place in places if place.exists()), None)
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
        f"(give --teacher_epoch for another epoch, or a .pth file)"
    )


def _from_teacher(teacher: Path, epoch: str, pairs: Sequence[Pair], checkpoints: Path) -> dict[Pair, Path]:
    if teacher.is_file():
        if epoch != "latest":
            raise OptionError(f"--teacher_epoch {epoch} has no effect on a file: give --teacher {teacher.parent}")
        if len(pairs) > 1:
            single = [f"--teacher_{pair.net}" for pair in pairs if pair.net in _SINGLE]
            options = f", or {' and '.join(single)} (one of them is enough)" if single else ""
            raise OptionError(
                f"--teacher {teacher} is one file, but this model has {len(pairs)} generators: "
                f"give its folder{options}"
            )
        return {pairs[0]: teacher}
    _check_exists("teacher", teacher, checkpoints)
    found = {pair: teacher / f"{epoch}_net_{pair.net}.pth" for pair in pairs}
    found = {pair: file for pair, file in found.items() if file.is_file()}
    if not found:
        raise _none_in(teacher, " or ".join(f"{epoch}_net_{pair.net}.pth" for pair in pairs))
    return found


def _check_direction(pair: Pair, file: Path, direction: str) -> None:
    """Compare the direction given by the teacher's file name and ``train_opt.txt`` with that of the pair."""
    named = _NAME.search(file.name)  # a file of another name is taken as given
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
            f"translates {student_way}: give the teacher of that direction, or change --direction"
        )


def _way(direction: str, swapped: bool) -> str:
    return "A to B" if (direction == "AtoB") != swapped else "B to A"
