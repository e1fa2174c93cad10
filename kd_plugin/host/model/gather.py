"""Add, restore and check the plugin's options when a host gathers the options of a model."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import KDError, OptionError
from ...processes import use_wording
from ..options.command_line import CommandLine, check_commas, end, explain_errors, misspelt, reads_command_line
from ..options.default_student import complete_student, keep_from_teacher
from ..options.distill import DistillConfig, add_options, are_in, experiment_folder
from ..options.excepthook import report_in_one_line
from ..options.forgotten_model import check_model
from ..options.record import recorded_model, use_record
from ..options.resume import check_not_distilled, check_saved, continue_epochs, finish_last_save, resume_distillation
from ..options.separate import append_to_command_line, as_assignment, options_in
from ..repository.usual_options import names_in, reworded
from .compress_later import add_compression
from .how_to_test import defaults_of
from .report_of_test import add_report_option
from .teachers import check_not_overwritten, check_teacher_paths, peek_teacher


def gather_options(
    cls: Any, parser: ArgumentParser, is_train: bool, host: Callable[[ArgumentParser, bool], ArgumentParser]
) -> ArgumentParser:
    """Add the plugin's options to a host's parser or, in a test, restore the student's from its record.

    Errors end the program with a one-line message. The parser has the host's basic options; ``host`` adds those of
    the model.
    """
    report_in_one_line()
    names = names_in(parser)
    use_wording(lambda text: reworded(text, names))
    if not reads_command_line(parser):  # the host's options come from a file: completed when it builds the model
        if typed := options_in(sys.argv[1:]):
            end(parser, f"the options of this run come from a file: set {as_assignment(typed)} instead")
        return host(parser, is_train)
    try:
        append_to_command_line()
        line = CommandLine(parser)
        if is_train and getattr(line.opt, "continue_train", False):
            finish_last_save(line.opt)
        if other := recorded_model(cls, line, is_train):
            return other.modify_commandline_options(parser, is_train)  # type: ignore[no-any-return]
        explain_errors(parser, is_train)
        parser = host(parser, is_train)
        cls._host_defaults = defaults_of(parser)
        prepare_options(cls, CommandLine(parser), is_train)
    except KDError as error:
        end(parser, (misspelt(parser) if is_train else "") or error)
    return parser


def prepare_options(cls: Any, line: CommandLine, is_train: bool) -> None:
    """Add the plugin's options to a parser that has all of the host, or restore the student's from its record.

    Raises:
        KDError: an option is not valid, or contradicts another or the record.
    """
    continued = is_train and getattr(line.opt, "continue_train", False)
    record = use_record(line) if continued or not is_train else None
    named = are_in(line.arguments)
    if continued and record is None and not named:
        check_not_distilled(line.opt)
    if not is_train:
        add_report_option(line, record)
    if not is_train or (cls.distill_optional and record is None and not named):
        return
    if not named:
        explain_errors(line.parser, is_train, resuming=True)
    add_options(line.parser)
    check_commas(line)
    if continued:
        check_saved(line.opt)
        continue_epochs(line)
    if record is not None:
        resume_distillation(line, record)
    add_compression(cls, line)
    config = DistillConfig.from_namespace(line.opt)
    if config is not None:
        check_not_overwritten(config, experiment_folder(line.opt))
        check_teacher_paths(config, Path(line.opt.checkpoints_dir))
        nets = [net for net, _ in getattr(cls, "distill_pairs", ())]
        check_model(line.opt, nets, "model" in line.given)
        teacher = peek_teacher(config)
        if teacher and record is None:
            keep_from_teacher(line, teacher)
        complete_student(line, teacher, continued, record)
    elif not cls.distill_optional:
        raise OptionError("this model requires a teacher: add --distill wavelet,srp and --teacher checkpoints/NAME")
