"""The page of ``kd plan --web``, which times the students of a teacher on the device that visits it."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from ..errors import ArgumentError, KDError, OptionError
from ..export.onnx_file import check_installed
from ..export.web.folder import check_folder, write_folder
from ..export.web.plan import export_plan, save_times
from ..export.web.runtime import find_runtime
from ..export.web.serve import DEVICE_NAME
from ..metrics.cost import generator_cost
from ..metrics.limits import Budget, amount
from ..networks.checkpoint import inspect_checkpoint
from ..progress import Phase, Progress
from ..students.plan import list_students
from .shared import check_size, path_of

_LISTING, _EXPORTING = "listing students", "exporting"
_SECONDS = 8  # for a generator of 256 pixels


def write_page(options: argparse.Namespace, file: Path, budget: Budget) -> None:
    """Write the page over the students of a teacher, whose checkpoint is ``file``, within a budget.

    Raises:
        KDError: the page cannot be written, the file holds no generator, or no student is within the budget.
    """
    folder = Path(options.web).expanduser()
    try:
        check_folder(folder, options.force)
    except ArgumentError as error:
        raise OptionError(f"--web {error}{', with --force' if error.argument == 'force' else ''}") from error
    check_installed()
    teacher, size = inspect_checkpoint(file), options.size
    check_size(size, teacher)
    title = f"Students of {file.resolve().parent.name}"
    runtime = find_runtime(path_of(options.ort))
    progress = Progress([Phase(_LISTING, 2), Phase(_EXPORTING, 30 * _SECONDS)])
    progress.begin(_LISTING)
    try:
        students = list_students(teacher, size, budget, progress.update)
        progress.phases[-1].seconds = (1 + len(students)) * _SECONDS
        progress.clear()
        total = amount("file_size", sum(generator_cost(spec, size).file_size for spec in [teacher, *students]))
        print(f"{file}: {teacher.netG}, ngf {teacher.ngf}")
        print(f"exporting it and {_count(len(students))}, about {total} that the device loads", flush=True)
        with tempfile.TemporaryDirectory(dir=folder.resolve().parent, prefix=".kd_export_") as temporary:
            progress.begin(_EXPORTING)
            models, parity = export_plan(teacher, students, size, Path(temporary), progress.update)
            progress.clear()
            write_folder(folder, title, models, size, size, runtime)
    except OSError as error:
        raise KDError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        progress.clear()
    print(f"compared with the generators: {parity}, in the file that differs most")
    more = "" if options.serve else f": serve the folder, with kd plan --web {options.web} --serve or any server"
    print(f"{folder / 'index.html'}{more}")


def receive(folder: Path, body: bytes) -> None:
    """Write the times that a device sent to the page's folder, and print a line.

    Raises:
        ArgumentError: they are not valid.
        OSError: the file cannot be written.
    """
    times = save_times(folder, body)
    fastest = min(student.seconds for student in times.students)
    print(
        f"{folder / DEVICE_NAME}: {_count(len(times.students))} timed, teacher "
        f"{amount('latency', times.teacher.seconds)}, fastest student {amount('latency', fastest)}, {times.runtime}, "
        f"on {times.user_agent}",
        flush=True,
    )


def _count(students: int) -> str:
    return "1 student" if students == 1 else f"{students} students"
