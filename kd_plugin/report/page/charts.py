"""Charts as inline SVG. Horizontal coordinates are percentages and text has a fixed size, so they fit any width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dominate import svg, tags

from ..results import Frequency
from .formatting import ABSENT, limits, number
from .view import View

_HEIGHT, TOP, BOTTOM = 250, 16, 222  # pixels
_DASHES = ("none", "9 3", "4 3", "9 3 2 3")


def band_chart(view: View, frequency: Frequency) -> None:
    """Add a bar chart with a group for each band, and its values as a folded table."""
    keys = view.order(frequency.bands)
    bands = list(dict.fromkeys(band for key in keys for band in frequency.bands[key]))
    ends = [end for key in keys for v in frequency.bands[key].values() for end in (v.value, v.high)]
    marks = ticks(0, max((end for end in ends if math.isfinite(end)), default=1.0))
    top = marks[-1]

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * min(max(value / top, 0.0), 1.0)

    chart = canvas(f"Error of each wavelet band for {', '.join(view.label(key) for key in keys)}; values below")
    group = 100 / max(len(bands), 1)
    bar = group * 0.84 / max(len(keys), 1)
    with chart:
        for mark in marks:
            gridline(y(mark), tick_text(mark, marks))
        for place, band in enumerate(bands):
            for position, key in enumerate(keys):
                value = frequency.bands[key].get(band)
                if value is None or not math.isfinite(value.value):
                    continue
                left = place * group + group * 0.08 + position * bar
                with svg.rect(
                    x=f"{left + bar * 0.07:.3f}%",
                    y=f"{y(value.value):.1f}",
                    width=f"{bar * 0.86:.3f}%",
                    height=f"{BOTTOM - y(value.value):.1f}",
                    style=f"fill:{view.colour(key)}",
                ):
                    svg.title(f"{view.label(key)}, {band}: {number(value.value, 3)} ({limits(value, 3)})")
                if math.isfinite(value.low) and math.isfinite(value.high):
                    x = f"{left + bar / 2:.3f}%"
                    svg.line(x1=x, x2=x, y1=f"{y(value.high):.1f}", y2=f"{y(value.low):.1f}", cls="error")
            svg.text(band, x=f"{(place + 0.5) * group:.3f}%", y=BOTTOM + 18, text_anchor="middle")
    with tags.details():
        tags.summary("Values")
        _band_table(view, frequency, keys, bands)


def spectrum_chart(view: View, frequency: Frequency) -> None:
    """Add a line chart of the radial power spectra."""
    keys = view.order(frequency.spectra)
    powers = [p for key in keys for p in frequency.spectra[key] if math.isfinite(p)]
    if not powers or not frequency.frequencies:
        return
    marks = ticks(min(powers), max(powers))
    most = max(frequency.frequencies)
    chart = canvas(
        f"Mean power of each radial frequency for {', '.join(view.label(key) for key in keys)}, "
        f"from 0 to {most:g} cycles per pixel"
    )
    with chart:
        _value_lines(marks)
        _axis([share * most for share in (0.0, 0.25, 0.5, 0.75, 1.0)], most)
        with _stretched():
            for key in keys:
                points = list(zip(frequency.frequencies, frequency.spectra[key], strict=False))
                _polylines(points, most, marks, view.colour(key), _dashes(view, key))
    tags.p("Cycles per pixel; 0.5 is the finest detail that an image can have.", cls="soft axis")


def line_chart(view: View, title: str, series: Mapping[str, Sequence[tuple[float, float]]], unit: str) -> None:
    """Add a line chart of values over the number of images.

    Args:
        view: labels and colours.
        title: of the values.
        series: points (images, value) by key of the subject.
        unit: of the values; may be empty.
    """
    values = [value for points in series.values() for _, value in points if math.isfinite(value)]
    most = max((x for points in series.values() for x, _ in points), default=0.0)
    if not most or all(len(points) < 2 for points in series.values()) or not values:
        return
    marks = ticks(min(values), max(values))
    with tags.div(cls="card"):
        tags.h3(f"{title}{f' in {unit}' if unit else ''}")
        with canvas(f"{title} over {most:,.0f} images for {', '.join(view.label(key) for key in series)}"):
            _value_lines(marks)
            _axis([0.0, most], most)
            with _stretched():
                for key, points in series.items():
                    _polylines(points, most, marks, view.colour(key), _dashes(view, key))


def _value_lines(marks: Sequence[float]) -> None:
    for mark in marks:
        gridline(BOTTOM - (BOTTOM - TOP) * (mark - marks[0]) / (marks[-1] - marks[0]), tick_text(mark, marks))


def _axis(places: Sequence[float], most: float) -> None:
    """Add numbers below a chart, from 0 to ``most``."""
    for place in places:
        anchor = "start" if place == 0 else "end" if place == most else "middle"
        text = f"{place:,.0f}" if most > 1 else f"{place:.3g}"
        svg.text(text, x=f"{100 * place / most if most else 0:g}%", y=BOTTOM + 18, text_anchor=anchor)


def _stretched() -> svg.svg:
    """Return the area of lines, stretched to the width; the strokes keep theirs."""
    height = BOTTOM - TOP
    return svg.svg(x=0, y=TOP, width="100%", height=height, viewBox=f"0 0 1000 {height}", preserveAspectRatio="none")


def _polylines(
    points: Sequence[tuple[float, float]], most: float, marks: Sequence[float], colour: str, dashes: str
) -> None:
    height = BOTTOM - TOP
    for run in _finite_runs(points):
        svg.polyline(
            points=" ".join(
                f"{1000 * x / most if most else 0:.1f},"
                f"{height * (1 - (value - marks[0]) / (marks[-1] - marks[0])):.2f}"
                for x, value in run
            ),
            style=f"stroke:{colour}",
            stroke_dasharray=dashes,
            vector_effect="non-scaling-stroke",
            cls="spectrum",
        )


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers at equal steps of 1, 2 or 5 times a power of ten, that enclose ``low`` and ``high``.

    >>> ticks(0, 0.93)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low if high > low else abs(high) or 1.0
    raw = span / 7
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(count * step, 12) for count in range(first, max(last, first + 1) + 1)]


def canvas(label: str) -> svg.svg:
    """Return an empty chart with a description for readers who do not see it."""
    chart = svg.svg(width="100%", height=_HEIGHT, role="img", cls="chart")
    chart["aria-label"] = label
    return chart


def gridline(y: float, text: str) -> None:
    """Add a horizontal line with its value."""
    svg.line(x1="0", x2="100%", y1=f"{y:.1f}", y2=f"{y:.1f}", cls="grid")
    svg.text(text, x=-6, y=f"{y + 4:.1f}", text_anchor="end", cls="tick")


def tick_text(mark: float, marks: Sequence[float]) -> str:
    """Return a value with the decimals that the distance of the marks needs."""
    return number(mark, max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9)))


def _dashes(view: View, key: str) -> str:
    """Return a pattern by role and place, so that lines differ without colours, too."""
    subject = view.subject(key)
    if subject is None or subject.role not in ("teacher", "student"):
        return "2 3"
    return _DASHES[view.students.index(subject) % len(_DASHES)] if subject.role == "student" else "none"


def _finite_runs(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if all(math.isfinite(value) for value in point):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _band_table(view: View, frequency: Frequency, keys: Sequence[str], bands: Sequence[str]) -> None:
    with tags.div(cls="scroll"), tags.table():
        with tags.thead(), tags.tr():
            tags.th()
            for band in bands:
                tags.th(band, scope="col")
        with tags.tbody():
            for key in keys:
                with tags.tr():
                    tags.th(view.name(key))
                    for band in bands:
                        value = frequency.bands[key].get(band)
                        with tags.td():
                            tags.span(ABSENT if value is None else number(value.value, 3))
                            if value is not None:
                                tags.small(limits(value, 3))
