"""Limits on what a student costs, as text: read and printed without PyTorch, which takes seconds to import."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import ArgumentError, unknown_name

__all__ = ["MEASURES", "Budget", "Limit", "amount", "parse_budget", "parse_limit"]

MEASURES = ("params", "macs", "size", "latency")
_UNITS = {
    "params": {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9},
    "macs": {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12},
    "size": {"": 1e6, "kb": 1e3, "mb": 1e6, "gb": 1e9},
    "latency": {"": 1e-3, "us": 1e-6, "ms": 1e-3, "s": 1.0},
}
_EXAMPLES = {"params": "1.6M or 7x", "macs": "8G or 7x", "size": "4MB or 7x", "latency": "50ms or 3x"}


@dataclass(frozen=True)
class Limit:
    """An upper limit: an amount, or how many times less than the teacher's."""

    amount: float
    relative: bool
    text: str

    def absolute(self, teacher: float) -> float:
        """Return the amount allowed beside a teacher that takes so much."""
        return teacher / self.amount if self.relative else self.amount


Budget = Mapping[str, Limit]


def parse_limit(measure: str, text: str, name: str = "") -> Limit:
    """Read one limit of a budget.

    >>> parse_limit("params", "1.6M").amount, parse_limit("latency", "50ms").amount
    (1600000.0, 0.05)
    >>> parse_limit("macs", "7x")
    Limit(amount=7.0, relative=True, text='7x')

    Args:
        measure: one of ``params``, ``macs``, ``size`` (MB where no unit is given), ``latency`` (ms likewise).
        text: a number above 0, with a unit, or with ``x`` for so many times less than the teacher.
        name: what to call the measure in an error, if not so.

    Raises:
        ArgumentError: not an amount of that kind.
    """
    if measure not in MEASURES:
        raise ArgumentError(unknown_name("measure of a budget", measure, MEASURES))
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([a-z]*)", text.strip().lower())
    units = {**_UNITS[measure], "x": 1.0}
    if not found or found[2] not in units or float(found[1]) == 0:
        raise ArgumentError(f"{name or measure} {text}: give an amount such as {_EXAMPLES[measure]}")
    return Limit(float(found[1]) * units[found[2]], found[2] == "x", text.strip())


def parse_budget(text: str) -> dict[str, Limit]:
    """Read a budget, ``macs=7x`` or several limits as ``macs=8G,params=1.6M``.

    Raises:
        ArgumentError: an entry is no ``measure=amount``, or a measure comes twice.
    """
    budget: dict[str, Limit] = {}
    for entry in text.split(","):
        measure, equals, amount = (part.strip() for part in entry.partition("="))
        if not equals:
            raise ArgumentError(f"'{entry}' is no limit: give e.g. macs=7x or macs=8G,params=1.6M")
        if measure in budget:
            raise ArgumentError(f"{measure} is limited twice in '{text}'")
        budget[measure] = parse_limit(measure, amount)
    return budget


def amount(measure: str, value: float) -> str:
    """Return an amount of a measure for people.

    >>> amount("params", 1605699), amount("macs", 7.26e9), amount("size", 6.44e6), amount("latency", 0.0421)
    ('1.606 M', '7.26 G', '6.44 MB', '42.1 ms')
    """
    if measure in ("size", "latency"):
        return f"{value / 1e6:.2f} MB" if measure == "size" else f"{value * 1e3:.{1 if value >= 1e-3 else 4}f} ms"
    unit, digits = (1e6, 3) if measure == "params" else (1e9, 2)
    while value < unit / 100 and unit > 1e3:  # small ones in the next smaller unit
        unit /= 1e3
    return f"{value / unit:.{digits}f} { {1e9: 'G', 1e6: 'M', 1e3: 'K'}[unit] }"
