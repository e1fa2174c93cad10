"""The table of results as plain text."""

from __future__ import annotations

from results import COLUMNS, Results, Row, best_student, gaps


def ratio(results: Results, row: Row) -> str:
    """Return the teacher's number of parameters divided by that of a generator."""
    largest = max(r.cost.params for r in results.rows if r.cost)
    return f"{largest / row.cost.params:.1f}x" if row.cost else ""


def table(results: Results) -> str:
    """Return the table as aligned text; a star marks the better student."""
    heads = ["", "parameters", "smaller", "MACs", *(column.title + " " for column in COLUMNS)]
    lines = [heads]
    for row in results.rows:
        cost = row.cost
        line = [row.label]
        line += [f"{cost.params:,}", ratio(results, row), f"{cost.macs / 1e6:.0f} M"] if cost else ["", "", ""]
        for column in COLUMNS:
            star = "*" if best_student(results, column) == row.name else " "
            line.append(column.text(row.quality) + star)
        lines.append(line)
    closed = gaps(results)
    lines.append(["gap closed", "", "", "", *(gap_text(closed[column.title]) + " " for column in COLUMNS)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    form = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])])
    return "\n".join(form.format(*line).rstrip() for line in lines)


def gap_text(closed: float | None) -> str:
    """Return a fraction of a gap as a percentage, limited to 100%, as one seed does not support more."""
    if closed is None:
        return "no gap"
    return "over 100%" if closed > 1 else "under -100%" if closed < -1 else f"{closed:.0%}"
