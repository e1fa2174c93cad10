"""Whether results depend on the teacher: those of a study beside those of its replication with another one."""

from __future__ import annotations

from collections.abc import Sequence

from formats import share, spread, table
from plan import SIZES
from recipes import RECIPES, SHOWN
from results import Result, Results, gaps_of, teacher_of


def replication(first: Results, second: Results) -> str:
    """Return a table of what both have run: Frechet distances, and the share of the gap that each recipe closes."""
    rows = []
    for task in second.tasks():
        rows.append([task, "teacher", *(cell for results in (first, second) for cell in _of_teacher(results, task))])
        for size in SIZES:
            for name in SHOWN:
                if first.of(task, name, size) and second.of(task, name, size):
                    cells = (cell for results in (first, second) for cell in _of(results, task, name, size))
                    rows.append([f"{task}, {size}", RECIPES[name].title, *cells])
    return table(["", "", "first teacher", "gap closed", "second teacher", "gap closed"], rows)


def _of_teacher(results: Results, task: str) -> tuple[str, str]:
    teacher = teacher_of(results, task)
    return _distance([teacher] if teacher else []), ""


def _of(results: Results, task: str, name: str, size: str) -> tuple[str, str]:
    return _distance(results.of(task, name, size)), share(gaps_of(results, task, size).get(name))


def _distance(found: Sequence[Result]) -> str:
    return spread([result.measures()["frechet"] for result in found], 0)
