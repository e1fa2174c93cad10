"""The trade-off of cost and quality on the report's page."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from helpers.reports import make_report

from kd_plugin.metrics.intervals import Interval
from kd_plugin.report.page.document import write_page
from kd_plugin.report.page.pareto import Point, pareto_front


def point(macs: float, value: float) -> Point:
    return Point(f"{macs} {value}", macs, Interval(value, value - 1, value + 1))


@pytest.mark.parametrize("higher", [True, False])
def test_the_front_has_the_points_that_none_dominates(higher: bool) -> None:
    """Compared with the definition, on points with many ties."""
    generator = random.Random(0)
    sign = 1 if higher else -1

    def dominates(one: Point, other: Point) -> bool:
        costs, values = one.macs <= other.macs, sign * one.value.value >= sign * other.value.value
        return costs and values and (one.macs, one.value.value) != (other.macs, other.value.value)

    for _ in range(200):
        points = [point(generator.randint(1, 5), generator.randint(0, 5)) for _ in range(generator.randint(1, 8))]
        expected = {(p.macs, p.value.value) for p in points if not any(dominates(other, p) for other in points)}
        front = [(p.macs, p.value.value) for p in pareto_front(points, higher)]
        assert set(front) == expected
        assert front == sorted(set(front))
        assert all(sign * second[1] > sign * first[1] for first, second in itertools.pairwise(front))


def test_students_of_equal_cost_have_no_trade_off(tmp_path: Path) -> None:
    page = write_page(make_report(tmp_path, students=3), tmp_path).read_text()
    assert ">Trade-off</a>" in page
    assert ">Trade-off</a>" not in write_page(make_report(tmp_path, students=1), tmp_path).read_text()
