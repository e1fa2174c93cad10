"""Limits on the cost of a student: parsed and formatted without PyTorch, which takes seconds to import."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ArgumentError, unknown_name

MEASURES = ("params", "macs", "file_size", "latency")
_UNITS = {
    "params": {"k": 1e3, "m": 1e6, "g": 1e9},
    "macs": {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12},
    "file_size": {"kb": 1e3, "mb": 1e6, "gb": 1e9},
    "latency": {"us": 1e-6, "ms": 1e-3, "s": 1.0},
}
_EXAMPLES = {"params": "1.6M or 7x", "macs": "8G or 7x", "file_size": "4MB or 7x", "latency": "50ms or 3x"}
_USUAL = {"params": "M", "macs": "G", "file_size": "MB", "latency": "ms"}  # suggested for a number without a unit
_ALIASES = {"size": "file_size"}


@dataclass(frozen=True)
class Limit:
    """An upper limit: an amount, or a factor below the teacher's.

    Attributes:
        amount: the amount, in seconds or units, or the factor.
        relative: whether it is a factor.
        text: as the user gave it.
        device: of a latency, the file of the times on the device that it is for; "" for this machine.
    """

    amount: float
    relative: bool
    text: str
    device: str = ""

    def absolute(self, teacher: float) -> float:
        """Return the allowed amount, given that of the teacher."""
        return teacher / self.amount if self.relative else self.amount


Budget = Mapping[str, Limit]


def parse_limit(measure: str, text: str, name: str = "") -> Limit:
    """Parse one limit of a budget.

    >>> parse_limit("params", "1.6M").amount, parse_limit("latency", "50ms").amount
    (1600000.0, 0.05)
    >>> parse_limit("macs", "7x")
    Limit(amount=7.0, relative=True, text='7x', device='')
    >>> parse_limit("latency", "30ms@device.json").device
    'device.json'

    Args:
        measure: one of :data:`MEASURES`.
        text: a positive number with a unit, or with ``x`` for a factor below the teacher; of a latency, ``@`` and the
            file of the times on a device may follow.
        name: name of the measure in an error message; the measure by default.

    Raises:
        ArgumentError: If it is not an amount of the measure; for a number without a unit, the message suggests units.
    """
    if measure not in MEASURES:
        raise ArgumentError(unknown_name("measure of a budget", measure, MEASURES))
    name = name or measure
    number, at, device = (part.strip() for part in text.partition("@"))
    if at and measure != "latency":
        raise ArgumentError(f"{name} {text}: only a latency depends on a device: remove @{device}")
    if at and not device:
        raise ArgumentError(f"{name} {text}: name the file of the device's times after the @: {number}@device.json")
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([a-z]*)", number.lower())
    units = {**_UNITS[measure], "x": 1.0}
    value = float(found[1]) * units.get(found[2], 1.0) if found else 0.0
    if found and not found[2] and 0 < value < math.inf:
        raise ArgumentError(f"{name} {text}: a number needs a unit: did you mean {_with_unit(measure, found[1])}?")
    if not found or found[2] not in units or not 0 < value < math.inf:
        raise ArgumentError(f"{name} {text}: give an amount such as {_EXAMPLES[measure]}")
    return Limit(value, found[2] == "x", text.strip(), device)


def _with_unit(measure: str, number: str) -> str:
    """Return suggestions for a number without a unit."""
    if measure != "latency" and float(number) >= 1000:
        return amount(measure, float(number)).replace(" ", "")
    return f"{number}x ({number} times less than the teacher) or {number}{_USUAL[measure]}"


def parse_budget(text: str) -> dict[str, Limit]:
    """Parse a budget: limits such as ``macs=8G,latency=30ms@device.json``; ``7x`` is short for ``macs=7x``.

    Raises:
        ArgumentError: If an entry is not a limit, or a measure occurs twice.
    """
    budget: dict[str, Limit] = {}
    for entry in text.split(","):
        limit, at, device = entry.partition("@")  # the name of a file may contain an =
        measure, equals, amount = (part.strip() for part in limit.rpartition("="))
        if not equals and re.fullmatch(r"[\d.]+x?", amount.lower()):
            measure = "macs"
        elif not equals:
            raise ArgumentError(f"'{entry}' is not a limit: give e.g. 7x (MACs), or macs=8G,params=1.6M")
        measure = _ALIASES.get(measure, measure)
        if measure in budget:
            raise ArgumentError(f"{measure} is limited twice in '{text}'")
        budget[measure] = parse_limit(measure, amount + at + device)
    return budget


def amount(measure: str, value: float, round_up: bool = False) -> str:
    """Return a formatted amount of a measure, rounded to the nearest or, as a limit that allows the value, up.

    >>> amount("params", 1605699), amount("macs", 7.26e9), amount("file_size", 6.44e6), amount("latency", 0.0421)
    ('1.606 M', '7.26 G', '6.44 MB', '42.1 ms')
    >>> amount("params", 1605001, round_up=True)
    '1.606 M'
    """
    if measure == "latency":
        unit, name, digits = 1e-3, "ms", 1 if value >= 1e-3 else 4
    elif measure == "file_size":
        unit, name, digits = 1e6, "MB", 2
    else:
        unit, digits = (1e6, 3) if measure == "params" else (1e9, 2)
        while value < unit / 100 and unit > 1e3:  # small amounts in a smaller unit
            unit /= 1e3
        name = {1e9: "G", 1e6: "M", 1e3: "K"}[unit]
    number = value / unit
    if round_up:
        number = math.ceil(number * 10**digits) / 10**digits
    return f"{number:.{digits}f} {name}"
