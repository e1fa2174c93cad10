"""Tables in Markdown, and the numbers in them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from kd_plugin.errors import KDError
from kd_plugin.metrics.intervals import Interval


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def with_ends(interval: Interval, style: str) -> str:
    """Return a value in a format such as ``".0%"`` and, if they are known, the ends of its interval."""
    if math.isnan(interval.low):
        return _number(interval.value, style)
    return f"{_number(interval.value, style)} ({_number(interval.low, style)} to {_number(interval.high, style)})"


def _number(value: float, style: str) -> str:
    """Return a number in a format, without the sign of a negative one that is rounded to zero."""
    text = f"{value:{style}}"
    return text if re.search("[1-9]", text) else f"{abs(value):{style}}"


def spread(values: Sequence[float], digits: int) -> str:
    """Return mean and standard deviation over seeds."""
    if not values:
        return ""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def seeds(count: int) -> str:
    """Return a number of seeds."""
    return f"{count} seed{'' if count == 1 else 's'}"


def share(gap: tuple[Interval, int] | None) -> str:
    """Return a share of the gap closed with its number of seeds; "" for None."""
    return f"{with_ends(gap[0], '.0%')}, {seeds(gap[1])}" if gap else ""


def insert(page: str, name: str, text: str) -> str:
    """Return a page with the text between its marks of this name.

    Raises:
        KDError: it has no marks.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise KDError(f"the page has no {begin} and {end}")
    return f"{before}{begin}\n\n{text}\n{end}{after}"
