"""Draw ``index.html`` from a report. It loads nothing from the network and opens from a disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dominate import document, tags
from dominate.util import raw

from ...files import write_text_atomically
from ..results import Problem, Report
from .charts import band_chart, spectrum_chart
from .cost_table import cost_table
from .headline import headline
from .measure_table import facts, measure_table, measures_of, notes, protocols
from .pareto import has_trade_off, trade_off
from .relations import has_relations, relations, write_relations
from .samples import samples
from .view import View, colour_style, views

_HERE = Path(__file__).parent
_Section = tuple[str, str, Callable[[View], None]]


@dataclass(frozen=True)
class Extra:
    """A section of the page that is not of a report.

    Attributes:
        title: heading.
        draw: adds the contents.
    """

    title: str
    draw: Callable[[View], None]


def write_page(report: Report, folder: Path, extras: Sequence[Extra] = (), refresh: int = 0) -> Path:
    """Write ``index.html``, and ``relations.js`` if samples have relation matrices.

    Args:
        report: the results. Their images are files below ``folder``.
        folder: an existing folder.
        extras: further sections of the first direction.
        refresh: seconds after which a browser loads the page again; 0 for never.

    Returns:
        The path of the page.

    Raises:
        KDError: a relation matrix is missing or unreadable.
    """
    shown = views(report)
    write_relations(shown, folder)
    page = document(title=report.title)
    page["lang"] = "en"
    with page.head:
        tags.meta(charset="utf-8")
        tags.meta(name="viewport", content="width=device-width, initial-scale=1")
        if refresh:
            tags.meta(http_equiv="refresh", content=str(refresh))
        tags.style(raw((_HERE / "page.css").read_text(encoding="utf-8")))
        tags.style(raw(colour_style(report)))
    with page, tags.main():
        _top(report)
        with tags.div(cls="directions"):
            for view in shown:
                _direction(view, extras if view is shown[0] else (), alone=len(shown) == 1)
        if report.problems:
            _problems(report.problems)
        if report.settings:
            tags.h2("Settings", id="settings")
            with tags.div(cls="card"):
                facts(report.settings)
        if report.commands:
            tags.h2("Commands", id="commands")
            with tags.div(cls="card"):
                for command in report.commands:
                    tags.pre(command)
        tags.script(raw((_HERE / "page.js").read_text(encoding="utf-8")))
    # A file name that is not UTF-8 has surrogates in Python, which no encoding takes.
    text = page.render().encode("utf-8", "backslashreplace").decode("utf-8")
    file = folder / "index.html"
    write_text_atomically(file, text)
    return file


def _top(report: Report) -> None:
    tags.h1(report.title)
    for text in report.texts:
        tags.p(text)
    if report.problems:
        missing = sum(problem.fatal for problem in report.problems)
        others = len(report.problems) - missing
        counts = [f"{missing} left out"] if missing else []
        counts += [f"{others} {'note' if others == 1 else 'notes'}"] if others else []
        tags.p(tags.a(f"Problems: {', '.join(counts)}", href="#problems"), cls="alert" if missing else "soft")


def _direction(view: View, extras: Sequence[Extra], *, alone: bool) -> None:
    direction = view.direction
    with tags.section(cls="direction", id=view.id("direction"), data_name=direction.name):
        if not alone:
            tags.h2(direction.name, cls="direction-name")
        found = list(_sections(view, extras))
        images = f"{direction.images:,} {'image' if direction.images == 1 else 'images'}"
        tags.p(f"{images}, {direction.name}", cls="soft", title=f"SHA-256 {direction.sha256}")
        headline(view)
        with tags.nav(cls="contents"):
            for title, name, _ in found:
                tags.a(title, href=f"#{view.id(name)}")
        for title, name, draw in found:
            with tags.section():
                tags.h2(title, id=view.id(name))
                draw(view)


def _sections(view: View, extras: Sequence[Extra]) -> Iterator[_Section]:
    """Yield the sections that have contents."""
    direction = view.direction
    if any(subject.cost for subject in direction.subjects):
        yield "Cost", "cost", cost_table
    if direction.measures:
        yield "Quality", "quality", _quality
    if has_trade_off(view):
        yield "Trade-off", "trade-off", trade_off
    if direction.frequency:
        yield "Frequency", "frequency", _frequency
    if has_relations(view):
        yield "Relations", "relations", relations
    if direction.stability:
        yield "Stability", "stability", _stability
    for number, extra in enumerate(extras):
        yield extra.title, f"extra{number}", extra.draw
    if direction.samples:
        yield "Samples", "samples", samples
    yield "Compared", "compared", _compared


def _quality(view: View) -> None:
    measures = view.direction.measures
    measure_table(view, measures)
    tags.p(
        "↑ higher is better, ↓ lower is better; 95 % intervals. A star marks the best student, where its difference "
        "to the next exceeds the noise. Intervals are over the images: another seed of a training can change its "
        "results by more.",
        cls="soft",
    )
    notes(measures)
    protocols(measures)


def _frequency(view: View) -> None:
    frequency = view.direction.frequency
    if frequency is None:
        return
    if frequency.bands:
        with tags.div(cls="card whole"):
            tags.h3(f"Error by wavelet band, against {frequency.against}")
            view.legend(view.order(frequency.bands))
            band_chart(view, frequency)
            tags.p(
                f"Wavelet: {frequency.wavelet}. L1 distance relative to the norm of the band, with 95 % intervals. "
                "LL is the approximation; LH, HL and HH are details, of which level 1 is the finest. The error of an "
                "empty band is 1.",
                cls="soft",
            )
    if frequency.spectra:
        with tags.div(cls="card whole"):
            tags.h3("Radial power spectrum, log10 of the mean power")
            view.legend(view.order(frequency.spectra))
            spectrum_chart(view, frequency)


def _stability(view: View) -> None:
    measure_table(view, measures_of(view))
    tags.p(
        "Mean absolute change of the outputs in 8-bit steps, beyond the shift itself, if the input is changed as the "
        "column says; the row of the input is its own change. Less is steadier: a viewer of a video sees changes as "
        "flicker.",
        cls="soft",
    )


def _compared(view: View) -> None:
    with tags.div(cls="card"), tags.dl():
        for subject in view.direction.subjects:
            tags.dt(view.name(subject.key))
            with tags.dd():
                tags.span(", ".join(text for text in (subject.role, subject.description) if text))
                if subject.source:
                    tags.code(subject.source)
        tags.dt("inputs")
        count, digest = view.direction.images, view.direction.sha256
        listed = f"{count:,} image{'' if count == 1 else 's'}"
        tags.dd(tags.span(f"{listed}, SHA-256"), tags.code(digest)) if digest else tags.dd(listed)


def _problems(problems: tuple[Problem, ...]) -> None:
    tags.h2("Problems", id="problems")
    with tags.div(cls="card"), tags.ul(cls="problems"):
        for problem in problems:
            with tags.li(cls="left-out" if problem.fatal else "note"):
                tags.b(problem.what)
                tags.span("left out" if problem.fatal else "note", cls="kind")
                tags.span(problem.reason)
