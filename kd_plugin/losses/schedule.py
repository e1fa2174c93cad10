"""Weights that change over the epochs: constant, linear, with warm-up, with jumps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from ..errors import ArgumentError


@dataclass(frozen=True)
class Schedule:
    """A weight as a function of the epoch: linear between points, constant before and after them.

    Attributes:
        points: (epoch, weight), in order of epochs; two points at the same epoch are a jump, effective from it on.

    >>> warm_up = Schedule.parse("0@1,100@11")
    >>> warm_up(1), warm_up(6), warm_up(200)
    (0.0, 50.0, 100.0)
    >>> str(Schedule.parse(100))
    '100'
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.points:
            raise ArgumentError("a schedule needs a point: Schedule.parse takes a weight, or points WEIGHT@EPOCH")

    @classmethod
    def parse(cls, given: str | float | Schedule, name: str = "the weight") -> Schedule:
        """Parse a weight, or points ``WEIGHT@EPOCH`` separated by commas.

        Raises:
            ArgumentError: If the form is wrong, a weight is negative or not finite, or the epochs decrease.
        """
        if isinstance(given, Schedule):
            return given
        entries = [entry.split("@") for entry in str(given).split(",")]
        if len(entries) == 1:
            if len(entries[0]) > 1:
                raise ArgumentError(
                    f"{name} is '{given}', one point: give a number, or two or more points such as 0@1,100@10"
                )
            entries[0].append("0")
        try:
            points = tuple((float(epoch), float(weight)) for weight, epoch in entries)
        except ValueError:
            raise ArgumentError(
                f"{name} is '{given}': give a weight such as 10, or points WEIGHT@EPOCH such as 10@0,2@50"
            ) from None
        for epoch, weight in points:
            if not (math.isfinite(weight) and weight >= 0 and math.isfinite(epoch)):
                raise ArgumentError(f"{name} is {given!r}: give finite weights of 0 or more")
        if any(later[0] < earlier[0] for earlier, later in pairwise(points)):
            raise ArgumentError(f"{name} is '{given}': the epochs must not decrease")
        return cls(points)

    def __call__(self, epoch: float) -> float:
        """Return the weight at an epoch."""
        past = [point for point in self.points if point[0] <= epoch]
        future = [point for point in self.points if point[0] > epoch]
        if not (past and future):
            return (past[-1] if past else future[0])[1]
        (start, weight), (end, target) = past[-1], future[0]
        return weight + (target - weight) * (epoch - start) / (end - start)

    def __str__(self) -> str:
        if len(self.points) == 1:
            return _digits(self.points[0][1])
        return ",".join(f"{_digits(weight)}@{_digits(epoch)}" for epoch, weight in self.points)


def _digits(number: float) -> str:
    """Return the shortest text that :func:`float` reads as the same number."""
    return repr(float(number)).removesuffix(".0")
