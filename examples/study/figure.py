"""The figure of a study: the share of the gap that each recipe closes, with its interval."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from formats import seeds
from plan import SIZES
from recipes import RECIPES, SHOWN
from results import Gaps, Results, gaps_of, times_fewer

from kd_plugin.errors import KDError

_ROW, _AROUND = 0.28, 0.75  # inches: height of a bar, and of what is around those of a panel


def draw_gaps(results: Results, file: Path) -> None:
    """Draw a row of panels for each size, with a column for each task.

    Raises:
        KDError: matplotlib is not installed, or there is nothing to draw.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise KDError('the figure needs matplotlib: pip install -e ".[study]"') from None
    panels = {(size, task): gaps_of(results, task, size) for size in SIZES for task in results.tasks()}
    sizes = [size for size in SIZES if any(panels[size, task] for task in results.tasks())]
    tasks = [task for task in results.tasks() if any(panels[size, task] for size in SIZES)]
    if not sizes:
        raise KDError("there is nothing to draw: no task has a teacher, a student alone and another student")
    # The panels of a row have the same recipes, so that only the first names them.
    names = {size: [name for name in SHOWN if any(name in panels[size, task] for task in tasks)] for size in sizes}
    heights = [len(names[size]) * _ROW + _AROUND for size in sizes]
    figure = Figure(figsize=(2.6 + 3.2 * len(tasks), sum(heights) + 0.3), layout="constrained")
    axes = figure.subplots(len(sizes), len(tasks), squeeze=False, sharex=True, sharey="row", height_ratios=heights)
    for size, row in zip(sizes, axes, strict=True):
        for task, axis in zip(tasks, row, strict=True):
            _draw_panel(
                axis, f"{task}, {times_fewer(results, size, [task]) or size}", names[size], panels[size, task]
            )
    figure.supxlabel("share of the gap closed, per cent: 0 is the student alone, 100 the teacher", fontsize=8)
    figure.savefig(file, dpi=120)


def _draw_panel(axis: Any, title: str, names: list[str], bars: Gaps) -> None:
    for row, name in enumerate(names):
        if name not in bars:
            continue
        closed, count = bars[name]
        axis.plot([100 * closed.low, 100 * closed.high], [row, row], color="#7aa6c2", linewidth=5, alpha=0.7)
        axis.plot(100 * closed.value, row, "o", color="#0b3c5d", markersize=6)
        end = closed.value if math.isnan(closed.high) else closed.high
        axis.annotate(f"   {seeds(count)}", (100 * end, row), va="center", fontsize=7, color="#666666")
    axis.axvline(0, color="#b33939", linewidth=1)
    axis.axvline(100, color="#2d7d46", linewidth=1)
    axis.set_yticks(range(len(names)), [RECIPES[name].short for name in names], fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_title(title if bars else f"{title}: not run", fontsize=9, loc="left")
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
