"""Numbers as text for a reader."""

from __future__ import annotations

import math

from ...metrics.intervals import Interval

ABSENT = "\u2013"
_MINUS = "\u2212"


def number(value: float, digits: int, *, signed: bool = False) -> str:
    """Return a number with a fixed count of decimals; "n/a" for NaN, and an infinity sign for infinity.

    >>> number(-1234.56, 1), number(-0.001, 2), number(math.inf, 2), number(0.5, 1, signed=True)
    ('\u22121,234.6', '0.00', '\u221e', '+0.5')
    """
    if math.isnan(value):
        return "n/a"
    text = "\u221e" if math.isinf(value) else f"{abs(value):,.{digits}f}"
    if not any(digit in text for digit in "123456789\u221e"):
        return text
    return (_MINUS if value < 0 else "+" if signed else "") + text


def limits(interval: Interval, digits: int, *, signed: bool = False) -> str:
    """Return the ends of an interval, or "" if it says nothing: an end is NaN, or both are equal.

    >>> limits(Interval(1.0, 0.5, 1.5), 1), limits(Interval(1.0, math.nan, math.nan), 1)
    ('0.5 to 1.5', '')
    """
    ends = (interval.low, interval.high)
    if any(math.isnan(end) for end in ends) or interval.low == interval.high:
        return ""
    return " to ".join(number(end, digits, signed=signed) for end in ends)


def prefixed(value: float | None, unit: str = "") -> str:
    """Return three significant digits with a prefix of powers of 1000, that a line does not break.

    >>> prefixed(11_378_179), prefixed(56.9e9, "B"), prefixed(0.0123, "s"), prefixed(999_999), prefixed(None)
    ('11.4\\xa0M', '56.9\\xa0GB', '12.3\\xa0ms', '1.00\\xa0M', '\u2013')
    """
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return number(value, 0)
    if value <= 0:
        return f"{number(value, 0)}\u00a0{unit}".rstrip()
    power = math.floor(math.log10(float(f"{value:.2e}")) / 3 + 1e-9)
    power = min(max(power, -3), 4)
    scaled = value / 1000.0**power
    digits = max(2 - math.floor(math.log10(float(f"{scaled:.2e}")) + 1e-9), 0)
    if power == 0 and float(value).is_integer():
        digits = 0
    prefix = {-3: "n", -2: "\u00b5", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T"}[power]
    return f"{scaled:.{digits}f}\u00a0{prefix}{unit}".rstrip()


def times(ratio: float) -> str:
    """Return a ratio of at least 1, rounded down, so that no saving is overstated.

    >>> times(7.29), times(11.9), times(1.0)
    ('7.2\u00d7', '11\u00d7', '1.0\u00d7')
    """
    steps = 10 if ratio < 10 else 1
    return f"{math.floor(ratio * steps + 1e-9) / steps:,.{1 if steps > 1 else 0}f}\u00d7"


def ratio_of(teacher: float | None, student: float | None) -> float | None:
    """Return ``teacher / student``, or None where one of them is missing, not positive or not finite."""
    if teacher is None or student is None:
        return None
    if not (math.isfinite(teacher) and math.isfinite(student) and teacher > 0 and student > 0):
        return None
    return teacher / student
