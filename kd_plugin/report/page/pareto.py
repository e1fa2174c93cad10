"""The trade-off between cost and quality: a point for each student, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dominate import svg, tags

from ...metrics.intervals import Interval
from ..results import Measure
from .charts import BOTTOM, TOP, canvas, gridline, tick_text, ticks
from .formatting import limits, number, prefixed
from .view import View

_LEFT, _RIGHT = 6.0, 94.0  # per cent of the width


@dataclass(frozen=True)
class Point:
    """A student: its multiply-accumulates for an image, and the measure."""

    key: str
    macs: float
    value: Interval


def measure_of(view: View) -> Measure | None:
    """Return the measure to draw: the first against the teacher, or the first of all."""
    measures = view.direction.measures
    return next((m for m in measures if m.against == "teacher"), next(iter(measures), None))


def points_of(view: View) -> list[Point]:
    """Return the students of which MACs and measure are known, those with the fewest MACs first."""
    measure = measure_of(view)
    found = []
    for student in view.students:
        value = measure.values.get(student.key) if measure else None
        if value and math.isfinite(value.value) and student.cost and student.cost.macs:
            found.append(Point(student.key, student.cost.macs, value))
    return sorted(found, key=lambda point: point.macs)


def pareto_front(points: Sequence[Point], higher_is_better: bool) -> list[Point]:
    """Return the points that no other one equals or betters in both cost and value, by increasing cost.

    Args:
        points: the points.
        higher_is_better: direction of the value.
    """
    sign = 1 if higher_is_better else -1
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.macs, -sign * p.value.value)):
        if not front or sign * point.value.value > sign * front[-1].value.value:
            front.append(point)
    return front


def has_trade_off(view: View) -> bool:
    """Return whether there are students of at least two costs."""
    return len({point.macs for point in points_of(view)}) > 1


def trade_off(view: View) -> None:
    """Add the chart, with MACs on a logarithmic axis."""
    measure, points = measure_of(view), points_of(view)
    assert measure is not None
    ends = [end for p in points for end in (p.value.value, p.value.low, p.value.high) if math.isfinite(end)]
    marks = ticks(min(ends), max(ends))
    low, high = math.log(points[0].macs), math.log(points[-1].macs)

    def x(point: Point) -> str:
        return f"{_LEFT + (_RIGHT - _LEFT) * (math.log(point.macs) - low) / (high - low):.3f}%"

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (value - marks[0]) / (marks[-1] - marks[0])

    unit = f" in {measure.unit}" if measure.unit else ""
    better = "higher" if measure.higher_is_better else "lower"
    with tags.div(cls="card"):
        tags.h3(f"{measure.title}{unit} against {measure.against}, over MACs")
        view.legend([point.key for point in points])
        with canvas(f"{measure.title} over multiply-accumulates of {len(points)} students; values in the tables"):
            for mark in marks:
                gridline(y(mark), tick_text(mark, marks))
            front = pareto_front(points, measure.higher_is_better)
            for first, second in pairwise(front):
                ends_of = {"y1": f"{y(first.value.value):.1f}", "y2": f"{y(second.value.value):.1f}"}
                svg.line(x1=x(first), x2=x(second), **ends_of, cls="front")
            for point in points:
                if math.isfinite(point.value.low) and math.isfinite(point.value.high):
                    low_end, high_end = f"{y(point.value.low):.1f}", f"{y(point.value.high):.1f}"
                    svg.line(x1=x(point), x2=x(point), y1=low_end, y2=high_end, cls="error")
                style = f"fill:{view.colour(point.key)}"
                with svg.circle(cx=x(point), cy=f"{y(point.value.value):.1f}", r=6, style=style):
                    value = f"{number(point.value.value, measure.digits)} ({limits(point.value, measure.digits)})"
                    svg.title(f"{view.label(point.key)}: {prefixed(point.macs)} MACs, {value}")
                svg.text(prefixed(point.macs), x=x(point), y=BOTTOM + 18, text_anchor="middle")
    tags.p(
        f"A point for each student, {better} is better; the line joins those that no other student betters in both. "
        "The axis of MACs is logarithmic. A point within the interval of a cheaper one may be no better.",
        cls="soft",
    )
