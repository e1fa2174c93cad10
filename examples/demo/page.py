"""Write the page of results, ``index.html``, which loads nothing from the network."""

from __future__ import annotations

from pathlib import Path

from dominate import document, svg, tags
from dominate.util import raw
from results import BANDS, COLUMNS, Results, Row, best_student, gaps
from table import gap_text, ratio

from kd_plugin.files import write_text_atomically

ROLES = (
    ("input", "input"),
    ("teacher", "teacher"),
    ("student_alone", "student alone"),
    ("student_distilled", "distilled student"),
    ("truth", "ground truth"),
)

_STYLE = Path(__file__).with_name("page.css")


def write_page(results: Results, file: Path) -> None:
    """Write the page; it refers to the images ``images/<crop>_<role>.png`` next to it."""
    page = document(title="kd_plugin demo: a small generator distilled from a large one")
    with page.head:
        tags.meta(charset="utf-8")
        tags.meta(name="viewport", content="width=device-width, initial-scale=1")
        tags.style(raw(_STYLE.read_text(encoding="utf-8")))
    with page, tags.main():
        _heading(results)
        tags.h2("Results on held-out photographs")
        _table(results)
        tags.h2("Error by wavelet band")
        _chart(results)
        tags.h2("Samples")
        _samples(results)
        tags.h2("Settings")
        _facts(results)
        tags.h2("Commands")
        _commands(results)
    write_text_atomically(file, page.render())


def _heading(results: Results) -> None:
    student = results.row(results.students[1])
    photographs = " and ".join(Path(name).stem for name in results.photographs["test"])
    tags.h1(f"A {ratio(results, student)[:-1]} times smaller generator, with and without a teacher")
    terms = " and ".join(results.distillation["terms"])
    tags.p(
        "A pix2pix generator was trained to restore photographs degraded to look like old prints: blurred, "
        "faded, noisy. A small one was trained twice, with the same seed, data and number of epochs: "
        f"alone, and distilled from the large one with {terms}. All results are on "
        f"{photographs}, which were held out."
    )


def _table(results: Results) -> None:
    with tags.div(cls="card scroll"), tags.table():
        with tags.thead(), tags.tr():
            for title in ("", "parameters", "smaller", f"MACs at {results.task['crop_size']} px"):
                tags.th(title)
            for column in COLUMNS:
                tags.th(f"{column.title} {'↑' if column.more_is_better else '↓'}")
        with tags.tbody():
            for row in results.rows:
                _row(results, row)
            closed = gaps(results)
            with tags.tr(cls="last"):
                tags.th("gap closed")
                for _ in range(3):
                    tags.td()
                for column in COLUMNS:
                    tags.td(gap_text(closed[column.title]))
    tags.p(
        "L1 on a scale of 0 to 1, PSNR in dB, error of each band of a one-level Haar transform relative to "
        "the norm of the band. ↑ higher is better, ↓ lower is better; a star marks the better student. Gap "
        "closed: improvement of the distilled student from the student alone (0%) to the teacher (100%). No gap: the "
        "teacher is better than the student alone by less than two standard errors over the crops. One seed: results "
        "vary between seeds.",
        cls="soft",
    )


def _row(results: Results, row: Row) -> None:
    with tags.tr():
        with tags.th():
            tags.span(cls="dot", style=f"background:var(--{row.name})")
            tags.span(row.label)
        cost = row.cost
        tags.td(f"{cost.params:,}" if cost else "")
        tags.td(ratio(results, row).replace("x", "\u00d7"))
        tags.td(f"{cost.macs / 1e6:.0f} M" if cost else "")
        for column in COLUMNS:
            tags.td(column.text(row.quality), cls="best" if best_student(results, column) == row.name else "")


def _chart(results: Results) -> None:
    """Draw a bar chart with a group for each band and a bar for each row."""
    values = {row.name: [getattr(row.quality.bands, band) for band in BANDS] for row in results.rows}
    highest = max(max(v) for v in values.values()) * 1.12
    group, bar, top, bottom = 180, 34, 10, 230

    def y(value: float) -> float:
        return bottom - (bottom - top) * float(value / highest)

    with tags.div(cls="card"):
        with tags.p(cls="soft"):
            for row in results.rows:
                with tags.span(cls="key"):
                    tags.span(cls="dot", style=f"background:var(--{row.name})")
                    tags.span(row.label)
        chart = svg.svg(viewBox=f"0 0 {len(BANDS) * group} {bottom + 30}", role="img")
        chart["aria-label"] = "error of each wavelet band, by generator"
        with chart:
            for index, band in enumerate(BANDS):
                left = index * group + (group - bar * len(results.rows)) / 2
                for place, row in enumerate(results.rows):
                    value, x = values[row.name][index], left + place * bar
                    svg.rect(
                        x=f"{x + 2:.1f}",
                        y=f"{y(value):.1f}",
                        width=bar - 4,
                        height=f"{bottom - y(value):.1f}",
                        rx=3,
                        style=f"fill:var(--{row.name})",
                    )
                    svg.text(
                        f"{value:.2f}",
                        x=f"{x + bar / 2:.1f}",
                        y=f"{y(value) - 4:.1f}",
                        text_anchor="middle",
                        style="font-size:11px",
                    )
                svg.text(band, x=index * group + group / 2, y=bottom + 20, text_anchor="middle")
            svg.line(x1=0, y1=bottom, x2=len(BANDS) * group, y2=bottom)
    tags.p(
        "LL is the approximation; LH, HL and HH are the horizontal, vertical and diagonal details. The error of "
        "a zero band is 1.",
        cls="soft",
    )


def _samples(results: Results) -> None:
    with tags.div(cls="card scroll"), tags.div(cls="grid"):
        for _, label in ROLES:
            tags.div(label)
        for sample in results.samples:
            for role, label in ROLES:
                tags.img(src=f"images/{sample}_{role}.png", alt=f"{sample}, {label}", loading="lazy")
    tags.p("The crops of each photograph with the most detail in the ground truth.", cls="soft")


def _facts(results: Results) -> None:
    task = results.task
    terms = ", ".join(f"{name} \u00d7 {weight}" for name, weight in results.distillation["terms"].items())
    facts = {
        "trained on": ", ".join(Path(name).stem for name in results.photographs["train"]),
        "held out": ", ".join(Path(name).stem for name in results.photographs["test"]),
        "pairs": f"{results.pairs['train']} to train, {results.pairs['test']} to test",
        "input": f"blurred by {task['blur']:g} px, {task['contrast']:.0%} of the contrast and "
        f"{task['saturation']:.0%} of the colour, noise of {task['noise']:g} grey levels",
        "distillation": terms,
        "epochs": ", ".join(f"{row.label} {row.epochs} ({row.seconds:.0f} s)" for row in results.rows if row.seconds),
        "seed": str(results.seed),
        "time": f"{results.seconds / 60:.1f} minutes in total, limit {results.minutes:g}",
        "versions": ", ".join(f"{name} {version}" for name, version in results.versions.items()),
    }
    with tags.div(cls="card"), tags.dl():
        for name, text in facts.items():
            tags.dt(name)
            tags.dd(text)


def _commands(results: Results) -> None:
    tags.p("Run in examples/host, in this order; python -m kd_plugin run is equivalent to kd run.", cls="soft")
    with tags.div(cls="card"):
        for command in results.commands:
            tags.pre(command)
