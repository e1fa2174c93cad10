"""The students of a teacher, by width, depth and convolutions, and their cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from ..errors import ArgumentError
from ..metrics.cost import Cost, generator_cost
from ..metrics.latency import Latencies, generator_latencies
from ..metrics.limits import Budget
from ..networks.generator import GeneratorSpec, get_architecture
from .budget import exceeded, in_blocks, most_width, narrowest, nothing_fits, widest

# The listed widths, as fractions of the teacher's: 64, 48, 32, 24 and 16 for a teacher of 64.
_FRACTIONS = (1.0, 0.75, 0.5, 0.375, 0.25)
_LEAST_FRACTION, _LEAST_LISTED = 0.25, 6  # narrower students are listed only if no others keep within the budget
_PAPERS_FRACTION = 0.375  # the wavelet paper's student: 24 of 64
_SEARCH = 0.1  # fraction of the time for finding the widest students; the rest is for measuring all
_FASTER = 0.95  # the ratio of two times below which one is faster, beyond the noise of the measurement
_SIMILAR = 1.1  # the ratio of two costs up to which they are similar


@dataclass(frozen=True)
class Student:
    """A generator and its cost; the latency is None until it is measured."""

    spec: GeneratorSpec
    cost: Cost


@dataclass(frozen=True)
class Plan:
    """The students of a teacher that keep within a budget, measured on a device."""

    teacher: Student
    students: list[Student]  # within the budget and no slower than the teacher, the fastest first
    size: int  # side of the square image in pixels, for operations and times
    device: str
    hidden: int = 0  # number of students within the budget but slower than the teacher
    work: float = math.inf  # maximum MACs of a recommended student

    def recommended(self) -> dict[Student, list[str]]:
        """Return the recommended students, each with the measures in which it is best: latency, MACs, file size.

        The candidates are the widest student of each depth and convolution, since the narrowest of all students would
        always be best. No candidate is better in all three measures than a returned one.
        """
        widest: dict[tuple[int, str], Student] = {}
        for student in self.students:
            kind = (student.spec.depth, student.spec.conv)
            if student.cost.macs <= self.work and (kind not in widest or student.spec.ngf > widest[kind].spec.ngf):
                widest[kind] = student
        best: dict[Student, list[str]] = {}
        for measure in ("latency", "macs", "file_size") if widest else ():
            least = min(getattr(student.cost, measure) for student in widest.values())
            similar = [s for s in widest.values() if getattr(s.cost, measure) <= _SIMILAR * least]
            chosen = min(similar, key=lambda s: (s.cost.latency or 0) * s.cost.macs * s.cost.file_size)
            best.setdefault(chosen, []).append(measure)
        return best

    def slower(self) -> list[tuple[Student, Student]]:
        """Return the students with fewer operations than a faster student, each with the largest such student."""
        found = []
        for student in self.students:
            better = [
                other
                for other in self.students
                if student.cost.macs < 0.9 * other.cost.macs
                and (other.cost.latency or 0) < _FASTER * (student.cost.latency or 0)
            ]
            if better:
                found.append((student, max(better, key=lambda other: other.cost.macs)))
        return found


def make_plan(
    teacher: GeneratorSpec,
    size: int,
    budget: Budget | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] = lambda done: None,
    measure: Latencies | None = None,
) -> Plan:
    """Return the students that keep within a budget: for each depth and convolution the widest, and narrower ones.

    Students below a quarter of the teacher's width are omitted, unless no others keep within the budget. Without a
    budget, the recommended students have at most the MACs of the wavelet paper's, of three eighths of the width.

    Args:
        size: side of a square image in pixels.
        budget: limits on parameters, operations, file size and latency; ``7x`` is relative to the teacher.
        progress: called with the completed fraction, 0 to 1.
        measure: measures latencies in another runtime; None for PyTorch.

    Raises:
        ArgumentError: If no student keeps within the budget; the message gives a sufficient one.
    """
    budget, measure = budget or {}, measure or generator_latencies

    def latency(spec: GeneratorSpec) -> float:
        return measure([spec], size, device, rounds=3)[0]

    students = list_students(teacher, size, budget, lambda done: progress(_SEARCH * done), latency)
    specs = [teacher, *students]
    large, *measured = _measured(specs, size, device, lambda done: progress(_SEARCH + (1 - _SEARCH) * done), measure)
    fitting = [student for student in measured if not exceeded(student.cost, budget, large.cost)]
    if not fitting:
        raise ArgumentError(nothing_fits(budget, {s.spec: s.cost for s in measured}, large.cost))
    listed = [student for student in fitting if (student.cost.latency or 0) <= (large.cost.latency or 0)]
    listed.sort(key=lambda student: student.cost.latency or 0)
    papers = replace(teacher, ngf=max(round(_PAPERS_FRACTION * most_width(teacher)), 1), widths=None)
    work = math.inf if budget else generator_cost(papers, size).macs
    return Plan(large, listed, size, str(device), hidden=len(fitting) - len(listed), work=work)


def list_students(
    teacher: GeneratorSpec,
    size: int,
    budget: Budget | None = None,
    progress: Callable[[float], None] = lambda done: None,
    latency: Callable[[GeneratorSpec], float] | None = None,
) -> list[GeneratorSpec]:
    """Return the students that :func:`make_plan` measures, by depth and convolution, the widest first.

    Arguments are those of :func:`make_plan`; ``latency`` returns the time of a generator in seconds, for a budget
    with a limit on it.

    Raises:
        ArgumentError: If no student keeps within the budget; the message gives a sufficient one.
    """
    budget = budget or {}
    shapes = get_architecture(teacher.architecture).smaller(teacher)
    most = most_width(teacher)

    def limited_cost(spec: GeneratorSpec) -> Cost:
        cost = generator_cost(spec, size)
        return replace(cost, latency=latency(spec)) if latency and "latency" in budget else cost

    teacher_cost = limited_cost(teacher)

    def fits(spec: GeneratorSpec) -> bool:
        cost = generator_cost(spec, size)
        if cost.params >= teacher_cost.params or cost.macs >= teacher_cost.macs:
            return False
        # The latency is measured only if all else fits.
        return not exceeded(cost, budget, teacher_cost) and not exceeded(limited_cost(spec), budget, teacher_cost)

    candidates: list[GeneratorSpec] = []
    for i, shape in enumerate(shapes):
        best = widest(shape, most, fits)
        if best:
            listed = [round(fraction * most) for fraction in _FRACTIONS]
            most_efficient = in_blocks(best.ngf)
            widths = {most_efficient, *(ngf for ngf in listed if ngf < most_efficient)}
            candidates += [replace(shape, ngf=ngf, widths=None) for ngf in sorted(widths, reverse=True)]
        progress((i + 1) / len(shapes))
    if not candidates and not budget:
        raise ArgumentError(f"a {teacher.netG} of ngf {teacher.ngf} is too small to have students")
    if not candidates:
        costs = {spec: limited_cost(spec) for spec in (narrowest(shape, most) for shape in shapes)}
        raise ArgumentError(nothing_fits(budget, costs, teacher_cost))
    least = max(round(_LEAST_FRACTION * most), _LEAST_LISTED)
    return [spec for spec in candidates if spec.ngf >= least] or candidates


def measure_papers(
    size: int, device: torch.device | str = "cpu", progress: Callable[[float], None] = lambda done: None
) -> list[tuple[str, Student, Student]]:
    """Return the paper, the teacher and the student for the students of the two papers, measured on this machine."""
    resnet = GeneratorSpec("resnet", 3, 3, 64, 9, "instance", False, True)
    unet = GeneratorSpec("unet", 3, 3, 64, 8, "batch", True, False)
    wkd, srp = "WKD, CVPR 2022", "SRP, ECCV 2020"
    study = f"{wkd}, frequency study"  # of GANs of three sizes
    listed = [(wkd, resnet, 24), (srp, resnet, 32), (srp, resnet, 16), (study, unet, 32), (study, unet, 16)]
    rows = [(paper, teacher, replace(teacher, ngf=ngf)) for paper, teacher, ngf in listed]
    specs = list(dict.fromkeys(spec for _, *pair in rows for spec in pair))
    measured = dict(zip(specs, _measured(specs, size, device, progress, generator_latencies), strict=True))
    return [(paper, measured[teacher], measured[student]) for paper, teacher, student in rows]


def _measured(
    specs: Sequence[GeneratorSpec],
    size: int,
    device: torch.device | str,
    progress: Callable[[float], None],
    measure: Latencies,
) -> list[Student]:
    times = measure(specs, size, device, progress=progress)
    timed = zip(specs, times, strict=True)
    return [Student(spec, replace(generator_cost(spec, size), latency=latency)) for spec, latency in timed]
