"""Build the student while a host constructs its model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ArgumentError, OptionError
from ...students import StudentRequest
from ..options.distill import DistillConfig
from ..options.record import check_networks, check_student, current_record, recorded_student, student_of
from ..repository.usual_options import usual_options
from .building import BuildCall, building_students
from .teachers import peek_teacher
from .unreadable import explain_unreadable


@dataclass(frozen=True)
class Built:
    """How the generators of a model were built."""

    student: StudentRequest  # settings beyond the arguments of define_G
    calls: list[BuildCall]
    netG: str  # of the host, before --student_netG is applied


def _check_architecture(opt: Any, wanted: str | None, calls: list[BuildCall]) -> None:
    """Raise an :class:`OptionError` if no generator has the wanted architecture: the model reads another option."""
    built = dict.fromkeys(str(call.arguments.get("netG")) for call in calls)
    if wanted and built and wanted not in built:
        raise OptionError(
            f"--student_netG {wanted} has no effect on --model {opt.model}, which builds {' and '.join(built)}: give "
            f"the architecture in the host's own option"
        )


@contextmanager
def building_student(host_class: type, opt: Any, config: DistillConfig | None) -> Iterator[Built]:
    """Context manager in which a model builds the student described by the options or its record.

    The student's settings are applied to the host's options in place. Without distillation (``config`` is None), only
    a recorded student is built.

    Raises:
        OptionError: the options contradict each other or the record, or the host cannot build its networks.
    """
    opt = usual_options(opt)
    netG = getattr(opt, "netG", "")
    if config is None:
        student = recorded_student(opt) or StudentRequest()
        with building_students(host_class, student) as calls:
            yield Built(student, calls, netG)
        return
    explain_unreadable(getattr(opt, "dataroot", ""))
    folder = Path(opt.checkpoints_dir) / opt.name
    record = current_record(opt, folder) if getattr(opt, "continue_train", False) else None
    student = student_of(record, opt) if record else config.student.request
    if record:
        check_student(config.student, student, folder)
    config.student.apply(opt, peek_teacher(config), record is not None)
    if record:
        check_networks(record, opt, folder)
    several = isinstance(getattr(opt, "netG", ""), list)  # architectures
    try:
        with building_students(host_class, student) as calls:
            yield Built(student, calls, netG)
        if several:
            _check_architecture(opt, config.student.student_netG, calls)
    except ArgumentError as error:
        asked = getattr(config.student, f"student_{error.argument}", None)
        if asked and several:
            raise OptionError(
                f"--student_{error.argument} {asked}: {error}; this host has generators of several architectures: "
                f"use --student_ngf"
            ) from error
        raise
    except NotImplementedError as error:  # raised by hosts of the family for an unknown name
        raise OptionError(f"the host cannot build its networks: {error}") from error
