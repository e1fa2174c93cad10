"""The figure of a study: the share of the gap that each recipe closes, with its interval."""

from __future__ import annotations

from pathlib import Path

from plan import SIZES
from recipes import MAIN, RECIPES
from results import Results, gap_closed, teacher_of

from kd_plugin.errors import KDError


def draw_gaps(results: Results, file: Path) -> None:
    """Draw a panel for each task and size that has a student alone and others.

    Raises:
        KDError: matplotlib is not installed, or there is nothing to draw.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise KDError('the figure needs matplotlib: pip install -e ".[study]"') from None
    panels = []
    for task in results.tasks():
        teacher = teacher_of(results, task)
        for size in SIZES:
            alone = results.of(task, "alone", size)
            if teacher is None or not alone:
                continue
            bars = [
                (RECIPES[name].short, closed, len(found))
                for name in MAIN
                if name != "alone" and (found := results.of(task, name, size))
                if (closed := gap_closed(teacher, alone, found)) is not None
            ]
            if bars:
                panels.append((f"{task}, {size}", bars))
    if not panels:
        raise KDError("there is nothing to draw: no task has a teacher, a student alone and another student")
    height = sum(len(bars) for _, bars in panels)
    figure = Figure(figsize=(8, 0.8 + 0.32 * height + 0.5 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=[len(bars) for _, bars in panels])[:, 0]
    for axis, (title, bars) in zip(axes, panels, strict=True):
        for row, (_, closed, seeds) in enumerate(bars):
            axis.plot([100 * closed.low, 100 * closed.high], [row, row], color="#7aa6c2", linewidth=5, alpha=0.7)
            axis.plot(100 * closed.value, row, "o", color="#0b3c5d", markersize=6)
            count = "1 seed" if seeds == 1 else f"{seeds} seeds"
            axis.annotate(f"  {count}", (100 * closed.high, row), va="center", fontsize=7, color="#666666")
        axis.axvline(0, color="#b33939", linewidth=1)
        axis.axvline(100, color="#2d7d46", linewidth=1)
        axis.set_yticks(range(len(bars)), [name for name, _, _ in bars], fontsize=8)
        axis.invert_yaxis()
        axis.set_title(title, fontsize=9, loc="left")
        axis.tick_params(axis="x", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("share of the gap closed, per cent: 0 is the student alone, 100 the teacher", fontsize=8)
    figure.savefig(file, dpi=120)
