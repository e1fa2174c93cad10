"""Write the tables of a study's results: ``python examples/study/tables.py FOLDER [--docs docs/results.md]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from extent import extent
from figure import draw_gaps
from formats import insert, spread, table, with_ends
from overview import overview, recipe_tables
from plan import PRESETS, SIZES, TEACHER
from recipes import ABLATIONS, BEST, RECIPES, SHOWN
from replication import replication
from results import CHOSEN, Result, Results, difference, gap_closed, read_results, teacher_of

from kd_plugin.errors import KDError
from kd_plugin.files import write_text_atomically

_MEASURES: Sequence[tuple[str, str, int]] = (
    ("frechet", "Frechet distance", 0),
    ("kid", "kernel distance", 3),
    ("psnr", "PSNR", 2),
    ("ssim", "SSIM", 3),
    ("perceptual", "perceptual", 3),
    ("HH1", "error of HH1", 3),
    ("shift", "shift", 2),
)


def tables(results: Results) -> str:
    """Return all tables in Markdown."""
    parts = []
    for task in results.tasks():
        teacher = teacher_of(results, task)
        if teacher is None:
            continue
        parts.append(f"### {task}\n")
        parts.append(_about(teacher))
        for size in SIZES:
            for names, title in ((SHOWN, f"Students of {size}"), (ABLATIONS, f"Ablations at {size}")):
                rows = [(name, found) for name in names if (found := results.of(task, name, size))]
                if not rows or (names is ABLATIONS and not results.of(task, "alone", size)):
                    continue
                parts.append(f"{title}: {_cost(teacher, rows[0][1][0])}.\n")
                parts.append(_table(results, task, size, teacher, rows))
        parts.append(_selection(results, task))
    return "\n".join(parts)


def _about(teacher: Result) -> str:
    found = teacher.found
    cost = found["cost"]
    snapshots = [snapshot["validation"] for snapshot in found["snapshots"]]
    quarter = snapshots[-max(1, len(snapshots) // 4) :]
    before = min(snapshots[: -len(quarter)] or snapshots)
    return (
        f"Teacher of width {found['ngf']}: {cost['params'] / 1e6:.3f} M parameters, {cost['macs'] / 1e9:.3f} GMACs "
        f"at {found['data']['side']} pixels, {found['epochs']} epochs; its distance on the validation images was "
        f"{before:.0f} in the first three quarters and {min(quarter):.0f} in the last one. "
        f"{found['data']['test images']} test images.\n"
    )


def _cost(teacher: Result, student: Result) -> str:
    big, small = teacher.found["cost"], student.found["cost"]
    return (
        f"{small['params'] / 1e6:.3f} M parameters, {big['params'] / small['params']:.1f} times fewer, and "
        f"{big['macs'] / small['macs']:.1f} times fewer MACs, {student.found['epochs']} epochs"
    )


def _table(
    results: Results, task: str, size: str, teacher: Result, rows: Sequence[tuple[str, Sequence[Result]]]
) -> str:
    measures = [measure for measure in _MEASURES if _value(teacher, measure[0]) is not None]
    alone, best = results.of(task, "alone", size), results.of(task, BEST, size)
    head = ["", "seeds", "gap closed", "minus the best", "validation"]
    head += [*(title for _, title, _ in measures), "minutes"]

    def row(title: str, found: Sequence[Result], gap: str = "", more: str = "") -> list[str]:
        chosen = spread([result.found["validation"][result.found["chosen"]] for result in found], 0)
        values = (_cell(found, measure, digits) for measure, _, digits in measures)
        return [title, str(len(found)), gap, more, chosen, *values, _time(found)]

    lines = [row("teacher", [teacher])]
    for name, found in rows:
        gap = more = ""
        if alone and name != "alone":
            closed = gap_closed(teacher, alone, found)
            gap = "no gap" if closed is None else with_ends(closed, ".0%")
        if best and name != BEST:
            more = with_ends(difference(teacher, found, best), "+.0f")
        lines.append(row(RECIPES[name].title, found, gap, more))
    return table(head, lines)


def _selection(results: Results, task: str) -> str:
    """Return a table of what the choice of weights does to the Frechet distance."""
    head = ["", "last", "best on validation", "average", "chosen on validation", "best on test"]
    lines = []
    for name in (TEACHER, *RECIPES):
        for size in ("", *SIZES):
            if not (found := results.of(task, name, size)):
                continue
            title = "teacher" if name == TEACHER else f"{RECIPES[name].title}, {size}"
            values = [
                [float(result.measures(weights)["frechet"]) for result in found]
                for weights in ("last", "best", "average", CHOSEN)
            ]
            tested = [
                min(s["test"] for s in result.found["snapshots"]) for result in found if result.found["snapshots"]
            ]
            lines.append([title, *(spread(numbers, 0) for numbers in (*values, tested))])
    return f"Which weights ({task}, Frechet distance on the test images):\n\n{table(head, lines)}"


def _value(result: Result, measure: str) -> float | None:
    measures = result.measures()
    return measures.get("bands", {}).get(measure) if measure == "HH1" else measures.get(measure)


def _cell(found: Sequence[Result], measure: str, digits: int) -> str:
    return spread([value for result in found if (value := _value(result, measure)) is not None], digits)


def _time(found: Sequence[Result]) -> str:
    """Return the CPU time of a training, or on GPUs its duration, in minutes."""
    kind = "seconds" if found[0].found["hardware"]["device"] == "cuda" else "cpu_seconds"
    seconds = [result.found["spent"][kind] for result in found]
    return "" if None in seconds else f"{np.mean(seconds) / 60:.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, or write them into a page, with its figure beside it; return the exit status."""
    parser = argparse.ArgumentParser(prog="tables.py", description=__doc__)
    parser.add_argument("folder", type=Path, help="the cells of a study")
    parser.add_argument("--docs", type=Path, metavar="PAGE", help="write into this page")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the shares of the gap (.svg, .png)")
    parser.add_argument("--replication", type=Path, metavar="FOLDER", help="cells with another teacher, for the page")
    options = parser.parse_args(arguments)
    try:
        results = read_results(options.folder)
        if options.figure:
            draw_gaps(results, options.figure)
        if options.docs:
            page = options.docs.read_text(encoding="utf-8")
            parts = {
                "overview": overview(results),
                "results": tables(results),
                "recipes": recipe_tables(),
                "extent": extent(results, PRESETS["cpu-more"]),
            }
            if options.replication:
                parts["replication"] = replication(results, read_results(options.replication))
            for name, text in parts.items():
                page = insert(page, name, text)
            write_text_atomically(options.docs, page)
        else:
            print(overview(results), tables(results), sep="\n")
    except KDError as error:
        print(f"tables: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
