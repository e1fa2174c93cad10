"""The results of cells: reading their files, and the share of the gap that a recipe closes, with its interval."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from plan import TEACHER, Cell
from recipes import SHOWN

from kd_plugin.errors import KDError
from kd_plugin.metrics.intervals import RESAMPLES, Interval, draw_counts

CHOSEN = "chosen"
_REAL = "frechet_real"  # influences of real images on the Frechet distance, where these belong to other inputs
_TAILS = (0.025, 0.975)
_LEAST_GROUPS = 10  # of test images, for an interval


@dataclass(frozen=True)
class Result:
    """The results of a cell.

    Attributes:
        cell: task, recipe, size and seed.
        found: the content of its file (``run_cell`` in ``cell.py``).
    """

    cell: Cell
    found: dict[str, Any]

    def measures(self, weights: str = CHOSEN) -> dict[str, Any]:
        """Return the measures of ``"last"``, ``"best"``, ``"average"``, or those chosen on the validation images."""
        measures: dict[str, Any] = self.found["weights"][self.found["chosen"] if weights == CHOSEN else weights]
        return measures

    def frechet_draws(self, counts: np.ndarray, real_counts: np.ndarray | None = None) -> np.ndarray:
        """Return the Frechet distances of draws of the test images, (R,).

        Args:
            counts: (R, N), how often each input is in each draw.
            real_counts: (R, M), the same of the real images, where they belong to other inputs.
        """
        measures = self.measures()
        draws: np.ndarray = measures["frechet"] + _means(counts, measures["per_image"]["frechet"])
        if real_counts is not None:
            draws = draws + _means(real_counts, measures["per_image"][_REAL])
        return draws


@dataclass(frozen=True)
class Results:
    """The results of a study, of which all students of a task have one teacher and one data set."""

    results: tuple[Result, ...]

    def of(self, task: str, recipe: str, size: str = "") -> list[Result]:
        """Return the results of a recipe, in order of their seeds."""
        return [
            result
            for result in self.results
            if (result.cell.task, result.cell.recipe, result.cell.size) == (task, recipe, size)
        ]

    def tasks(self) -> list[str]:
        """Return the names of the tasks."""
        return list(dict.fromkeys(result.cell.task for result in self.results))


def read_results(folder: Path) -> Results:
    """Read the files of a folder.

    Raises:
        KDError: there are none, one cannot be read, or the cells of a task do not belong together.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise KDError(f"{folder}: no results (*.json): run the study first")
    results = []
    for file in files:
        try:
            found = json.loads(file.read_text())
            results.append(Result(Cell(**found["cell"]), found))
        except (ValueError, KeyError, TypeError) as error:
            raise KDError(
                f"{file}: not the results of a cell ({error}): delete it, and run the study again"
            ) from None
    results.sort(key=lambda result: result.cell)
    _check_together(results)
    return Results(tuple(results))


def gap_closed(teacher: Result, alone: Sequence[Result], students: Sequence[Result]) -> Interval | None:
    r"""Return the share of the gap between the student alone and the teacher that a recipe closes.

    .. math:: \frac{F_\text{alone} - F_\text{recipe}}{F_\text{alone} - F_\text{teacher}}

    of Frechet distances that are means over the seeds: 1 is as good as the teacher, 0 as the student alone.

    Returns:
        The share and its interval (:class:`_Bootstrap`), whose ends are NaN for a single seed of either student, as
        the variation between seeds is then unknown. None without a gap: the interval of the difference of the student
        alone and the teacher contains 0.
    """
    bootstrap = _Bootstrap(teacher)
    best, worst, own = bootstrap.draws([teacher]), bootstrap.draws(alone), bootstrap.draws(students)
    if np.quantile(worst - best, _TAILS[0]) <= 0:
        return None
    closed = (_mean(alone) - _mean(students)) / (_mean(alone) - _mean([teacher]))
    return bootstrap.interval(closed, (worst - own) / (worst - best), alone, students)


def difference(teacher: Result, first: Sequence[Result], second: Sequence[Result]) -> Interval:
    """Return the Frechet distance of one recipe minus that of another, with its interval as of :func:`gap_closed`."""
    bootstrap = _Bootstrap(teacher)
    draws = bootstrap.draws(first) - bootstrap.draws(second)
    return bootstrap.interval(_mean(first) - _mean(second), draws, first, second)


