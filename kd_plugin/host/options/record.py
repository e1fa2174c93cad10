"""Give a run that goes on with a student, to test it or to train it further, the options it was built with."""

from __future__ import annotations

import importlib.util
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, OptionError
from ...processes import say
from ...students import RECORD_NAME, StudentRecord, StudentRequest
from ..repository.family import generator_options, network_options
from .command_line import CommandLine
from .distill import early_folder, experiment_folder, loaded_epoch
from .student import StudentOptions

__all__ = [
    "check_networks",
    "check_student",
    "current_record",
    "recorded_model",
    "recorded_student",
    "refuse_among_checkpoints",
    "student_of",
    "use_record",
    "values_of",
]


def recorded_model(cls: type, line: CommandLine, is_train: bool) -> Any:
    """Return the class of the model that a student was trained with, if the command line names no ``--model``.

    To be called before the model's own options are added. The recorded model becomes the default.

    Args:
        cls: class of the model that the host has chosen.
        line: the host's basic options.
        is_train: whether the run is a training; one that continues nothing has no record.

    Returns:
        The class as the host looks it up, or None if the host's choice is to be kept.

    Raises:
        OptionError: the command line names a model that the student was not trained with, or this host has not the
            one it was.
    """
    opt = line.opt
    if is_train and not getattr(opt, "continue_train", False):
        return None
    folder = early_folder(opt)
    record = current_record(opt, folder, quiet=True) if folder else None
    if folder is None or record is None:
        return None
    names = [record.model, record.model.removeprefix("distill_")]  # a patch may have been taken out since
    if opt.model in names:
        return None
    given = line.given
    named = "model" in given
    single = named or given.get("dataset_mode") == "single" or _has_suffix(sys.argv)
    if opt.model == "test" and single:  # one generator of any model, on the pictures of a folder
        return None
    find = _find_model(cls)
    name = next((n for n in names if importlib.util.find_spec(f"{find.__module__}.{n}_model")), "")
    found = find(name) if name else None
    if named:
        if found is not None and _related(cls, found):
            return None
        raise _contradiction("model", opt.model, folder, record.model)
    if found is None:
        raise OptionError(
            f"{folder / RECORD_NAME}: the student was trained with --model {record.model}, which this repository "
            f"does not have: add models/{record.model}_model.py, or name a model of this repository with --model"
        )
    say(f"--model {name}, as {folder / RECORD_NAME} says")
    line.set_defaults(model=name)
    return found


def _contradiction(option: str, value: object, folder: Path, known: object, how: str = "trained") -> OptionError:
    return OptionError(
        f"--{option} {value} contradicts {folder / RECORD_NAME}: the student there was {how} with {known}; leave the "
        f"option out"
    )


def _has_suffix(arguments: Sequence[str]) -> bool:
    """Return whether an option that ``--model test`` alone has is on the command line."""
    return any(argument.partition("=")[0] == "--model_suffix" for argument in arguments)


def _find_model(cls: type) -> Callable[[str], type]:
    """Return the function that a host looks its models up with, given one of them."""
    packages = (sys.modules.get(base.__module__.rpartition(".")[0]) for base in cls.__mro__)
    return next(find for package in packages if (find := getattr(package, "find_model_using_name", None)))  # type: ignore[no-any-return]


def _related(one: type, other: type) -> bool:
    """Return whether two models share a class besides what all models of a host have in common."""
    first, second = ({(base.__module__, base.__qualname__) for base in cls.__mro__} for cls in (one, other))
    return any("models." in module and not module.endswith(".base_model") for module, _ in first & second)


def use_record(line: CommandLine) -> StudentRecord | None:
    """Make the options of a recorded student the defaults, so that they need not be given.

    Returns:
        The record, or None if there is none.

    Raises:
        OptionError: an option on the command line contradicts the record.
        CheckpointError: the record, or the checkpoint it describes, cannot be read.
    """
    opt = line.opt
    folder = experiment_folder(opt)
    record = current_record(opt, folder)
    if record is None:
        return None
    recorded = record.options_for(opt)
    given = line.given
    if opt.model != "test":  # that takes the pictures of a folder, whichever way a student translates
        recorded["direction"] = record.direction
    if "model" not in given or opt.model == record.model:  # another model may have a data set of its own
        recorded["dataset_mode"] = record.dataset_mode if opt.model != "test" else None
    recorded = {name: value for name, value in recorded.items() if hasattr(opt, name) and value is not None}
    _check_choices(line, recorded, folder)
    if recorded.get("direction", getattr(opt, "direction", None)) != getattr(opt, "direction", None):
        say(f"--direction {record.direction}, as {folder / RECORD_NAME} says")
    line.set_defaults(**recorded)
    filled = line.opt
    if filled.model != "test" and given.get("direction", record.direction) != record.direction:
        raise _contradiction("direction", filled.direction, folder, record.direction)
    other_data = given.get("dataset_mode", record.dataset_mode) != record.dataset_mode
    if other_data and record.dataset_mode and opt.model != "test" and not {"model", "continue_train"} & given.keys():
        error = _contradiction("dataset_mode", filled.dataset_mode, folder, record.dataset_mode)
        raise OptionError(f"{error}, or name --model as well")
    if not getattr(opt, "continue_train", False):  # there, --student_ngf may still override --ngf; checked later
        check_networks(record, filled, folder)
        _note_pictures(filled, record)
    if experiment_folder(filled) != folder:
        # The name was made of options that are now filled in: keep it as it was found.
        action = next(a for a in line.parser._actions if a.dest == "suffix")
        action.type = lambda text: text.format(**vars(opt))
    return record


