"""The page of a compression: curves and samples while it trains, and its report when it is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dominate import tags

from ..metrics.intervals import Interval
from ..networks.translator import Translator
from ..pictures import Preprocessing
from ..report.inputs import Item
from ..report.measuring import Pipeline
from ..report.page.charts import line_chart
from ..report.page.document import Extra, write_page
from ..report.page.formatting import limits, number
from ..report.page.view import View
from ..report.results import Direction, Problem, Report, Role, Sample, Subject
from ..report.sample_images import draw_sample, even
from ..watch.log import LOG_NAME, LossLog
from .outputs import CHOICES
from .selection import Selection
from .teachers import KEY

_REFRESH = 20  # seconds
_SHARE = "share_"
_DIGITS = {"PSNR": 2, "SSIM": 3, "L1": 4}  # decimals of others: 3


@dataclass(frozen=True)
class Entry:
    """A subject of the page.

    Attributes:
        key: of the subject.
        label: for the reader.
        role: teacher or student.
        description: of the network.
        folder: of a student, with its log.
        validation: number of images and PSNR of a student's measurements.
        epoch_length: number of images of an epoch.
    """

    key: str
    label: str
    role: Role
    description: str = ""
    folder: Path | None = None
    validation: Sequence[tuple[float, float]] = ()
    epoch_length: int = 0


@dataclass
class Page:
    """The page of a training.

    Attributes:
        folder: of the page.
        title: heading.
        direction: of the teacher.
        command: the command.
        settings: what the results depend on, for the reader.
        problems: what was left out.
    """

    folder: Path
    title: str
    direction: str
    command: str
    settings: dict[str, str]
    problems: list[Problem] = field(default_factory=list)
    _samples: tuple[Sample, ...] = ()
    _held_out: int = 0

    def draw_samples(
        self, translators: Mapping[str, Translator], items: Sequence[Item], preprocessing: Preprocessing
    ) -> None:
        """Draw the samples that the page shows from now on.

        Args:
            translators: those of teacher and students by key; without the teacher's if the items have its images.
            items: held-out images.
            preprocessing: how they are resized and cropped.
        """
        pipeline = Pipeline(translators, preprocessing)
        keys = list(dict.fromkeys(["input", KEY, *translators]))
        self._samples = tuple(
            draw_sample(self.folder, f"training_{i}", items[i].name, reason, pipeline, items[i], keys, KEY, False)
            for i, reason in even(len(items)).items()
        )
        self._held_out = len(items)

    def write(self, entries: Sequence[Entry], state: str, done: bool = False) -> None:
        """Write the page of a training.

        Args:
            entries: teacher and students.
            state: a line on the progress.
            done: whether it is complete, so that the page does not refresh itself.
        """
        subjects = [
            Subject("input", "input", "input"),
            *(Subject(entry.key, entry.label, entry.role, "", entry.description) for entry in entries),
        ]
        direction = Direction(self.direction, self._held_out, "", tuple(subjects), samples=self._samples)
        report = Report(self.title, (direction,), self.settings, tuple(self.problems), (state,), (self.command,))
        write_page(report, self.folder, extras(entries), 0 if done else _REFRESH)


def extras(entries: Sequence[Entry], selections: Mapping[str, Selection] | None = None) -> list[Extra]:
    """Return the sections on the training, and those on the choice of the weights by key of the student."""
    students = [entry for entry in entries if entry.role == "student"]
    found = [Extra("Training", lambda view: _curves(view, students))]
    if selections:
        found.insert(0, Extra("Choice of the weights", lambda view: _choices(view, selections)))
    return found


def _curves(view: View, students: Sequence[Entry]) -> None:
    tags.p(
        "Means between two lines of the log. The PSNR is that of the held-out images against the teacher's.",
        cls="soft",
    )
    if len(students) > 1:
        view.legend([entry.key for entry in students])
    validation = {entry.key: entry.validation for entry in students if entry.validation}
    line_chart(view, "Validation PSNR to the teacher", validation, "dB")
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for entry in students:
        assert entry.folder is not None
        log = LossLog(entry.folder / LOG_NAME)
        log.update()
        for images, row in zip(log.positions(entry.epoch_length), log.entries, strict=True):
            for name, value in row.losses.items():
                curves.setdefault(name, {}).setdefault(entry.key, []).append((float(images), value))
    for name in sorted(curves, key=lambda name: name.startswith(_SHARE)):  # the shares last
        title = f"Share of the gradient: {name.removeprefix(_SHARE)}" if name.startswith(_SHARE) else f"Loss: {name}"
        line_chart(view, title, curves[name], "")


def _choices(view: View, selections: Mapping[str, Selection]) -> None:
    for key, selection in selections.items():
        with tags.div(cls="card whole"):
            tags.h3(view.name(key))
            tags.p(f"latest_net_G.pth: {selection.why}.")
            with tags.div(cls="scroll"), tags.table():
                with tags.thead(), tags.tr():
                    tags.th()
                    for epoch in CHOICES:
                        chosen = ", chosen" if epoch == selection.chosen else ""
                        tags.th(f"{epoch}, step {selection.steps[epoch]}{chosen}", scope="col")
                with tags.tbody():
                    for name in next(iter(selection.measures.values())):
                        with tags.tr():
                            tags.th(name, scope="row")
                            for epoch in CHOICES:
                                _cell(selection.measures[epoch][name], _DIGITS.get(name, 3))
    tags.p(
        "Against the teacher, on the held-out images alone, with 95 % intervals where there are several: PSNR in dB "
        "and SSIM, higher is better; L1 and the error of each wavelet band, lower is better. No test image was used.",
        cls="soft",
    )


def _cell(value: Interval, digits: int) -> None:
    with tags.td():
        tags.span(number(value.value, digits))
        tags.small(limits(value, digits))
