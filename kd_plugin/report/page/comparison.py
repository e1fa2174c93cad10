"""Which of two subjects is better, and whether the difference exceeds the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...metrics.intervals import Interval
from ..results import Difference, Measure, Subject
from .formatting import limits, number


@dataclass(frozen=True)
class Verdict:
    """What a difference says.

    Attributes:
        difference: first subject minus second.
        better: whether the first is better, True or False; None if the difference does not exceed the noise.
    """

    difference: Difference
    better: bool | None

    @property
    def tone(self) -> str:
        """CSS class of the verdict."""
        return {True: "good", False: "bad", None: "noise"}[self.better]


@dataclass(frozen=True)
class Ranking:
    """The best student of a measure and the next one.

    Attributes:
        best: key of the student with the best value.
        next: key of the second best.
        verdict: of ``best - next``; None if this difference was not computed.
    """

    best: str
    next: str
    verdict: Verdict | None


def compare(measure: Measure, first: str, second: str) -> Verdict | None:
    """Return the verdict on ``first - second``, or None if the measure has this difference in neither order."""
    for difference in measure.differences:
        if (difference.first, difference.second) == (second, first):
            value = difference.value
            flipped = Interval(-value.value, -value.high, -value.low)
            difference = Difference(first, second, flipped)
        if (difference.first, difference.second) == (first, second):
            better = (difference.value.low > 0) == measure.higher_is_better
            return Verdict(difference, better if difference.exceeds_noise else None)
    return None


def rank(measure: Measure, students: Sequence[Subject]) -> Ranking | None:
    """Return the two best students by value, or None if fewer than two have a value."""
    values = {s.key: measure.values[s.key].value for s in students if s.key in measure.values}
    sign = -1 if measure.higher_is_better else 1
    keys = sorted((key for key, value in values.items() if not math.isnan(value)), key=lambda key: sign * values[key])
    return Ranking(keys[0], keys[1], compare(measure, keys[0], keys[1])) if len(keys) > 1 else None


def best_student(measure: Measure, students: Sequence[Subject]) -> str | None:
    """Return the key of the best student, or None if its difference to the next does not exceed the noise."""
    ranking = rank(measure, students)
    return ranking.best if ranking and ranking.verdict and ranking.verdict.better else None


def difference_text(measure: Measure, verdict: Verdict) -> str:
    """Return the difference with its unit and interval.

    >>> from kd_plugin.report.results import Measure
    >>> psnr = Measure("psnr", "PSNR", "dB", True, "ground truth", 1, {})
    >>> difference_text(psnr, Verdict(Difference("a", "b", Interval(-0.8, -1.1, -0.5)), False))
    '\u22120.8 dB (\u22121.1 to \u22120.5)'
    """
    value = verdict.difference.value
    ends = limits(value, measure.digits, signed=True)
    text = f"{number(value.value, measure.digits, signed=True)} {measure.unit}".rstrip()
    return f"{text} ({ends})" if ends else text
