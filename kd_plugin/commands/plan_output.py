"""The output of ``kd plan``: tables and JSON."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..errors import OptionError
from ..metrics.cost import Cost
from ..metrics.limits import Budget, amount
from ..networks.checkpoint import inspect_checkpoint
from ..networks.generator import GeneratorSpec
from ..progress import Phase, Progress
from ..students.plan import Plan, Student, make_plan, measure_papers
from .shared import check_size

_MEASURING = "measuring latency"
_BEST = {"latency": "fastest", "macs": "fewest MACs", "file_size": "smallest file"}


def plan_output(options: argparse.Namespace, given: str, file: Path, budget: Budget) -> str:
    """Return the students of a teacher within a budget, as a table or JSON.

    The user gave the teacher as ``given``; its checkpoint is ``file``.

    Raises:
        KDError: the file holds no generator, the size or device is invalid, or no student is within the budget.
    """
    teacher = inspect_checkpoint(file)
    check_size(options.size, teacher)
    device = _device(options.device)
    measure, where = None, _where(str(device))
    if options.runtime != "pytorch":
        from ..export.latency import NAMES, RuntimeLatencies

        measure, where = RuntimeLatencies(options.runtime), f"{where}, {NAMES[options.runtime]}"
    with _measuring() as progress:
        plan = make_plan(teacher, options.size, budget, device, progress, measure)
    if options.json:
        return json.dumps({**_plan_json(plan, file), "runtime": options.runtime}, indent=2)
    return _page(plan, file, given, budget, where)


def papers_output(options: argparse.Namespace) -> str:
    """Return the students of the two papers with their teachers, as a table or JSON.

    Raises:
        OptionError: the device is not available.
    """
    device = _device(options.device)
    with _measuring() as progress:
        measured = measure_papers(options.size, device, progress)
    if options.json:
        rows = [
            {"paper": paper, "teacher": _student_json(teacher), "student": _student_json(student)}
            for paper, teacher, student in measured
        ]
        return json.dumps({"size": options.size, "device": str(device), "students": rows}, indent=2)
    table = [["paper", "generator", "ngf", "parameters", "", "MACs", "", "latency here", ""]]
    for paper, teacher, student in measured:
        table.append([paper, teacher.spec.netG, f"{teacher.spec.ngf} -> {student.spec.ngf}"])
        for measure in ("params", "macs", "latency"):
            small, large = getattr(student.cost, measure), getattr(teacher.cost, measure)
            table[-1] += [f"{amount(measure, large)} -> {amount(measure, small)}", _times(large / small)]
    where = f"One image of {options.size}x{options.size} on {_where(str(device))}."
    return f"{where}\n\n{_aligned(table, left=[0, 1])}"


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"--device {name}: PyTorch has no such device here, use cpu") from error
    return device


@contextmanager
def _measuring() -> Iterator[Callable[[float], None]]:
    """Display the progress of the measurement; yields a function that takes the completed fraction."""
    progress = Progress([Phase(_MEASURING, 15)])
    progress.begin(_MEASURING)
    try:
        yield progress.update
    finally:
        progress.clear()


def _page(plan: Plan, file: Path, given: str, budget: Budget, where: str) -> str:
    teacher, slower = plan.teacher, dict(plan.slower())
    head = ["", "latency", "", "parameters", "", "MACs", "", "file", "options"]
    rows = [["", *_cells(teacher.cost, None), "(the teacher)"]]
    for student in plan.students:
        mark = "*" if student in slower else ""
        rows.append([mark, *_cells(student.cost, teacher.cost), student_flags(student.spec, teacher.spec)])
    train = f"kd run train.py ... --distill wavelet,srp --teacher {given} with the options in its row."
    paragraphs = [
        f"{file}: {teacher.spec.netG}, ngf {teacher.spec.ngf}\none image of {plan.size}x{plan.size} on {where}",
        _aligned([head, *rows], left=[len(head) - 1]),
        *_notes(plan, slower),
        _recommendation(plan, budget),
        f"To train one: {train}" if plan.students else "",
    ]
    return "\n\n".join(filter(None, paragraphs))


def student_flags(student: GeneratorSpec, teacher: GeneratorSpec) -> str:
    """Return the options of the runner that train a student, without those that equal the teacher's."""
    flags = [] if student.netG == teacher.netG else [f"--student_netG {student.netG}"]
    flags.append(f"--student_ngf {student.ngf}")
    if student.conv != teacher.conv or student.conv == "separable":
        flags.append(f"--student_conv {student.conv}")
    return " ".join(flags)


