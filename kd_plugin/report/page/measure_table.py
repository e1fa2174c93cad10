"""Tables of measures: a row per subject, the paired differences, and how each was computed."""

from __future__ import annotations

from collections.abc import Sequence

from dominate import tags

from ...metrics.intervals import Interval
from ..results import Measure
from .comparison import best_student, compare, difference_text
from .formatting import ABSENT, limits, number
from .view import View


def measures_of(view: View) -> list[Measure]:
    """Return the changes of the stability study as measures; the row of the input is its own change."""
    inputs = [subject.key for subject in view.direction.subjects if subject.role == "input"]
    made = []
    for entry in view.direction.stability:
        own = Interval(entry.expected, entry.expected, entry.expected)
        values = {(inputs or ["the input itself"])[0]: own, **entry.values}
        made.append(Measure(entry.title, entry.title, "", False, "the unchanged input", 2, values, entry.differences))
    return made


def measure_table(view: View, measures: Sequence[Measure]) -> None:
    """Add the table of values, grouped by what the images are compared with, and the table of differences."""
    groups: dict[str, list[Measure]] = {}
    for measure in measures:
        groups.setdefault(measure.against, []).append(measure)
    columns = [measure for group in groups.values() for measure in group]
    keys = view.order({key: None for measure in columns for key in measure.values})
    with tags.div(cls="card scroll"), tags.table():
        _head(groups)
        with tags.tbody():
            for key in keys:
                with tags.tr():
                    tags.th(view.name(key))
                    for position, measure in enumerate(columns):
                        _value(view, measure, key, _starts(groups, position))
    compared = {against: [m for m in group if m.differences] for against, group in groups.items()}
    compared = {against: group for against, group in compared.items() if group}
    if compared:
        tags.h4("Paired differences")
        _differences(view, compared)


def notes(measures: Sequence[Measure]) -> None:
    """Add the cautions about the values."""
    cautions = [measure for measure in measures if measure.note]
    if cautions:
        with tags.ul(cls="notes"):
            for measure in cautions:
                tags.li(tags.b(_title(measure)), f": {measure.note}")


def protocols(measures: Sequence[Measure]) -> None:
    """Add how each measure was computed, folded."""
    if not any(measure.protocol for measure in measures):
        return
    with tags.details(cls="card"):
        tags.summary("How each measure was computed")
        for measure in measures:
            if measure.protocol:
                tags.h4(_title(measure))
                facts(measure.protocol)


def facts(entries: dict[str, str]) -> None:
    """Add a list of names and values."""
    with tags.dl():
        for name, text in entries.items():
            tags.dt(name)
            tags.dd(text)


def _title(measure: Measure) -> str:
    return f"{measure.title}, against {measure.against}"


def _starts(groups: dict[str, list[Measure]], position: int) -> bool:
    """Whether the column is the first of its group."""
    start = 0
    for group in groups.values():
        if position == start:
            return True
        start += len(group)
    return False


def _head(groups: dict[str, list[Measure]]) -> None:
    with tags.thead():
        with tags.tr():
            tags.th()
            for against, group in groups.items():
                tags.th(f"against {against}", colspan=len(group), scope="colgroup", cls="group first")
        with tags.tr():
            tags.th()
            for group in groups.values():
                for position, measure in enumerate(group):
                    arrow = "\u2191" if measure.higher_is_better else "\u2193"
                    with tags.th(scope="col", cls="first" if position == 0 else ""):
                        tags.span(f"{measure.title} {arrow}")
                        tags.small(measure.unit)


def _value(view: View, measure: Measure, key: str, first: bool) -> None:
    value = measure.values.get(key)
    best = value is not None and best_student(measure, view.students) == key
    with tags.td(cls=" ".join(name for name, on in (("first", first), ("best", best)) if on)):
        if value is None:
            tags.span(ABSENT, cls="soft")
            return
        tags.span(number(value.value, measure.digits), cls="value", title="best student" if best else "")
        tags.small(limits(value, measure.digits))


def _differences(view: View, groups: dict[str, list[Measure]]) -> None:
    columns = [measure for group in groups.values() for measure in group]
    pairs: list[tuple[str, str]] = []
    for difference in (difference for measure in columns for difference in measure.differences):
        pair = (difference.first, difference.second)
        if pair not in pairs and pair[::-1] not in pairs:
            pairs.append(pair)
    with tags.div(cls="card scroll"), tags.table(cls="differences"):
        _head(groups)
        with tags.tbody():
            for first, second in pairs:
                with tags.tr():
                    tags.th(view.name(first), tags.span("compared with", cls="beside"), view.name(second))
                    for position, measure in enumerate(columns):
                        _difference(measure, first, second, _starts(groups, position))


def _difference(measure: Measure, first: str, second: str, starts: bool) -> None:
    verdict = compare(measure, first, second)
    with tags.td(cls="first" if starts else ""):
        if verdict is None:
            tags.span(ABSENT, cls="soft")
            return
        words = {True: "better", False: "worse", None: "no difference beyond the noise"}
        text, _, ends = difference_text(measure, verdict).partition(" (")
        tags.span(text, cls="value")
        tags.small(ends.rstrip(")"))
        tags.span(words[verdict.better], cls=f"verdict {verdict.tone}")
