"""Restore the options that a student was built with when it is tested or its training is continued."""

from __future__ import annotations

import importlib.util
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, OptionError
from ...processes import say
from ...students import RECORD_NAME, StudentRecord, StudentRequest
from ..repository.family import generator_options, is_training, network_options
from ..repository.usual_options import host_options, usual_options
from .command_line import CommandLine
from .distill import early_folder, experiment_folder, loaded_epoch
from .student import StudentOptions


def recorded_model(cls: type, line: CommandLine, is_train: bool) -> Any:
    """Return the class of the model that a student was trained with; None to keep ``cls``, which the host selected.

    Call this before the model's options are added. The recorded model becomes the default of ``--model``.

    Raises:
        OptionError: ``--model`` is not the model that the student was trained with, or the host does not have that
            model.
    """
    opt = line.opt
    if is_train and not getattr(opt, "continue_train", False):
        return None
    folder = early_folder(opt)
    record = current_record(opt, folder, quiet=True) if folder else None
    if folder is None or record is None:
        return None
    names = [record.model, record.model.removeprefix("distill_")]  # the patch may have been removed
    if opt.model in names:
        return None
    given = line.given
    named = "model" in given
    suffixed = any(argument.partition("=")[0] == "--model_suffix" for argument in sys.argv)  # of --model test only
    if opt.model == "test" and (named or suffixed or given.get("dataset_mode") == "single"):
        return None  # tests one generator of any model on a folder of images
    if named and record.model == "test":
        return None  # of kd compress: a generator for any model that has one
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
            f"does not have: add models/{record.model}_model.py, or select an existing model with --model"
        )
    say(f"--model {name}, from {folder / RECORD_NAME}")
    line.set_defaults(model=name)
    return found


def _contradiction(option: str, value: object, folder: Path, known: object, how: str = "trained") -> OptionError:
    return OptionError(
        f"--{option} {value} contradicts {folder / RECORD_NAME}: the student was {how} with {known}; remove the "
        f"option"
    )


def _find_model(cls: type) -> Callable[[str], type]:
    """Return the host's ``find_model_using_name``, given the class of one of its models."""
    packages = (sys.modules.get(base.__module__.rpartition(".")[0]) for base in cls.__mro__)
    return next(find for package in packages if (find := getattr(package, "find_model_using_name", None)))  # type: ignore[no-any-return]


def _related(one: type, other: type) -> bool:
    """Return whether two models share a base class other than those common to all models of a host."""
    first, second = ({(base.__module__, base.__qualname__) for base in cls.__mro__} for cls in (one, other))
    return any("models." in module and not module.endswith(".base_model") for module, _ in first & second)


