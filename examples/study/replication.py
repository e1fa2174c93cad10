"""Whether results depend on the teacher: those of a study beside those of its replication with another one."""

from __future__ import annotations

from collections.abc import Sequence

from formats import share, spread, table
from plan import SIZES, TEACHER
from recipes import RECIPES
from results import Result, Results, gaps_of


def replication(first: Results, second: Results) -> str:
    """Return a table of what both have run: Frechet distances, and the share of the gap that each recipe closes."""
    both, rows = (first, second), []
    for task in second.tasks():
        teachers = [_distance(results.of(task, TEACHER)) for results in both]
        rows.append([task, "teacher", teachers[0], "", teachers[1], ""])
        for size in SIZES:
            names = [name for name in RECIPES if all(results.of(task, name, size) for results in both)]
            gaps = [gaps_of(results, task, size, names) for results in both] if names else []
            for name in names:
                row = [f"{task}, {size}", RECIPES[name].title]
                for results, shares in zip(both, gaps, strict=True):
                    row += [_distance(results.of(task, name, size)), share(shares.get(name))]
                rows.append(row)
    return table(["", "", "first teacher", "gap closed", "second teacher", "gap closed"], rows)


def _distance(found: Sequence[Result]) -> str:
    return spread([result.measures()["frechet"] for result in found], 0)
