"""The student that the command line does not name: like its teacher, three eighths as wide."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from torch import nn

from ...errors import OptionError
from ...metrics.cost import count_parameters
from ...networks.generator import GeneratorSpec
from ...processes import say
from ...students import is_registered
from .command_line import CommandLine, complete_options
from .distill import DistillConfig
from .student import StudentOptions

__all__ = ["check_smaller", "complete_student", "keep_from_teacher"]

_MARK = "default_student"  # true among the options of a run whose student nobody has named


def keep_from_teacher(line: CommandLine, teacher: GeneratorSpec) -> None:
    """Make what the teacher is the default of the host's own options: architecture, norm and dropout.

    What is named on the command line stays as it is.
    """
    opt = line.opt
    kept: dict[str, Any] = {"netG": teacher.netG, "norm": teacher.norm, "normG": teacher.norm}
    if teacher.dropout is not None:
        kept["no_dropout"] = not teacher.dropout
    line.set_defaults(**{name: value for name, value in kept.items() if hasattr(opt, name)})


def complete_student(line: CommandLine, teacher: GeneratorSpec | None, continued: bool, recorded: bool) -> None:
    """Have the student's options given to the host under its own names when all options are known.

    Args:
        line: the options so far, those of the model among them.
        teacher: what the first teacher is, if its file tells.
        continued: whether the run goes on with a student, which then stays as it is.
        recorded: whether that student has a record.
    """
    width = line.parser.get_default("ngf")

    def complete(opt: Namespace) -> None:
        config = DistillConfig.from_namespace(opt)  # now, as a subclass may have set defaults since
        if config is None:
            return
        if getattr(opt, "suffix", ""):  # the folder of the run keeps the name it is found by in a test
            opt.suffix = opt.suffix.format(**vars(opt))
        config.student.apply(opt, teacher, recorded)
        named = "ngf" in line.given or line.parser.get_default("ngf") != width  # a subclass has named it since
        if not continued and not named:
            _choose_width(opt, config.student, teacher)

    complete_options(line.parser, complete)


def _choose_width(opt: Namespace, student: StudentOptions, teacher: GeneratorSpec | None) -> None:
    """Make a student that is not named three eighths as wide as its teacher: the 24 of 64 of the wavelet paper."""
    named = (student.student_ngf, student.student_widths, student.student_factory, student.student_budget)
    if any(named) or is_registered(getattr(opt, "netG", "")):
        return
    setattr(opt, _MARK, not student.student_netG)
    if teacher is not None:  # else it is as wide as the host says
        opt.ngf = _default_width(teacher)
        say(
            f"the student has ngf {opt.ngf}, three eighths of the teacher's {teacher.ngf}: --student_ngf or "
            f"--student_budget choose another"
        )


def check_smaller(opt: Namespace, net: str, student: nn.Module, teacher: nn.Module) -> bool:
    """Return whether a student has fewer parameters than its teacher; say so if it has not.

    Raises:
        OptionError: it has not, and nobody has named its size.
    """
    own, large = count_parameters(student), count_parameters(teacher)
    if own < large:
        return True
    if getattr(opt, _MARK, False):
        raise OptionError(
            f"the student {net} has {own / 1e6:.3f} M parameters, and its teacher {large / 1e6:.3f} M: name a "
            f"smaller one with --student_ngf, or this one with --ngf {opt.ngf}"
        )
    spec = getattr(teacher, "spec", None)
    example = f", e.g. {_default_width(spec)}" if isinstance(spec, GeneratorSpec) else ""
    say(f"note: the student {net} is not smaller than its teacher: give --student_ngf{example}")
    return False


def _default_width(teacher: GeneratorSpec) -> int:
    return max(1, teacher.ngf * 3 // 8)
