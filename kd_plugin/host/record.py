"""Give a run that goes on with a student, to test it or to train it further, the options it was built with."""

from __future__ import annotations

import importlib.util
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..errors import OptionError
from ..students import RECORD_NAME, StudentRecord
from .building import StudentBuild
from .contract import say
from .options import experiment_folder, loaded_epoch
from .student_options import StudentOptions

__all__ = ["build_of", "check_build", "current_record", "recorded_build", "use_record"]


def use_record(parser: ArgumentParser) -> bool:
    """Make the options of a recorded student the parser's defaults, so that they need not be given.

    Returns:
        Whether there is a record.

    Raises:
        OptionError: an option on the command line contradicts the record.
        CheckpointError: the record, or the checkpoint it describes, cannot be read.
    """
    opt = parser.parse_known_args()[0]
    folder = experiment_folder(opt)
    record = current_record(opt, folder)
    if record is None:
        return False
    recorded = {"direction": record.direction, **record.options_for(opt)}
    parser.set_defaults(**{name: value for name, value in recorded.items() if hasattr(opt, name)})
    filled = parser.parse_known_args()[0]
    if not getattr(opt, "continue_train", False):  # there, --student_ngf may still override --ngf; checked later
        record.check(filled, folder)
    if experiment_folder(filled) != folder:
        # The name was made of options that are now filled in: keep it as it was found.
        action = next(a for a in parser._actions if a.dest == "suffix")
        action.type = lambda text: text.format(**vars(opt))
    return True


def current_record(opt: Namespace, folder: Path, quiet: bool = False) -> StudentRecord | None:
    """Return the record of the checkpoint in a folder that a run loads; None, with a note, if it is of another."""
    record = StudentRecord.read(folder)
    if record is None:
        return None
    if record.is_of(folder, loaded_epoch(opt)):
        return record
    if not quiet:
        say(f"note: {folder / RECORD_NAME} is of another training than the checkpoint; not used")
    return None


def recorded_build(opt: Namespace) -> StudentBuild | None:
    """Return what the generators of the checkpoints that a run loads were built as; None if no record tells.

    Raises:
        OptionError: the record names a function that the run should not call.
    """
    if opt.isTrain and not getattr(opt, "continue_train", False):
        return None
    record = current_record(opt, Path(opt.checkpoints_dir) / opt.name, quiet=True)
    return build_of(record, opt) if record else None


def build_of(record: StudentRecord, opt: Namespace) -> StudentBuild:
    """Return what the generators of a record were built as.

    Raises:
        OptionError: the record names a function that stands among the checkpoints. Those may be anybody's, and a
            test should run none of their code.
    """
    build = StudentBuild.from_dict(record.build)
    if build.factory:
        module = build.factory.partition(":")[0]
        top, *rest = module.split(".")
        found = importlib.util.find_spec(top)  # of the first part alone, which imports nothing
        places = [*(found.submodule_search_locations or ()), found.origin or ""] if found else []
        folder = Path(opt.checkpoints_dir, opt.name).resolve()
        if any(folder in Path(place, *rest).resolve().parents for place in places):
            raise OptionError(
                f"{folder / RECORD_NAME} has the student built by {build.factory}, a function in the same folder: if "
                f"you trust it, copy it beside train.py and name that one in the file"
            )
        say(f"the student is built by {build.factory}")
    return build


def check_build(given: StudentOptions, recorded: StudentBuild, folder: Path) -> None:
    """Check that the options of a continued run, which may repeat what was recorded, do not contradict it.

    Raises:
        OptionError: naming the option, both values and the file.
    """
    named = {
        "student_widths": (given.student_widths, given.build.widths, recorded.widths),
        "student_conv": (given.student_conv, given.student_conv, recorded.conv),
        "student_factory": (given.student_factory, given.student_factory, recorded.factory),
    }
    for option, (text, value, known) in named.items():
        if text and value != known:
            found = ",".join(map(str, known)) if isinstance(known, tuple) else known
            raise OptionError(
                f"--{option} {text} contradicts {folder / RECORD_NAME}: the student there was built with "
                f"{found or 'none'}; leave the option out"
            )
