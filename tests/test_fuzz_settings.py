"""Property tests of user input: weight schedules, taps, budgets and settings of the terms."""

from __future__ import annotations

import fnmatch
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.fuzz import json_values
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import nn

from kd_plugin import GeneratorSpec
from kd_plugin.errors import ArgumentError
from kd_plugin.losses import Schedule, build_terms, get_term, term_names
from kd_plugin.metrics.cost import generator_cost
from kd_plugin.metrics.limits import MEASURES, amount, parse_budget, parse_limit
from kd_plugin.networks.taps import Tap, parse_taps, resolve_taps
from kd_plugin.students.budget import exceeded, most_width, narrowest, student_within


def text_of(characters: str) -> st.SearchStrategy[str]:
    """Any text, above all of some characters."""
    return st.text(max_size=20) | st.text(characters, max_size=20)


class TestSchedules:
    weights, epochs = st.floats(0, 1e9), st.floats(-1e6, 1e6) | st.integers(0, 9).map(float)
    points = st.lists(st.tuples(epochs, weights), min_size=2, max_size=6)
    schedules = points.map(lambda points: Schedule(tuple(sorted(points, key=lambda point: point[0]))))

    @example(Schedule.parse(0.12345678901234567))
    @example(Schedule.parse("1234567.5@1,2@3"))
    @given(schedules | weights.map(Schedule.parse))
    def test_are_written_as_they_are_read(self, schedule: Schedule) -> None:
        """With all digits: a continued run reads them from ``student.json``."""
        assert Schedule.parse(str(schedule)) == schedule

    @given(st.dictionaries(st.integers(-500, 500), weights, min_size=2, max_size=6), st.floats(-600, 600))
    def test_are_straight_lines_between_their_points(self, weights: dict[int, float], epoch: float) -> None:
        points = sorted(weights.items())
        expected = np.interp(epoch, *zip(*points, strict=True))
        assert Schedule(tuple(points))(epoch) == pytest.approx(expected, rel=1e-9, abs=1e-6)

    @given(schedules)
    def test_jump_to_the_last_of_the_points_at_an_epoch(self, schedule: Schedule) -> None:
        assert all(schedule(epoch) == dict(schedule.points)[epoch] for epoch, _ in schedule.points)

    @example("1\n2")
    @given(text_of("0123456789.@,-e \n") | json_values)
    def test_are_read_or_refused(self, given: Any) -> None:
        try:
            schedule = Schedule.parse(given)
        except ArgumentError as error:
            assert str(error).startswith("the weight is ") and "\n" not in str(error)
        else:
            assert all(weight >= 0 and math.isfinite(weight + epoch) for epoch, weight in schedule.points)


def tree(widths: list[int]) -> nn.Module:
    """Modules ``0``, ``0.0``, ..., ``0.n``, ``1``, ..., so many below each."""
    return nn.Sequential(*(nn.Sequential(*(nn.Identity() for _ in range(n))) for n in widths))


class TestTaps:
    names = st.text("abc01.*?[]!-", min_size=1, max_size=8)
    trees = st.lists(st.integers(0, 12), min_size=1, max_size=12).map(tree)
    parts = st.lists(st.sampled_from(["*", "?", "0", "1", "[0-3]", "[!0]", "1*", "1?", "??"]), min_size=1, max_size=2)

    @given(st.lists(st.builds(Tap, names, names), min_size=1, max_size=4))
    def test_are_written_as_they_are_read(self, taps: list[Tap]) -> None:
        assert parse_taps(",".join(map(str, taps))) == taps

    @given(text_of("ab*?[]=., \n!"), trees)
    def test_are_read_or_refused(self, text: str, network: nn.Module) -> None:
        try:
            taps = resolve_taps(parse_taps(text), network, network)
        except ArgumentError as error:
            assert "\n" not in str(error)
        else:
            network.get_submodule(taps[0].student)

    @given(parts, trees, trees)
    def test_patterns_match_by_part_and_pair_by_depth(
        self, parts: list[str], student: nn.Module, teacher: nn.Module
    ) -> None:
        """By the definition: each part of a name as a file name, and all of both in order."""

        def matching(network: nn.Module) -> list[str]:
            names = [name.split(".") for name, _ in network.named_modules() if name]
            fit = [n for n in names if len(n) == len(parts) and all(map(fnmatch.fnmatchcase, n, parts))]
            return [".".join(name) for name in fit]

        ours, theirs = matching(student), matching(teacher)
        try:
            taps = resolve_taps(parse_taps(".".join(parts)), student, teacher)
        except ArgumentError:
            assert not (ours and theirs) or len(ours) == 1 < len(theirs)
            return
        assert [tap.student for tap in taps] == ours and taps[-1].teacher == theirs[-1]
        places = [theirs.index(tap.teacher) for tap in taps]
        assert places == sorted(places)
        if len(ours) >= len(theirs):
            assert set(places) == set(range(len(theirs)))
        else:
            assert len(set(places)) == len(ours)

    def test_a_star_is_not_the_network_itself(self) -> None:
        assert resolve_taps(parse_taps("*"), tree([0, 0]), tree([0, 0])) == [Tap("0", "0"), Tap("1", "1")]


