"""The results of cells: reading their files, and the share of the gap that a recipe closes, with its interval."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from plan import TEACHER, Cell
from recipes import MAIN

from kd_plugin.errors import KDError
from kd_plugin.metrics.intervals import RESAMPLES, Interval, draw_counts

CHOSEN = "chosen"
_REAL = "frechet_real"  # influences of real images on the Frechet distance, where these belong to other inputs
_TAILS = (0.025, 0.975)


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


def gap_closed(
    teacher: Result, alone: Sequence[Result], students: Sequence[Result], seed: int = 0
) -> Interval | None:
    r"""Return the share of the gap between the student alone and the teacher that a recipe closes.

    .. math:: \frac{F_\text{alone} - F_\text{recipe}}{F_\text{alone} - F_\text{teacher}}

    of Frechet distances that are means over the seeds: 1 is as good as the teacher, 0 as the student alone. The 95 %
    interval is that of a bootstrap over the test images, which are the same for all, over the real images, if these
    belong to other inputs, and over the seeds of both students. Of a single seed, it does not contain the variation
    between seeds. Images that are nearly the same (of one group) are drawn together.

    Returns:
        None without a gap: the interval of the difference of the student alone and the teacher contains 0.
    """
    groups = np.array(teacher.found["data"]["groups"])
    (drawn_groups,) = draw_counts(groups.max() + 1, RESAMPLES, seed, RESAMPLES)
    counts = drawn_groups[:, groups]  # (R, images)
    reals = len(teacher.measures()["per_image"].get(_REAL, ()))
    (real_counts,) = draw_counts(reals, RESAMPLES, [seed, 2], RESAMPLES) if reals else (None,)
    generator = np.random.default_rng([seed, 1])

    def drawn(results: Sequence[Result]) -> np.ndarray:
        distances = np.stack([result.frechet_draws(counts, real_counts) for result in results])  # (seeds, R)
        chosen = generator.integers(len(results), size=(len(results), RESAMPLES))
        return np.asarray(np.take_along_axis(distances, chosen, axis=0).mean(axis=0))

    def value(results: Sequence[Result]) -> float:
        return float(np.mean([result.measures()["frechet"] for result in results]))

    best, worst, own = drawn([teacher]), drawn(alone), drawn(students)
    if np.quantile(worst - best, _TAILS[0]) <= 0:
        return None
    low, high = np.quantile((worst - own) / (worst - best), _TAILS)
    closed = (value(alone) - value(students)) / (value(alone) - value([teacher]))
    return Interval(closed, float(low), float(high))


Gaps = Mapping[str, tuple[Interval, int]]  # by recipe: the share of the gap closed, and the number of seeds


def gaps_of(results: Results, task: str, size: str) -> Gaps:
    """Return the shares that the main recipes close; none without a teacher and a student alone, or without a gap."""
    teacher, alone = teacher_of(results, task), results.of(task, "alone", size)
    if teacher is None or not alone:
        return {}
    found = {name: results.of(task, name, size) for name in MAIN if name != "alone"}
    return {
        name: (closed, len(students))
        for name, students in found.items()
        if students and (closed := gap_closed(teacher, alone, students)) is not None
    }


def _means(counts: np.ndarray, values: Sequence[float]) -> np.ndarray:
    means: np.ndarray = counts @ np.array(values) / counts.sum(axis=1)
    return means


def _check_together(results: Iterable[Result]) -> None:
    first: dict[str, Result] = {}
    for result in results:
        other = first.setdefault(result.cell.task, result)
        for name in ("teacher", "data", "features"):
            if result.found[name] != other.found[name]:
                raise KDError(
                    f"{result.cell.key} and {other.cell.key} have another {name}: keep the results of studies with "
                    "different teachers or images in different folders"
                )


def teacher_of(results: Results, task: str) -> Result | None:
    """Return the teacher of a task, if it is among the results."""
    found = results.of(task, TEACHER)
    return found[0] if found else None
