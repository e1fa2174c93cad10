"""The top of a direction: how much smaller, faster and worse each student is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dominate import tags

from ..results import Latency, Measure, NetworkCost, Subject
from .comparison import compare, difference_text, rank
from .formatting import limits, number, prefixed, ratio_of, times
from .view import View


@dataclass(frozen=True)
class Figure:
    """A large number.

    Attributes:
        value: the number.
        meaning: what it is, e.g. ``"smaller"``.
        detail: the values that it was computed from.
        unit: e.g. ``"dB"``.
        verdict: whether it is better or worse, and beyond the noise.
        tone: CSS class of the verdict.
    """

    value: str
    meaning: str
    detail: str = ""
    unit: str = ""
    verdict: str = ""
    tone: str = "noise"


def headline(view: View) -> None:
    """Add a card for each student, and a sentence on the difference between the students."""
    with tags.div(cls="students"):
        for student in view.students:
            with tags.section(cls="card student"):
                tags.h3(view.name(student.key))
                if student.description:
                    tags.p(student.description, cls="soft")
                with tags.div(cls="figures"):
                    for figure in figures(view, student):
                        _figure(figure)
    if sentence := ranking_sentence(view):
        tags.p(sentence, cls="ranking")


def figures(view: View, student: Subject) -> list[Figure]:
    """Return a student's large numbers: parameters, MACs and latency beside the teacher's, and the first measure."""
    cost, teacher = student.cost, view.teacher.cost if view.teacher else None
    found: list[Figure | None] = []
    if cost:
        found += [_params(cost, teacher), _macs(cost, teacher), _latency(cost, teacher)]
    if view.direction.measures:
        found.append(_quality(view, student, view.direction.measures[0]))
    return [figure for figure in found if figure]


def ranking_sentence(view: View) -> str:
    """Return which student is best in the first measure and whether that is real; "" for fewer than two students."""
    measure = view.direction.measures[0] if view.direction.measures else None
    ranking = rank(measure, view.students) if measure else None
    if not measure or not ranking:
        return ""
    best, other = view.label(ranking.best), view.label(ranking.next)
    if not ranking.verdict:
        return (
            f"Between the students, {best} has the best {measure.title}, {other} the next. Their difference was not "
            "computed, so it may be noise."
        )
    difference = difference_text(measure, ranking.verdict)
    if ranking.verdict.better:
        return (
            f"Between the students: {best} has the best {measure.title}; the difference from {other} is {difference}."
        )
    return (
        f"Between the students: no difference beyond the noise in {measure.title} between the best, {best}, and the "
        f"next, {other}: {difference}."
    )


def same_latency(cost: NetworkCost | None, latency: Latency) -> Latency | None:
    """Return the latency of a network that was measured on the same device, at the same size and batch."""
    where = (latency.device, latency.size, latency.batch)
    found = (other for other in cost.latencies if (other.device, other.size, other.batch) == where) if cost else ()
    return next(iter(found), None)


def _figure(figure: Figure) -> None:
    with tags.div(cls="figure"):
        with tags.strong(figure.value):
            if figure.unit:
                tags.span(figure.unit, cls="unit")
        tags.span(figure.meaning, cls="meaning")
        if figure.verdict:
            tags.span(figure.verdict, cls=f"verdict {figure.tone}")
        if figure.detail:
            tags.small(figure.detail)


def _ratio(ratio: float, less: str, more: str) -> tuple[str, str]:
    return (times(ratio), less) if ratio >= 1 else (times(1 / ratio), more)


def _params(cost: NetworkCost, teacher: NetworkCost | None) -> Figure | None:
    ratio = ratio_of(teacher.params, cost.params) if teacher else None
    if teacher and ratio:
        detail = f"{prefixed(cost.params)} of {prefixed(teacher.params)} parameters"
        return Figure(*_ratio(ratio, "smaller", "larger"), detail)
    return Figure(prefixed(cost.params), "parameters") if cost.params is not None else None


def _macs(cost: NetworkCost, teacher: NetworkCost | None) -> Figure | None:
    same = teacher is not None and teacher.size == cost.size
    ratio = ratio_of(teacher.macs, cost.macs) if teacher and same else None
    if teacher and ratio:
        detail = f"{prefixed(cost.macs)} of {prefixed(teacher.macs)} MACs at {cost.size} px"
        return Figure(*_ratio(ratio, "less compute", "more compute"), detail)
    return Figure(prefixed(cost.macs), "MACs", f"at {cost.size} px") if cost.macs is not None else None


def _latency(cost: NetworkCost, teacher: NetworkCost | None) -> Figure | None:
    pairs = [(latency, same_latency(teacher, latency)) for latency in cost.latencies]
    if not pairs:
        return None
    mine, theirs = next((pair for pair in pairs if pair[1]), pairs[0])
    where = f"{mine.device}, {mine.size} px, batch {mine.batch}"
    ratio = ratio_of(theirs.seconds.value, mine.seconds.value) if theirs else None
    if not theirs or not ratio:
        return Figure(prefixed(mine.seconds.value, "s"), "an image" if mine.batch == 1 else "a batch", where)
    detail = f"{prefixed(mine.seconds.value, 's')} instead of {prefixed(theirs.seconds.value, 's')}: {where}"
    figure = Figure(*_ratio(ratio, "faster", "slower"), detail)
    overlap = mine.seconds.low <= theirs.seconds.high and theirs.seconds.low <= mine.seconds.high
    if overlap:
        return replace(figure, verdict="no difference beyond the noise: the quartiles overlap")
    return figure


def _quality(view: View, student: Subject, measure: Measure) -> Figure | None:
    value = measure.values.get(student.key)
    if value is None:
        return None
    ends = limits(value, measure.digits)
    teacher = view.teacher
    theirs = measure.values.get(teacher.key) if teacher else None
    detail = f"against {measure.against}, {'higher' if measure.higher_is_better else 'lower'} is better"
    if theirs and measure.against != "teacher":
        detail += f"; the teacher has {number(theirs.value, measure.digits)}"
    verdict, tone = _against_teacher(measure, student, teacher if theirs else None)
    return Figure(
        number(value.value, measure.digits),
        f"{measure.title} ({ends})" if ends else measure.title,
        detail,
        measure.unit,
        verdict,
        tone,
    )


def _against_teacher(measure: Measure, student: Subject, teacher: Subject | None) -> tuple[str, str]:
    if teacher is None or measure.against == "teacher":
        return "", "noise"
    verdict = compare(measure, student.key, teacher.key)
    if verdict is None:
        return "difference from the teacher not computed", "noise"
    if verdict.better is None:
        return "no difference from the teacher beyond the noise", "noise"
    word = "better" if verdict.better else "worse"
    return f"{word} than the teacher: {difference_text(measure, verdict)}", verdict.tone
