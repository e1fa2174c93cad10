"""The default student: the teacher's architecture at three eighths of its width."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from torch import nn

from ...errors import OptionError
from ...metrics.cost import count_parameters
from ...networks.generator import GeneratorSpec
from ...processes import say
from ...students import StudentRecord, is_registered
from ..repository.usual_options import host_options
from .command_line import CommandLine, complete_options
from .distill import DistillConfig, experiment_folder
from .record import check_networks
from .student import StudentOptions, not_in_options

_MARK = "default_student"  # option that is true if the student is not specified


def keep_from_teacher(line: CommandLine, teacher: GeneratorSpec) -> None:
    """Make the teacher's architecture, norm and dropout the defaults of the host's options."""
    opt = line.opt
    kept: dict[str, Any] = {"netG": teacher.netG, "norm": teacher.norm, "normG": teacher.norm}
    if teacher.dropout is not None:
        kept["no_dropout"] = not teacher.dropout
    lists = [name for name in kept if isinstance(getattr(opt, name, None), list)]  # for several teachers
    line.set_defaults(**{n: value for n, value in kept.items() if hasattr(opt, n) and n not in lists})


def complete_student(
    line: CommandLine, teacher: GeneratorSpec | None, continued: bool, record: StudentRecord | None
) -> None:
    """Apply the student's options to those of the host once all options are parsed.

    Args:
        line: options gathered so far, including those of the model.
        teacher: spec of the first teacher, if known.
        continued: whether the run continues the training of a student.
        record: that student's record.
    """
    width = line.get_default("ngf")

    def complete(opt: Namespace) -> None:
        config = DistillConfig.from_namespace(opt)  # read again: a subclass may have set defaults
        if config is None:
            return
        if getattr(opt, "suffix", ""):  # a test must resolve the same name of the folder
            opt.suffix = opt.suffix.format(**vars(host_options(opt)))
        config.student.apply(opt, teacher, record is not None)
        if record is not None:
            check_networks(record, opt, experiment_folder(opt))
        _check_buildable(line, config.student, getattr(opt, "netG", ""))
        named = "ngf" in line.given or line.get_default("ngf") != width  # or set by a subclass
        if not continued and not named:
            _choose_width(opt, config.student, teacher)

    complete_options(line.parser, complete)


def _check_buildable(line: CommandLine, student: StudentOptions, netG: object) -> None:
    """Raise an :class:`OptionError` if a host with options of its own for generators has none for the student."""
    name = line.names.get("netG")
    if name is None:
        return
    choices = {action.dest: action.choices for action in line.parser._actions if action.choices}
    known = all(value in choices.get(each, [value]) for each, value in name.split(netG).items())
    if not known or not student.request.is_plain:
        raise not_in_options(student.request, netG)


def _choose_width(opt: Namespace, student: StudentOptions, teacher: GeneratorSpec | None) -> None:
    """Set an unspecified width to three eighths of the teacher's: 24 of 64 in the wavelet paper."""
    named = (student.student_ngf, student.student_widths, student.student_factory, student.student_budget)
    if any(named) or is_registered(getattr(opt, "netG", "")):
        return
    setattr(opt, _MARK, not student.student_netG)
    if teacher is not None:  # otherwise the host's --ngf applies
        opt.ngf = _default_width(teacher)
        say(
            f"the student has ngf {opt.ngf}, three eighths of the teacher's {teacher.ngf}: use --student_ngf or "
            f"--student_budget to change it"
        )


def check_smaller(opt: Namespace, net: str, student: nn.Module, teacher: nn.Module) -> bool:
    """Return whether the student has fewer parameters than the teacher; print a note if not.

    Raises:
        OptionError: it has not, and its size is not specified.
    """
    small, large = count_parameters(student), count_parameters(teacher)
    if small < large:
        return True
    if getattr(opt, _MARK, False):
        raise OptionError(
            f"the student {net} has {small / 1e6:.3f} M parameters, its teacher {large / 1e6:.3f} M: choose a "
            f"smaller width with --student_ngf, or confirm this one with --ngf {opt.ngf}"
        )
    spec = getattr(teacher, "spec", None)
    example = f", e.g. {_default_width(spec)}" if isinstance(spec, GeneratorSpec) else ""
    say(f"note: the student {net} is not smaller than its teacher: use --student_ngf{example}")
    return False


def _default_width(teacher: GeneratorSpec) -> int:
    return max(1, teacher.ngf * 3 // 8)