def _check_choices(line: CommandLine, recorded: dict[str, Any], folder: Path) -> None:
    """Check that recorded values are among those that a host allows, generators aside, of which we have more.

    Raises:
        CheckpointError: one is not.
    """
    for action in line.parser._actions:
        name, choices = action.dest, action.choices
        if choices and name != "netG" and name in recorded and recorded[name] not in choices:
            listed = ", ".join(map(str, choices))
            raise CheckpointError(f"{folder / RECORD_NAME}: --{name} {recorded[name]} is none of {listed}")


def _note_pictures(opt: Namespace, record: StudentRecord) -> None:
    """Say where a test resizes or crops pictures to something else than the training did."""
    trained = record.pictures
    usual = {"load_size": ("load_size", "crop_size")}  # what a test loads is by default what a training crops to
    for name, value in trained.items():
        here = getattr(opt, name, value)
        if here not in [trained.get(other) for other in usual.get(name, (name,))]:
            say(f"note: --{name} {here} here, the student was trained with {value}")


def current_record(opt: Namespace, folder: Path, quiet: bool = False) -> StudentRecord | None:
    """Return the record of the checkpoint in a folder that a run loads; None, with a note, if it is of another."""
    record = StudentRecord.read(folder, network_options())
    if record is None:
        return None
    if record.is_of(folder, loaded_epoch(opt)):
        return record
    if not quiet:
        say(f"note: {folder / RECORD_NAME} is of another training than the checkpoint; not used")
    return None


def recorded_student(opt: Namespace) -> StudentRequest | None:
    """Return what the generators of the checkpoints that a run loads were built as; None if no record tells.

    Raises:
        OptionError: the record names a function that the run should not call.
    """
    if opt.isTrain and not getattr(opt, "continue_train", False):
        return None
    record = current_record(opt, Path(opt.checkpoints_dir) / opt.name, quiet=True)
    return student_of(record, opt) if record else None


def student_of(record: StudentRecord, opt: Namespace) -> StudentRequest:
    """Return what the generators of a record were built as.

    Raises:
        OptionError: the record names a function that stands among the checkpoints.
    """
    student = record.request
    if student.factory:
        refuse_among_checkpoints(
            student.factory, opt.checkpoints_dir, Path(opt.checkpoints_dir, opt.name, RECORD_NAME)
        )
        say(f"the student is built by {student.factory}")
    return student


def refuse_among_checkpoints(function: str, checkpoints: str | os.PathLike[str], file: Path) -> None:
    """Check that a function that a record names does not stand below the folder of the checkpoints.

    Args:
        function: ``package.module:function``.
        checkpoints: the host's ``--checkpoints_dir``.
        file: the record.

    Raises:
        OptionError: it does. Checkpoints may be anybody's, and a run should execute none of their code.
    """
    top, *rest = function.partition(":")[0].split(".")
    try:
        found = importlib.util.find_spec(top)  # of the first part alone, which imports nothing
    except ValueError:  # __main__
        found = None
    if found is None:
        raise OptionError(
            f"{file} names the function {function}, and there is no module {top}: put it beside train.py"
        )
    # With links followed or not: experiments may be links into another disk.
    folders = {Path(os.path.abspath(checkpoints)), Path(checkpoints).resolve(), file.parent.resolve()}
    for place in (*(found.submodule_search_locations or ()), found.origin or ""):
        for module in (Path(os.path.abspath(place), *rest), Path(place, *rest).resolve()):
            if folders & {module, *module.parents}:
                raise OptionError(
                    f"{file} names the function {function}, which is among the checkpoints, in {checkpoints}: if you "
                    f"trust it, copy it beside train.py and name that one in the file"
                )


def values_of(opt: Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return those of the options that a host has, by name."""
    return {name: getattr(opt, name) for name in names if hasattr(opt, name)}


def check_networks(record: StudentRecord, opt: Namespace, folder: Path) -> None:
    """Check that the host's options do not contradict the networks that were recorded.

    Raises:
        OptionError: naming the option, both values and the file.
    """
    expected = record.options_for(opt)
    for name in network_options() if getattr(opt, "continue_train", False) else generator_options():
        if hasattr(opt, name) and name in expected and getattr(opt, name) != expected[name]:
            option = f"student_{name}" if getattr(opt, f"student_{name}", None) is not None else name
            raise _contradiction(option, getattr(opt, name), folder, expected[name], "built")


def check_student(given: StudentOptions, recorded: StudentRequest, folder: Path) -> None:
    """Check that the options of a continued run, which may repeat what was recorded, do not contradict it.

    Raises:
        OptionError: naming the option, both values and the file.
    """
    named = {
        "student_widths": (given.student_widths, given.request.widths, recorded.widths),
        "student_conv": (given.student_conv, given.student_conv, recorded.conv),
        "student_factory": (given.student_factory, given.student_factory, recorded.factory),
    }
    for option, (text, value, known) in named.items():
        if text and value != known:
            found = ",".join(map(str, known)) if isinstance(known, tuple) else known
            raise _contradiction(option, text, folder, found or "none", "built")
