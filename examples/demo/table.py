"""The table of results as plain text, from the numbers of the report."""

from __future__ import annotations

from kd_plugin.report.page.comparison import best_student, compare
from kd_plugin.report.page.formatting import number, prefixed, ratio_of, times
from kd_plugin.report.results import Direction, Measure, NetworkCost

TEACHER, ALONE, DISTILLED, COMPRESSED = "teacher", "student1", "student2", "student3"  # keys in the report
BANDS = ("LL3", "LH1", "HL1", "HH1")  # the approximation, and the finest details


def columns(direction: Direction) -> list[Measure]:
    """Return the columns: the measures against the ground truth, and the errors of wavelet bands."""
    found = [measure for measure in direction.measures if measure.against == "ground truth"]
    if frequency := direction.frequency:
        for band in BANDS:
            values = {key: errors[band] for key, errors in frequency.bands.items()}
            differences = frequency.differences[band]
            found.append(Measure(band, band, "", False, frequency.against, 3, values, differences))
    return found


def table(direction: Direction) -> str:
    """Return the table as aligned text; a star marks the better student, where it is better beyond the noise."""
    measures = columns(direction)
    students = [subject for subject in direction.subjects if subject.role == "student"]
    costs = {subject.key: subject.cost for subject in direction.subjects}
    lines = [["", "parameters", "smaller", "MACs", *(measure.title + " " for measure in measures)]]
    for subject in direction.subjects:
        if subject.role != "truth":
            line = [subject.label, *_cost(costs[TEACHER], subject.cost)]
            for measure in measures:
                star = "*" if best_student(measure, students) == subject.key else " "
                line.append(number(measure.values[subject.key].value, measure.digits) + star)
            lines.append(line)
    for title, key in (("gap closed, distilled", DISTILLED), ("gap closed, compressed", COMPRESSED)):
        lines.append([title, "", "", "", *(gap_text(measure, key) + " " for measure in measures)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    form = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])])
    return "\n".join(form.format(*line).rstrip() for line in lines)


def gap_closed(measure: Measure, key: str = DISTILLED) -> float | None:
    """Return the fraction of the gap between student alone and teacher that a distilled student closes.

    At 1 the distilled student is as good as the teacher, at 0 as good as the student alone, below 0 worse. None
    without a gap: the teacher is not better than the student alone by the 95 % interval of their paired difference.
    """
    verdict = compare(measure, TEACHER, ALONE)
    if not verdict or not verdict.better:
        return None
    teacher, alone, distilled = (measure.values[one].value for one in (TEACHER, ALONE, key))
    return (distilled - alone) / (teacher - alone)


def gap_text(measure: Measure, key: str = DISTILLED) -> str:
    """Return a fraction of a gap as a percentage, limited to 100%, as one seed does not support more."""
    closed = gap_closed(measure, key)
    if closed is None:
        return "no gap"
    return "over 100%" if closed > 1 else "under -100%" if closed < -1 else f"{closed:.0%}"


def _cost(teacher: NetworkCost | None, cost: NetworkCost | None) -> list[str]:
    ratio = ratio_of(teacher.params, cost.params) if teacher and cost else None
    if not cost or not ratio:
        return ["", "", ""]
    return [f"{cost.params:,}", times(ratio), prefixed(cost.macs).replace("\u00a0", " ")]
