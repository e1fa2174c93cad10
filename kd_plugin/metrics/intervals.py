"""Confidence intervals by bootstrap over images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A value and its interval.

    Attributes:
        value: the estimate.
        low: lower end of the 95 % confidence interval.
        high: upper end.
    """

    value: float
    low: float
    high: float
