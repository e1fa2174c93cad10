"""The page of a report, read with a parser and driven in a browser."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from helpers.browser import BROWSER, NAMES, visit
from helpers.reports import HOSTILE, interval, make_report
from PIL import Image

from kd_plugin import KDError
from kd_plugin.metrics.intervals import Interval
from kd_plugin.report.page.comparison import best_student, compare
from kd_plugin.report.page.document import write_page
from kd_plugin.report.page.headline import figures, ranking_sentence
from kd_plugin.report.page.view import views
from kd_plugin.report.results import Difference, Direction, Latency, Measure, Report, Subject

VOID = {"meta", "img", "input", "br", "link"}
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser found: none of {', '.join(NAMES)} is on the PATH"
)


class Page(HTMLParser):
    """Elements, links and text of a page; fails if elements are not nested."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.folder, self.source = file.parent, file.read_text(encoding="utf-8")
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags[tag] += 1
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        if tag == "option":
            self.links.append(values.get("value") or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += data

    def words(self) -> str:
        return " ".join(self.text.split())

    def check(self) -> None:
        """Every link is a file in the folder, or an element of the page; no id is repeated."""
        assert "http" not in self.source and "url(" not in self.source
        assert len(self.ids) == len(set(self.ids))
        for link in self.links:
            parts = urlsplit(link)
            assert not parts.scheme and not parts.netloc and not parts.query and not link.startswith("/"), link
            if parts.path:
                assert (self.folder / unquote(parts.path)).is_file(), link
            else:
                assert parts.fragment in self.ids, link


def page_of(report: Report, folder: Path) -> Page:
    page = Page(write_page(report, folder))
    page.check()
    return page


def only(report: Report) -> Direction:
    (direction,) = report.directions
    return direction


def measure(values: dict[str, float], *differences: Difference, up: bool = True) -> Measure:
    intervals = {key: interval(value) for key, value in values.items()}
    return Measure("psnr", "PSNR", "dB", up, "ground truth", 1, intervals, differences)


def difference(first: str, second: str, low: float, high: float) -> Difference:
    return Difference(first, second, Interval((low + high) / 2, low, high))


def test_a_page_has_every_section_and_refers_to_files_that_exist(tmp_path: Path) -> None:
    page = page_of(make_report(tmp_path), tmp_path)
    for title in ("Cost", "Quality", "Trade-off", "Frequency", "Relations", "Stability", "Samples", "Settings"):
        assert page.words().count(title)
    assert len(page.links) > 60 and page.tags["svg"] == 4 and page.tags["script"] == 1
    assert (tmp_path / "relations.js").read_text(encoding="utf-8").startswith('kdRelations("d0-s0", {"teacher": "')
    assert "Problems: 1 left out, 1 note" in page.words()
    assert not list(tmp_path.glob(".*"))


def test_texts_of_users_are_escaped(tmp_path: Path) -> None:
    report = make_report(tmp_path)
    hostile = replace(report, title=HOSTILE, texts=(HOSTILE,), commands=(HOSTILE,), settings={HOSTILE: HOSTILE})
    page = page_of(hostile, tmp_path)
    assert page.tags["script"] == 1 and page.words().count(HOSTILE) > 10
    assert "<script>hacked" not in page.source


def test_a_name_that_is_not_utf_8_is_written(tmp_path: Path) -> None:
    report = make_report(tmp_path, names=("a.png",))
    page = page_of(replace(report, texts=("caf\udce9.png",)), tmp_path)
    assert "caf\\udce9.png" in page.text


def test_without_teacher_cost_and_optional_sections(tmp_path: Path) -> None:
    report = make_report(tmp_path)
    direction = only(report)
    students = tuple(replace(s, cost=None) for s in direction.subjects if s.role == "student")
    bare = replace(direction, subjects=students, measures=(), frequency=None, stability=(), samples=())
    page = page_of(Report("bare", (bare,), {}), tmp_path)
    assert page.tags["table"] == page.tags["svg"] == page.tags["img"] == 0
    assert not re.search("Cost|Quality|Frequency|Relations|Stability|Samples|Problems|Settings", page.text)
    assert not (tmp_path / "relations.js").exists()
    without = page_of(Report("", (replace(direction, subjects=direction.subjects[2:]),), {}), tmp_path)
    assert "than the teacher" not in without.words() and "smaller" not in without.words()
    assert "1.60\u00a0M" in without.text  # the number itself, as there is nothing to compare it with
    assert page_of(Report("", (Direction("AtoB", 0, "", ()),), {}), tmp_path).tags["h1"] == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_numbers_that_are_not_finite_or_not_positive_are_drawn(value: float, tmp_path: Path) -> None:
    report = make_report(tmp_path, names=("a.png",))
    direction = only(report)
    assert direction.frequency
    odd = Interval(value, value, value)
    measures = tuple(
        replace(m, values=dict.fromkeys(m.values, odd), differences=(Difference("student_0", "teacher", odd),))
        for m in direction.measures
    )
    bands = {key: dict.fromkeys(row, odd) for key, row in direction.frequency.bands.items()}
    spectra = {key: (value,) * len(row) for key, row in direction.frequency.spectra.items()}
    frequency = replace(direction.frequency, bands=bands, spectra=spectra)
    subjects = tuple(
        replace(s, cost=replace(s.cost, params=0, macs=None, latencies=(Latency("CPU", 256, 1, odd, 3),)))
        if s.cost
        else s
        for s in direction.subjects
    )
    changed = replace(direction, subjects=subjects, measures=measures, frequency=frequency)
    page = page_of(replace(report, directions=(changed,)), tmp_path)
    coordinates = re.findall(r'(?:x1?|x2|y1?|y2|width|height|points)="([^"]*)"', page.source)
    assert coordinates and not any(re.search("nan|inf", text) for text in coordinates)


def test_two_directions_and_many_students(tmp_path: Path) -> None:
    report = make_report(tmp_path, students=12, names=("a.png",), directions=("AtoB", "BtoA"))
    page = page_of(report, tmp_path)
    assert page.words().count("AtoB") and page.words().count("BtoA")
    colours = re.findall(r"--_s\d+:([^;}]+)", page.source)
    assert len(colours) == 2 * 15 and len(set(colours)) == 2 * 15  # light and dark
    script = (tmp_path / "relations.js").read_text(encoding="utf-8")
    assert script.count("kdRelations(") == 2 and '"d1-s0"' in script


def test_a_missing_relation_matrix_is_an_error(tmp_path: Path) -> None:
    report = make_report(tmp_path)
    (tmp_path / only(report).samples[0].relations["teacher"]).unlink()
    with pytest.raises(KDError, match=r"cannot read the relation matrix .*: compute the report again"):
        write_page(report, tmp_path)
    assert not (tmp_path / "index.html").exists() and not (tmp_path / "relations.js").exists()


def test_large_numbers_are_ratios_to_the_teacher(tmp_path: Path) -> None:
    (view,) = views(make_report(tmp_path, names=()))
    params, macs, latency, quality = figures(view, view.students[0])
    # ngf 24 of 64: (24 / 64)**2 = 1 / 7.11; latencies are its power of 0.6, 1 / 3.24
    assert (params.value, macs.value, latency.value) == ("7.1\u00d7", "7.1\u00d7", "3.2\u00d7")
    assert (params.meaning, macs.meaning, latency.meaning) == ("smaller", "less compute", "faster")
    assert quality.verdict.startswith("worse than the teacher: +1.50 (+1.05 to +1.95)") and quality.tone == "bad"


def test_latencies_with_overlapping_quartiles_are_no_difference(tmp_path: Path) -> None:
    (view,) = views(make_report(tmp_path, names=()))
    student = view.students[0]
    assert student.cost and view.teacher and view.teacher.cost
    slow = view.teacher.cost.latencies[0]
    near = replace(slow, seconds=Interval(slow.seconds.value * 1.01, slow.seconds.low, slow.seconds.high * 1.02))
    latency = figures(view, replace(student, cost=replace(student.cost, latencies=(near,))))[2]
    assert (latency.value, latency.meaning) == ("1.0\u00d7", "slower")
    assert latency.verdict.startswith("no difference beyond the noise")
    elsewhere = replace(near, device="another")
    latency = figures(view, replace(student, cost=replace(student.cost, latencies=(elsewhere,))))[2]
    assert latency.meaning == "an image" and "\u00d7" not in latency.value


def test_a_star_needs_a_difference_beyond_the_noise() -> None:
    students = [Subject(key, key, "student") for key in "abc"]
    values = {"a": 30.0, "b": 31.0, "c": 20.0}
    assert best_student(measure(values, difference("b", "a", 0.5, 1.5)), students) == "b"
    assert best_student(measure(values, difference("a", "b", -1.5, -0.5)), students) == "b"
    assert best_student(measure(values, difference("a", "b", -2.5, 0.5)), students) is None
    assert best_student(measure(values, difference("b", "c", 9, 13)), students) is None  # not the next
    assert best_student(measure(values), students) is None
    assert best_student(measure({**values, "b": math.nan}, difference("a", "c", 9, 11)), students) == "a"
    assert best_student(measure(values, difference("c", "a", -12, -8), up=False), students) == "c"
    assert best_student(measure({"a": 1.0}), students) is None


def test_a_difference_is_found_in_both_orders() -> None:
    psnr = measure({}, difference("a", "b", -3, -1))
    direct, reverse = compare(psnr, "a", "b"), compare(psnr, "b", "a")
    assert direct and reverse and (direct.better, reverse.better) == (False, True)
    assert reverse.difference.value == Interval(2, 1, 3)
    assert compare(psnr, "a", "c") is None
    touching = compare(measure({}, difference("a", "b", 0, 2)), "a", "b")
    assert touching and touching.better is None


def test_the_difference_between_students_is_put_into_words(tmp_path: Path) -> None:
    report = make_report(tmp_path, names=())
    (view,) = views(report)
    assert ranking_sentence(view).startswith("Between the students: no difference beyond the noise in KID")
    first = view.direction.measures[0]
    sure = replace(first, differences=(difference("student_0", "student_1", -3, -1),))
    (view,) = views(replace(report, directions=(replace(view.direction, measures=(sure,)),)))
    assert "zebra_small has the best KID" in ranking_sentence(view)
    unknown = replace(first, differences=())
    (view,) = views(replace(report, directions=(replace(view.direction, measures=(unknown,)),)))
    assert "was not computed" in ranking_sentence(view)


DESKTOP = """
await until(() => document.readyState === "complete");
const all = (selector) => [...document.querySelectorAll(selector)];
const found = { hacked: typeof window.hacked };
const [first, second] = all(".direction");
const hidden = () => [first.hidden, second.hidden];
found.tabs = [hidden()];
all("[role=tab]")[1].click();
found.tabs.push(hidden());
all("[role=tab]")[1].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
found.tabs.push(hidden());
for (const panel of [first, second]) panel.hidden = false;
for (const image of all("img")) image.loading = "eager";
found.loaded = await until(() => all("img").every((image) => image.complete && image.naturalWidth > 0));

const compare = document.querySelector(".compare");
const [under, over] = compare.querySelectorAll("img");
const range = compare.querySelector("input");
const stage = compare.querySelector(".stage");
const clip = () => getComputedStyle(over).clipPath;
const edge = () => compare.querySelector(".edge").getBoundingClientRect().left - stage.getBoundingClientRect().left;
found.clips = [clip()];
range.value = 20;
range.dispatchEvent(new Event("input"));
found.clips.push(clip());
found.edge = edge() / stage.clientWidth;
const box = stage.getBoundingClientRect();
stage.dispatchEvent(new PointerEvent("pointermove", { buttons: 1, clientX: box.left + 0.75 * box.width }));
found.dragged = range.value;
const select = compare.querySelector("select[data-side=right]");
select.selectedIndex = select.options.length - 1;
select.dispatchEvent(new Event("change"));
found.chosen = under.getAttribute("src") === select.value;
found.tag = compare.querySelector(".tag.right").textContent;

const widget = document.querySelector(".relations");
widget.scrollIntoView();
found.opened = await until(() => widget.classList.contains("drawn"));
const layers = widget.querySelector(".pick .layers").getBoundingClientRect();
const status = () => widget.querySelector(".status").textContent;
widget.querySelector(".pick").dispatchEvent(new MouseEvent("click", {
  clientX: layers.left + (3.5 / 16) * layers.width, clientY: layers.top + (2.5 / 12) * layers.height, bubbles: true,
}));
found.answered = await until(() => status() === "Row 3, column 4 of 12 \u00d7 16 cells.");
found.distances = [...widget.querySelectorAll(".distance")].map((element) => element.textContent);
found.low = widget.querySelector(".low").textContent;
found.own = [...widget.querySelector("canvas").getContext("2d").getImageData(3, 2, 1, 1).data];
widget.querySelector(".pick").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }));
found.moved = await until(() => status() === "Row 4, column 4 of 12 \u00d7 16 cells.");
window.dispatchEvent(new Event("beforeprint"));
found.folded = all("details:not([open])").length;
window.dispatchEvent(new Event("afterprint"));
found.unfolded = all("details[open]").length;
report(found);
"""


@needs_browser
@pytest.mark.slow
def test_tabs_slider_and_relation_maps_work_in_a_browser(tmp_path: Path) -> None:
    report = make_report(tmp_path, directions=("AtoB", "BtoA"))
    result = visit(write_page(report, tmp_path), DESKTOP, tmp_path / "profile")
    found = result.value
    assert result.console == []
    assert found["hacked"] == "undefined"
    assert found["tabs"] == [[False, True], [True, False], [False, True]]
    assert found["loaded"]
    assert found["clips"] == ["inset(0px 50% 0px 0px)", "inset(0px 80% 0px 0px)"]
    assert found["edge"] == pytest.approx(0.2, abs=0.02)  # less half the width of the line
    assert found["dragged"] == "75"
    assert found["chosen"] and found["tag"] == f"{HOSTILE}, missing detail"
    assert found["opened"] and found["answered"] and found["moved"]
    rows = [
        np.asarray(Image.open(tmp_path / path), float)[2 * 16 + 3] / 127.5 - 1
        for path in report.directions[0].samples[0].relations.values()
    ]
    distances = [float(text.split()[0]) for text in found["distances"] if text]
    assert distances == pytest.approx([abs(row - rows[0]).mean() for row in rows[1:]], abs=0.00051)  # three decimals
    assert float(found["low"]) == pytest.approx(min(row.min() for row in rows), abs=0.0051)
    assert found["own"] == [255, 240, 110, 255]  # a cell is most similar to itself
    assert found["folded"] == found["unfolded"] == 0


@needs_browser
@pytest.mark.slow
def test_the_page_is_not_wider_than_a_phone(tmp_path: Path) -> None:
    probe = """
    await until(() => document.readyState === "complete");
    const root = document.documentElement;
    const wide = [...document.querySelectorAll("body *")].filter((element) =>
      !element.closest(".scroll, svg") && element.getBoundingClientRect().right > root.clientWidth + 1);
    report([root.clientWidth, root.scrollWidth, wide.map((element) => element.className)]);
    """
    page = write_page(make_report(tmp_path, names=("a" * 120 + ".png", HOSTILE)), tmp_path)
    result = visit(page, probe, tmp_path / "profile", width=360)
    assert result.console == []
    client, scroll, wide = result.value
    # A scroll bar takes some of the width.
    assert 330 < client <= 360 and scroll <= client and wide == []
