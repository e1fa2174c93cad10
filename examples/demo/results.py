"""The results of the demo as dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kd_plugin.metrics.cost import Cost
from kd_plugin.metrics.quality import Quality

BANDS = ("LL", "LH", "HL", "HH")


@dataclass(frozen=True)
class Row:
    """A row of the table: a generator, or the degraded input, which has no cost.

    Attributes:
        name, label: name of the run, and its label on the page.
        quality: quality on the held-out crops.
        crops: quality on each crop, in the same order for all rows.
        cost: parameters, and operations for one crop.
        epochs, seconds: duration of the training.
    """

    name: str
    label: str
    quality: Quality
    crops: tuple[Quality, ...]
    cost: Cost | None = None
    epochs: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Results:
    """The content of the page.

    Attributes:
        rows: input, teacher, student alone, distilled student.
        students: names of the two compared rows.
        photographs: file names by phase, "train" and "test".
        task: how the pairs were created.
        pairs: number of pairs by phase.
        distillation: terms with their weights and settings, from the student's record.
        seed: seed of the data and the trainings.
        minutes: time limit.
        seconds: elapsed time.
        commands: the commands, in order.
        versions: versions of the dependencies.
        samples: names of the test crops on the page.
        threads: number of threads of PyTorch; None for its default.
    """

    rows: tuple[Row, ...]
    students: tuple[str, str]
    photographs: dict[str, tuple[str, ...]]
    task: dict[str, Any]
    pairs: dict[str, int]
    distillation: dict[str, Any]
    seed: int
    minutes: float
    seconds: float
    commands: tuple[str, ...]
    versions: dict[str, str]
    samples: tuple[str, ...]
    threads: int | None

    def row(self, name: str) -> Row:
        """Return the row of this name."""
        return next(row for row in self.rows if row.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return the results as a dictionary for JSON."""
        rows = [
            {**asdict(row), "quality": row.quality.to_dict(), "crops": [crop.to_dict() for crop in row.crops]}
            for row in self.rows
        ]
        return {**asdict(self), "rows": rows, "gap_closed": gaps(self)}


@dataclass(frozen=True)
class Column:
    """A measure of the table: its heading, format, and whether higher is better."""

    title: str
    form: str
    more_is_better: bool
    band: bool = False

    def value(self, quality: Quality) -> float:
        """Return the measure."""
        value: float = getattr(quality.bands, self.title) if self.band else getattr(quality, self.title.lower())
        return value

    def text(self, quality: Quality) -> str:
        """Return the formatted measure."""
        return format(self.value(quality), self.form)


COLUMNS = (
    Column("L1", ".4f", False),
    Column("PSNR", ".2f", True),
    Column("SSIM", ".4f", True),
    *(Column(band, ".3f", False, band=True) for band in BANDS),
)


def best_student(results: Results, column: Column) -> str | None:
    """Return the name of the better student in a measure, or None if the printed values are equal."""
    first, second = (results.row(name) for name in results.students)
    if column.text(first.quality) == column.text(second.quality):
        return None
    a, b = column.value(first.quality), column.value(second.quality)
    return first.name if (a > b) == column.more_is_better else second.name


def gaps(results: Results) -> dict[str, float | None]:
    """Return the fraction of the gap between student alone and teacher that distillation closes, by measure.

    At 1 the distilled student is as good as the teacher, at 0 as good as the student alone, below 0 worse. None
    without a gap: the teacher is not better than the student alone by two standard errors of the mean difference over
    the crops.
    """
    teacher = next(row for row in results.rows if row.cost and row.name not in results.students)
    alone, distilled = (results.row(name) for name in results.students)
    closed: dict[str, float | None] = {}
    for column in COLUMNS:
        sign = 1 if column.more_is_better else -1
        gap = sign * (column.value(teacher.quality) - column.value(alone.quality))
        gain = sign * (column.value(distilled.quality) - column.value(alone.quality))
        pairs = zip(teacher.crops, alone.crops, strict=True)
        differences = [sign * (column.value(a) - column.value(b)) for a, b in pairs]
        closed[column.title] = gain / gap if gap > 0 and _is_above_noise(differences) else None
    return closed


def _is_above_noise(differences: Sequence[float]) -> bool:
    """Return whether the mean of paired differences is more than two standard errors above 0."""
    return bool(np.mean(differences) > 2 * np.std(differences, ddof=1) / np.sqrt(len(differences)))