class TestBudgets:
    @given(st.sampled_from(MEASURES), st.floats(1e-2, 1e9))
    def test_amounts_are_read_as_they_are_written(self, measure: str, value: float) -> None:
        """Up to half a unit of the last digit."""
        value *= 1e-6 if measure == "latency" else 1e3
        text = amount(measure, value)
        digits, unit = text.split()
        step = parse_limit(measure, f"1{unit}").amount * 10.0 ** -len(digits.partition(".")[2])
        assume(float(digits) > 0)
        assert abs(parse_limit(measure, text).amount - value) <= 0.5001 * step
        assert parse_budget(f"{measure}={text}")[measure] == parse_limit(measure, text)

    @example("9" * 309 + "x")
    @given(text_of("0123456789.xXkMgGbBs=@, \nparmcsfiletny_z"))
    def test_are_read_or_refused(self, text: str) -> None:
        try:
            budget = parse_budget(text)
        except ArgumentError as error:
            assert "\n" not in str(error)
        else:
            assert budget.keys() <= set(MEASURES)
            assert all(0 < limit.amount < math.inf for limit in budget.values())

    @example("file_size", 12.0, 9)
    @given(st.sampled_from(["params", "macs", "file_size"]), st.floats(1, 12), st.integers(1, 9))
    def test_the_widest_student_within(self, measure: str, times: float, ngf: int) -> None:
        """Found by bisection; the oracle tries all widths. Where none fits, a budget that the error advises does."""
        teacher = GeneratorSpec("resnet", 3, 3, ngf, 1, "instance", False, True)
        budget = parse_budget(f"{measure}={times}x")
        narrow = narrowest(teacher, most_width(teacher)).ngf
        fitting = [
            width
            for width in range(narrow, most_width(teacher) + 1)
            if not exceeded(generator_cost(replace(teacher, ngf=width), 32), budget, generator_cost(teacher, 32))
        ]
        try:
            assert student_within(budget, teacher, teacher, 32).ngf == max(fitting, default=None)
        except ArgumentError as error:
            assert not fitting
            advised = re.search(r"takes (.*) \((.*) less than the teacher\); increase the budget", str(error))
            assert advised is not None
            for text in advised.groups():
                found = student_within(parse_budget(f"{measure}={text}"), teacher, teacher, 32)
                assert found.ngf == narrow


OPTIONS = [(name, option) for name in term_names() for option in get_term(name).options]


class TestTerms:
    @example(("wavelet", get_term("wavelet").options[1]), 3)
    @example(("perceptual", get_term("perceptual").options[0]), None)
    @given(st.sampled_from(OPTIONS), json_values)
    def test_settings_are_taken_or_refused(self, of: tuple[str, Any], value: Any) -> None:
        name, option = of
        try:
            build_terms([name], {option.flag: value})
        except ArgumentError as error:
            assert "\n" not in str(error)

    @given(st.sampled_from(term_names()), json_values)
    def test_weights_are_taken_or_refused(self, name: str, weight: Any) -> None:
        assume(name != "perceptual")  # which needs a setting as well
        try:
            built = build_terms({name: weight})
        except ArgumentError as error:
            assert str(error).startswith(f"lambda_{name} is ") and "\n" not in str(error)
        else:
            assert built[name].weight == Schedule.parse(get_term(name).default_weight if weight is None else weight)
