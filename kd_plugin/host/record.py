"""Give a run that goes on with a student, to test it or to train it further, the options it was built with."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path

from ..errors import OptionError
from ..students import RECORD_NAME, StudentRecord
from .building import StudentBuild
from .contract import say
from .options import experiment_folder, loaded_epoch

__all__ = ["check_build", "current_record", "recorded_build", "use_record"]


def use_record(parser: ArgumentParser) -> None:
    """Make the options of a recorded student the parser's defaults, so that they need not be given.

    Raises:
        OptionError: an option on the command line contradicts the record.
        CheckpointError: the record, or the checkpoint it describes, cannot be read.
    """
    opt = parser.parse_known_args()[0]
    folder = experiment_folder(opt)
    record = current_record(opt, folder)
    if record is None:
        return
    recorded = {"direction": record.direction, **record.options_for(opt)}
    parser.set_defaults(**{name: value for name, value in recorded.items() if hasattr(opt, name)})
    filled = parser.parse_known_args()[0]
    if not getattr(opt, "continue_train", False):  # there, --student_ngf may still override --ngf; checked later
        record.check(filled, folder)
    if experiment_folder(filled) != folder:
        # The name was made of options that are now filled in: keep it as it was found.
        action = next(a for a in parser._actions if a.dest == "suffix")
        action.type = lambda text: text.format(**vars(opt))


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
    """Return what the generators of the checkpoints that a run loads were built as; None if no record tells."""
    if opt.isTrain and not getattr(opt, "continue_train", False):
        return None
    record = current_record(opt, Path(opt.checkpoints_dir) / opt.name, quiet=True)
    return StudentBuild.from_dict(record.build) if record else None


def check_build(given: StudentBuild, recorded: StudentBuild, folder: Path) -> StudentBuild:
    """Return what the generators of a continued run are built as: what is recorded, which options may repeat.

    Raises:
        OptionError: an option contradicts the record.
    """
    for option, value in asdict(given).items():
        known = getattr(recorded, option)
        if value != getattr(StudentBuild(), option) and value != known:
            wanted, found = (",".join(map(str, v)) if isinstance(v, tuple) else v for v in (value, known))
            raise OptionError(
                f"--student_{option} {wanted} contradicts {folder / RECORD_NAME}: the student there was built with "
                f"{found or 'none'}; leave the option out"
            )
    return recorded