class _Bootstrap:
    """Draws of test images and of seeds, for 95 % intervals.

    The test images are the same for all networks of a task, and so are their draws; images that are nearly the same
    (of one group) are drawn together. Real images that belong to other inputs are drawn as well. Of a few seeds, the
    mean of a draw varies too little, by the root of (n - 1) / n, which is corrected. The teacher is one training: the
    intervals are of students of this teacher.

    Args:
        teacher: of the task.
    """

    def __init__(self, teacher: Result) -> None:
        groups = np.array(teacher.found["data"]["groups"])
        self._groups = groups.max() + 1
        (drawn_groups,) = draw_counts(self._groups, RESAMPLES, 0, RESAMPLES)
        self._counts = drawn_groups[:, groups]  # (R, images)
        reals = len(teacher.measures()["per_image"].get(_REAL, ()))
        self._real_counts = next(draw_counts(reals, RESAMPLES, 2, RESAMPLES)) if reals else None
        self._generator = np.random.default_rng(1)

    def draws(self, results: Sequence[Result]) -> np.ndarray:
        """Return the mean Frechet distance over the seeds, of each draw, (R,)."""
        distances = np.stack([result.frechet_draws(self._counts, self._real_counts) for result in results])
        seeds, mean = len(results), distances.mean(axis=0)
        if seeds == 1:
            return np.asarray(mean)
        chosen = self._generator.integers(seeds, size=distances.shape)
        drawn = np.take_along_axis(distances, chosen, axis=0).mean(axis=0)
        return np.asarray(mean + math.sqrt(seeds / (seeds - 1)) * (drawn - mean))

    def interval(self, value: float, draws: np.ndarray, *recipes: Sequence[Result]) -> Interval:
        """Return a value and its interval, whose ends are NaN for a single seed or few groups of test images."""
        if min(map(len, recipes)) == 1 or self._groups < _LEAST_GROUPS:
            return Interval(value, math.nan, math.nan)
        low, high = np.quantile(draws, _TAILS)
        return Interval(value, float(low), float(high))


def _mean(results: Sequence[Result]) -> float:
    return float(np.mean([result.measures()["frechet"] for result in results]))


Gaps = Mapping[str, tuple[Interval, int]]  # by recipe: the share of the gap closed, and the number of seeds


def gaps_of(results: Results, task: str, size: str, names: Sequence[str] = SHOWN) -> Gaps:
    """Return the shares that recipes close; none without a teacher and a student alone, or without a gap."""
    teacher, alone = teacher_of(results, task), results.of(task, "alone", size)
    if teacher is None or not alone:
        return {}
    found = {name: results.of(task, name, size) for name in names if name != "alone"}
    return {
        name: (closed, len(students))
        for name, students in found.items()
        if students and (closed := gap_closed(teacher, alone, students)) is not None
    }


def times_fewer(results: Results, size: str, tasks: Sequence[str]) -> str:
    """Return how many times fewer parameters the students of a size have, such as ``58x`` or ``58x to 60x``.

    The names of sizes are rounder than that: the ratio depends on the teacher's depth and norm.
    """
    ratios = set()
    for task in tasks:
        teacher, students = teacher_of(results, task), results.of(task, "alone", size)
        if teacher and students:
            ratios.add(round(teacher.found["cost"]["params"] / students[0].found["cost"]["params"]))
    return " to ".join(f"{ratio}x" for ratio in sorted(ratios)[:: max(1, len(ratios) - 1)])


def _means(counts: np.ndarray, values: Sequence[float]) -> np.ndarray:
    means: np.ndarray = counts @ np.array(values) / counts.sum(axis=1)
    return means


def _check_together(results: Iterable[Result]) -> None:
    """Raise an error for results of a task that have other teachers, images or lengths, or recipes that changed."""
    first: dict[str, Result] = {}
    for result in results:
        other = first.setdefault(result.cell.task, result)
        for name in ("teacher", "data", "features"):
            if result.found[name] != other.found[name]:
                raise KDError(
                    f"{result.cell.key} and {other.cell.key} have another {name}: keep the results of studies with "
                    "different teachers or images in different folders"
                )
        other = first.setdefault(result.cell.key.rpartition("-")[0], result)
        if _without_seed(result) != _without_seed(other):
            raise KDError(
                f"{result.cell.key} and {other.cell.key} were trained by different commands: delete the older one, "
                "and run it again"
            )


def _without_seed(result: Result) -> str:
    command = result.found["command"].replace(result.cell.key, "")
    return re.sub(r"--seed \d+", "", command)


def teacher_of(results: Results, task: str) -> Result | None:
    """Return the teacher of a task, if it is among the results."""
    found = results.of(task, TEACHER)
    return found[0] if found else None
