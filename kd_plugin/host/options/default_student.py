"""The size of a student that the command line does not name."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from torch import nn

from ...errors import OptionError
from ...metrics.cost import count_parameters
from ...networks.generator import GeneratorSpec
from ...processes import say
from ...students import is_registered
from .command_line import complete_options, given_options
from .distill import DistillConfig
from .student import StudentOptions

__all__ = ["check_smaller", "complete_student"]

_MARK = "default_student"  # true among the options of a run whose student nobody has named


def complete_student(parser: ArgumentParser, teacher: GeneratorSpec | None, continued: bool, recorded: bool) -> None:
    """Have the student's options given to the host under its own names when all options are known.

    Args:
        parser: the host's, with the options of the model.
        teacher: what the first teacher is, if its file tells.
        continued: whether the run goes on with a student, which then stays as it is.
        recorded: whether that student has a record.
    """
    width = parser.get_default("ngf")

    def complete(opt: Namespace) -> None:
        config = DistillConfig.from_namespace(opt)
        if config is None:
            return
        if getattr(opt, "suffix", ""):  # the folder of the run keeps the name it is found by in a test
            opt.suffix = opt.suffix.format(**vars(opt))
        config.student.apply(opt, teacher, recorded)
        named = "ngf" in given_options(parser) or parser.get_default("ngf") != width  # a subclass has named it since
        if not continued and not named:
            _choose_width(opt, config.student, teacher)

    complete_options(parser, complete)


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
