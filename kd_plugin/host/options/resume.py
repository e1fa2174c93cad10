"""Options of a continued run: required files, epoch and recorded distillation."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from ...errors import CheckpointError, KDError, OptionError
from ...files import sha256
from ...flags import Flag, check_value, is_ours
from ...imports import is_function
from ...losses import NO_TERMS, split_names
from ...processes import say
from ...students import RECORD_NAME, StudentRecord
from ...training.saving import clear_save_errors, finish_save, is_cut_short
from ...training.state import RunState, state_file
from .command_line import CommandLine
from .distill import early_folder, experiment_folder, flags, loaded_epoch
from .record import refuse_among_checkpoints

NEXT_EPOCH = "next_epoch"  # option for hosts that replace their --epoch_count, joliGEN by the last of its plots
_TIMEOUT = 600  # seconds that a process waits for rank 0 to complete a save

_TEACHERS = ("teacher", "teacher_epoch", "teacher_G_A", "teacher_G_B")


def resume_distillation(line: CommandLine, record: StudentRecord) -> None:
    """Make the recorded terms, weights, settings and teachers the defaults of the plugin's options.

    Options on the command line take precedence, with a note if they differ; ``--distill none`` ignores the record.

    Raises:
        OptionError: a recorded teacher is missing, or its file has changed.
        CheckpointError: the record holds an invalid value of an option.
    """
    opt = line.opt
    file = experiment_folder(opt) / RECORD_NAME
    given = line.given
    if not record.distillation.get("distill"):
        return
    distill = str(given.get("distill", record.distillation["distill"]))
    if distill == NO_TERMS:
        say(f"continuing without a teacher, as given by {f'--distill {NO_TERMS}' if 'distill' in given else file}")
        line.set_defaults(distill=NO_TERMS, student_ema=bool(record.distillation.get("student_ema")))
        return
    terms = {name.partition(":")[0] for name in split_names(distill)}
    found = _recorded(record, file)
    recorded_teachers = _teachers(record, file)
    teachers = {} if {"teacher", "teacher_epoch"} & given.keys() else recorded_teachers
    recorded = {
        flag.name: found[flag.name]
        for flag in flags()
        if flag.name in found and is_ours(flag, opt) and (flag.term is None or flag.term in terms)
    }
    if not terms.issuperset(_shared(recorded)):
        del recorded["distill_share"]  # --distill names other terms now
    for name, value in recorded.items():
        if name in given and given[name] != value:
            say(f"note: --{name} {given[name]} instead of {value or 'none'} in {file}")
        if name not in given and is_function(str(value)):
            refuse_among_checkpoints(str(value), opt.checkpoints_dir, file)
    _check_teachers(record, {name: path for name, path in teachers.items() if name not in given}, file)
    line.set_defaults(**recorded, **teachers)
    named = {name: given[name] for name in _TEACHERS if name in given}
    replaced = ", ".join(
        path for name, path in recorded_teachers.items() if named and (name in named or not teachers)
    )
    if replaced:
        now = " ".join(f"--{name} {value}" for name, value in named.items())
        say(f"note: {now} instead of the teacher {replaced} in {file}")
    if "distill" not in given:
        kept = ", ".join(path for name, path in teachers.items() if name not in named)
        say(f"resuming with --distill {distill}{f' and the teacher {kept}' if kept else ''}, from {file}")


def _shared(recorded: dict[str, Any]) -> list[str]:
    """Return the names of the terms with a recorded share."""
    return [entry.partition("=")[0].strip() for entry in recorded.get("distill_share", "").split(",") if entry]


def _recorded(record: StudentRecord, file: Path) -> dict[str, Any]:
    """Return the recorded options of the distillation by name, validated."""
    content = record.distillation
    weights, settings = content.get("terms", {}), content.get("options", {})
    if not isinstance(weights, dict) or not isinstance(settings, dict):
        raise CheckpointError(f"{file}: not a student record (terms and options of the distillation are not objects)")
    known = {flag.name: flag for flag in flags()}
    found = {name: value for name, value in content.items() if name in known and name not in _TEACHERS}
    found |= {f"lambda_{name}": weight for name, weight in weights.items()} | settings
    found = {name: value for name, value in found.items() if value is not None}
    for name, value in found.items():
        if name not in known or not _fits(known[name], value):
            raise CheckpointError(f"{file}: the distillation's {name} is {value!r}, which is not valid for --{name}")
    return found


def _fits(flag: Flag, value: Any) -> bool:
    kinds = (int, float) if flag.type is float else (flag.type,)
    if type(value) not in kinds:
        return False
    try:
        check_value(flag, value)
    except KDError:
        return False
    return not flag.choices or value in flag.choices


def _teachers(record: StudentRecord, file: Path) -> dict[str, str]:
    """Return the options that name the recorded teachers."""
    paths = {net: described.get("file") for net, described in record.teachers.items()}
    for net, path in paths.items():
        if not isinstance(path, str) or not path:
            raise CheckpointError(f"{file}: the file of the teacher of {net} is {path!r}")
    if paths.keys() <= {"G_A", "G_B"}:
        return {f"teacher_{net}": str(path) for net, path in paths.items()}
    first = Path(str(next(iter(paths.values()))))
    if len(paths) == 1:
        return {"teacher": str(first)}
    return {"teacher": str(first.parent), "teacher_epoch": first.name.partition("_net_")[0]}


def _check_teachers(record: StudentRecord, used: dict[str, str], file: Path) -> None:
    """Raise an :class:`OptionError` if the file of a recorded teacher in use is missing or has changed."""
    for net, described in record.teachers.items():
        path = Path(described["file"]).expanduser()
        if f"teacher_{net}" not in used and "teacher" not in used:
            continue
        remedy = f"give one with --teacher, or continue without a teacher with --distill {NO_TERMS}"
        if not path.is_file():
            raise OptionError(f"the teacher {path} of {file} is missing: {remedy}")
        if described.get("sha256") not in (None, sha256(path)):
            raise OptionError(f"the teacher {path} has changed since {file} was written: {remedy}")


def check_not_distilled(opt: Namespace) -> None:
    """Raise an :class:`OptionError` if a run that has no record was distilled, according to its state."""
    file = state_file(experiment_folder(opt))
    if file.is_file():
        raise OptionError(
            f"{file} belongs to a distilled run, but there is no {RECORD_NAME} next to it: give --distill and "
            f"--teacher again, or continue without a teacher with --distill {NO_TERMS}"
        )


def finish_last_save(opt: Namespace) -> None:
    """Complete an interrupted save before anything of the run is read; other processes wait for rank 0.

    Raises:
        HostError: a file cannot be moved.
    """
    folder = early_folder(opt)
    if folder is None:
        return
    if os.environ.get("RANK", "0") == "0":  # the process group does not exist yet
        with clear_save_errors(folder, "latest"):
            if finish_save(folder, folder, RECORD_NAME):
                say("completed the last save, which was interrupted while its files were moved into place")
        return
    begun = time.monotonic()
    while is_cut_short(folder) and time.monotonic() - begun < _TIMEOUT:
        time.sleep(0.1)


def check_saved(opt: Namespace) -> None:
    """Raise an :class:`OptionError` if the run has saved no networks to continue from."""
    folder, epoch = experiment_folder(opt), loaded_epoch(opt)
    if not any(folder.glob(f"{epoch}_net_*.pth")):
        raise OptionError(
            f"--continue_train: {folder} has no {epoch}_net_*.pth to continue from: remove the option to start a new "
            f"training, or check --name, --checkpoints_dir and --epoch"
        )


def continue_epochs(line: CommandLine) -> None:
    """Make the next epoch of a continued run the default of the host's ``--epoch_count``.

    Raises:
        CheckpointError: the state of the run cannot be read.
    """
    opt = line.opt
    state = RunState.read(experiment_folder(opt)) if loaded_epoch(opt) == "latest" else None
    if state is None or not hasattr(opt, "epoch_count"):
        return
    line.set_defaults(epoch_count=state.next_epoch)
    if "epoch_count" in line.names and "epoch_count" not in line.given:
        line.set_defaults(**{NEXT_EPOCH: state.next_epoch})
