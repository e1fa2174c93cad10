"""The table of costs."""

from __future__ import annotations

from dominate import tags

from ..results import Latency, NetworkCost
from .formatting import ABSENT, prefixed, ratio_of, times
from .headline import same_latency
from .view import View

_Cell = tuple[str, str, str]
_EMPTY: _Cell = (ABSENT, "", "")


def cost_table(view: View) -> None:
    """Add the costs of all networks, with their ratios to the teacher."""
    subjects = [subject for subject in view.direction.subjects if subject.cost]
    costs = [subject.cost for subject in subjects if subject.cost]
    teacher = view.teacher.cost if view.teacher else None
    places = list(dict.fromkeys((lat.device, lat.size, lat.batch) for cost in costs for lat in cost.latencies))
    sizes = list(dict.fromkeys(cost.size for cost in costs))
    with tags.div(cls="card scroll"), tags.table():
        with tags.thead(), tags.tr():
            tags.th()
            tags.th("parameters")
            for size in sizes:
                tags.th("MACs", tags.small(f"at {size} px"))
            tags.th("file")
            tags.th("peak memory")
            for device, size, batch in places:
                tags.th("latency", tags.small(f"{device}, {size} px, batch {batch}"))
        with tags.tbody():
            for subject, cost in zip(subjects, costs, strict=True):
                with tags.tr():
                    tags.th(view.name(subject.key))
                    for cell in _cells(cost, None if cost is teacher else teacher, sizes, places):
                        _td(cell)
    tags.p(
        "Ratios are the teacher's value divided by the network's, rounded down: 2.0\u00d7 is half. MACs are "
        "multiply-accumulates for one image. Latencies are medians, with the quartiles below.",
        cls="soft",
    )


def _cells(
    cost: NetworkCost, teacher: NetworkCost | None, sizes: list[int], places: list[tuple[str, int, int]]
) -> list[_Cell]:
    def cell(mine: int | None, theirs: int | None, unit: str = "") -> _Cell:
        return (prefixed(mine, unit), _ratio(theirs, mine), "") if mine is not None else _EMPTY

    cells = [cell(cost.params, teacher.params if teacher else None)]
    for size in sizes:
        same = teacher is not None and teacher.size == size
        cells.append(cell(cost.macs, teacher.macs if teacher and same else None) if cost.size == size else _EMPTY)
    cells.append(cell(cost.file_size, teacher.file_size if teacher else None, "B"))
    cells.append(cell(cost.peak_memory, teacher.peak_memory if teacher else None, "B"))
    found = {(lat.device, lat.size, lat.batch): lat for lat in cost.latencies}
    return cells + [_latency(found[place], teacher) if place in found else _EMPTY for place in places]


def _latency(latency: Latency, teacher: NetworkCost | None) -> _Cell:
    other = same_latency(teacher, latency)
    seconds = latency.seconds
    quartiles = f"{prefixed(seconds.low, 's')} to {prefixed(seconds.high, 's')}"
    return prefixed(seconds.value, "s"), _ratio(other.seconds.value if other else None, seconds.value), quartiles


def _ratio(theirs: float | None, mine: float | None) -> str:
    """Return the ratio; below 1 with two decimals, as a network may cost more than the teacher."""
    ratio = ratio_of(theirs, mine)
    return "" if ratio is None else times(ratio) if ratio >= 1 else f"{ratio:.2f}\u00d7"


def _td(cell: _Cell) -> None:
    value, ratio, interval = cell
    with tags.td():
        tags.span(value)
        if ratio:
            tags.span(ratio, cls="ratio bad" if ratio.startswith("0.") else "ratio good")
        if interval:
            tags.small(interval)