def _recommendation(plan: Plan, budget: Budget) -> str:
    rows = []
    for student, measures in plan.recommended().items():
        costs = [amount(measure, getattr(student.cost, measure)) for measure in _BEST]
        best = ", ".join(_BEST[measure] for measure in measures)
        rows.append(["", best, *costs, student_flags(student.spec, plan.teacher.spec)])
    if not rows:
        return ""
    within = ", ".join(f"{measure} {limit.text}" for measure, limit in budget.items())
    if not within:
        within = f"macs {amount('macs', plan.work)} (three eighths of the width, as in the wavelet paper)"
    return f"Recommended among the widest of each kind within {within}:\n{_aligned(rows, left=[1, 5])}"


def _cells(cost: Cost, teacher: Cost | None) -> list[str]:
    """Return the costs, each with its ratio to the teacher's."""
    cells = []
    for measure in ("latency", "params", "macs", "file_size"):
        value = getattr(cost, measure)
        cells.append(amount(measure, value))
        if measure != "file_size":  # proportional to the parameters
            cells.append(_times(getattr(teacher, measure) / value) if teacher else "")
    return cells


def _times(ratio: float) -> str:
    """Return a ratio rounded down: 7.086 is 7.08x."""
    return f"{math.floor(100 * ratio) / 100:.2f}x"


def _notes(plan: Plan, slower: dict[Student, Student]) -> list[str]:
    notes = []
    if plan.hidden:
        students = "1 student is" if plan.hidden == 1 else f"{plan.hidden} students are"
        notes.append(f"{students} not listed: slower than the teacher on this machine.")
    if not slower:
        return notes
    slow, fast = max(slower.items(), key=lambda pair: _work_per_time(pair[1]) / _work_per_time(pair[0]))
    first, second = (student_flags(each.spec, plan.teacher.spec) for each in (slow, fast))
    times = (fast.cost.latency or 0) / (slow.cost.latency or 1)
    separable = all(each.spec.conv == "separable" for each in slower)
    why = f" (depthwise convolutions are memory-bound and rarely fast on a {plan.device.upper()})"
    notes.append(
        f"* fewer MACs than another student, but not faster{why if separable else ''}: "
        f"'{first}' has {fast.cost.macs / slow.cost.macs:.1f}x fewer than '{second}', which takes {times:.2f} of "
        f"its time"
    )
    return notes


def _work_per_time(student: Student) -> float:
    return student.cost.macs / (student.cost.latency or 1)


def _where(device: str) -> str:
    return f"{device}, {torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name(device)


def _aligned(rows: Sequence[Sequence[str]], left: Collection[int]) -> str:
    """Return a table; the columns in ``left`` are left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[i].ljust(width) if i in left else row[i].rjust(width) for i, width in enumerate(widths)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _student_json(student: Student) -> dict[str, Any]:
    return {**student.spec.to_dict(), **asdict(student.cost)}


def _plan_json(plan: Plan, file: Path) -> dict[str, Any]:
    slower = dict(plan.slower())
    flags = {student: student_flags(student.spec, plan.teacher.spec) for student in plan.students}
    return {
        "size": plan.size,
        "device": plan.device,
        "teacher": {"file": str(file), **_student_json(plan.teacher)},
        "students": [
            {**_student_json(student), "flags": flags[student], "slower_with_fewer_macs": student in slower}
            for student in plan.students
        ],
        "hidden": plan.hidden,
        "recommended": [
            {"best": measures, "flags": flags[student]} for student, measures in plan.recommended().items()
        ],
    }