def use_record(line: CommandLine) -> StudentRecord | None:
    """Make the options of a recorded student the defaults; return its record, None if there is none.

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
    if opt.model != "test":  # reads a folder of images, whatever the direction
        recorded["direction"] = record.direction
    if "model" not in given or opt.model == record.model:  # another model may use another data set
        recorded["dataset_mode"] = record.dataset_mode if opt.model != "test" else None
    recorded = {name: value for name, value in recorded.items() if hasattr(opt, name) and value is not None}
    lists = [name for name in recorded if isinstance(getattr(opt, name), list)]
    recorded |= {name: str(recorded[name]).split(",") for name in lists}
    _check_choices(line, recorded, folder)
    if recorded.get("direction", getattr(opt, "direction", None)) != getattr(opt, "direction", None):
        say(f"--direction {record.direction}, from {folder / RECORD_NAME}")
    line.set_defaults(**recorded)
    filled = line.opt
    if filled.model != "test" and given.get("direction", record.direction) != record.direction:
        raise _contradiction("direction", filled.direction, folder, record.direction)
    other_data = given.get("dataset_mode", record.dataset_mode) != record.dataset_mode
    if other_data and record.dataset_mode and opt.model != "test" and not {"model", "continue_train"} & given.keys():
        error = _contradiction("dataset_mode", filled.dataset_mode, folder, record.dataset_mode)
        raise OptionError(f"{error}, or give --model as well")
    if not getattr(opt, "continue_train", False):  # otherwise --student_ngf may override --ngf; checked later
        check_networks(record, filled, folder)
        _note_image_size(filled, record)
    if experiment_folder(filled) != folder:
        # The suffix refers to options that were restored from the record: keep the name of the folder.
        action = next(a for a in line.parser._actions if a.dest == "suffix")
        action.type = lambda text: text.format(**vars(host_options(opt)))
    return record


def _check_choices(line: CommandLine, recorded: dict[str, Any], folder: Path) -> None:
    """Raise a :class:`CheckpointError` if a recorded value is not a choice of the host.

    ``netG`` is not checked, as the plugin extends its choices.
    """
    for action in line.parser._actions:
        name, choices = action.dest, action.choices
        if not choices or name == "netG" or name not in recorded:
            continue
        values = recorded[name] if isinstance(recorded[name], list) else [recorded[name]]
        if wrong := [value for value in values if value not in choices]:
            listed = ", ".join(map(str, choices))
            raise CheckpointError(f"{folder / RECORD_NAME}: --{name} {wrong[0]} is not one of {listed}")


def _note_image_size(opt: Namespace, record: StudentRecord) -> None:
    """Print a note if a test resizes or crops images differently from the training."""
    trained = record.pictures
    usual = {"load_size": ("load_size", "crop_size")}  # a test loads at the training's crop size by default
    for name, value in trained.items():
        here = getattr(opt, name, value)
        if here not in [trained.get(other) for other in usual.get(name, (name,))]:
            say(f"note: --{name} {here}, but the student was trained with {value}")


def current_record(opt: Namespace, folder: Path, quiet: bool = False) -> StudentRecord | None:
    """Return the record of the checkpoint that a run loads; None, with a note, if it belongs to another one."""
    record = StudentRecord.read(folder, network_options())
    if record is None:
        return None
    if record.is_of(folder, loaded_epoch(opt)):
        return record
    if not quiet:
        say(f"note: {folder / RECORD_NAME} belongs to another training than the checkpoint; ignored")
    return None


def recorded_student(opt: Namespace) -> StudentRequest | None:
    """Return how the generators that a run loads were built; None without a record.

    Raises:
        OptionError: the record names a function below the checkpoint folder.
    """
    opt = usual_options(opt)
    if is_training(opt) and not getattr(opt, "continue_train", False):
        return None
    record = current_record(opt, Path(opt.checkpoints_dir) / opt.name, quiet=True)
    return student_of(record, opt) if record else None


def student_of(record: StudentRecord, opt: Namespace) -> StudentRequest:
    """Return how the generators of a record were built; raises as :func:`recorded_student`."""
    student = record.request
    if student.factory:
        refuse_among_checkpoints(
            student.factory, opt.checkpoints_dir, Path(opt.checkpoints_dir, opt.name, RECORD_NAME)
        )
        say(f"the student is built by {student.factory}")
    return student


def refuse_among_checkpoints(function: str, checkpoints: str | os.PathLike[str], file: Path) -> None:
    """Raise an :class:`OptionError` if a function named in a record is defined below ``--checkpoints_dir``.

    Code from checkpoints is untrusted and must not be executed.
    """
    top, *rest = function.partition(":")[0].split(".")
    try:
        found = importlib.util.find_spec(top)  # only the first part, which imports nothing
    except ValueError:  # __main__
        found = None
    if found is None:
        raise OptionError(
            f"{file} names the function {function}, but there is no module {top}: put it next to train.py"
        )
    # Paths with and without links resolved: an experiment may be a link to another disk.
    folders = {Path(os.path.abspath(checkpoints)), Path(checkpoints).resolve(), file.parent.resolve()}
    for place in (*(found.submodule_search_locations or ()), found.origin or ""):
        for module in (Path(os.path.abspath(place), *rest), Path(place, *rest).resolve()):
            if folders & {module, *module.parents}:
                raise OptionError(
                    f"{file} names the function {function}, which is in the checkpoint folder {checkpoints}: if you "
                    f"trust it, copy it next to train.py and name the copy in the file"
                )


def values_of(opt: Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return those options that the host has, by its names; a list of names as text with commas, no empty list."""
    opt = host_options(opt)
    return {name: _without_list(getattr(opt, name)) for name in names if getattr(opt, name, []) != []}


def _without_list(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def check_networks(record: StudentRecord, opt: Namespace, folder: Path) -> None:
    """Raise an :class:`OptionError` if an option of the host differs from the recorded networks."""
    expected = record.options_for(opt)
    names = network_options() if getattr(opt, "continue_train", False) else generator_options()
    opt = host_options(opt)
    for name in names:
        if hasattr(opt, name) and name in expected and _without_list(getattr(opt, name)) != expected[name]:
            option = f"student_{name}" if getattr(opt, f"student_{name}", None) is not None else name
            raise _contradiction(option, getattr(opt, name), folder, expected[name], "built")


def check_student(given: StudentOptions, recorded: StudentRequest, folder: Path) -> None:
    """Raise an :class:`OptionError` if a student option of a continued run differs from the record."""
    named = {
        "student_widths": (given.student_widths, given.request.widths, recorded.widths),
        "student_conv": (given.student_conv, given.student_conv, recorded.conv),
        "student_factory": (given.student_factory, given.student_factory, recorded.factory),
    }
    for option, (text, value, known) in named.items():
        if text and value != known:
            found = ",".join(map(str, known)) if isinstance(known, tuple) else known
            raise _contradiction(option, text, folder, found or "none", "built")
