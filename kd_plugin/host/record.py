"""Give a test run the options of the student that was trained."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from ..students import RECORD_NAME, StudentRecord
from .contract import say

__all__ = ["use_record"]


def use_record(parser: ArgumentParser) -> None:
    """Make the options of a recorded student the parser's defaults, so that they need not be given.

    Raises:
        OptionError: an option on the command line contradicts the record.
        CheckpointError: the record, or the checkpoint it describes, cannot be read.
    """
    opt = parser.parse_known_args()[0]
    suffix = getattr(opt, "suffix", "")  # the host appends it to the name after parsing
    folder = Path(opt.checkpoints_dir) / (opt.name + (f"_{suffix.format(**vars(opt))}" if suffix else ""))
    record = StudentRecord.read(folder)
    if record is None:
        return
    epoch = f"iter_{opt.load_iter}" if getattr(opt, "load_iter", 0) > 0 else getattr(opt, "epoch", "latest")
    if not record.is_of(folder, epoch):
        say(f"note: {folder / RECORD_NAME} is of another training than the checkpoint; not used")
        return
    parser.set_defaults(**{name: value for name, value in record.host_options.items() if hasattr(opt, name)})
    record.check(parser.parse_known_args()[0], folder)
