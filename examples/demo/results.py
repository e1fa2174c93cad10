"""What the demo found out, as data."""

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
    """One line of the table: a generator, or the degraded input, which has no cost.

    Attributes:
        name, label: the name of the run, and what people call it.
        quality: on the held-out crops.
        crops: on each of them by itself, in one order for all rows.
        cost: parameters, and operations for one crop.
        epochs, seconds: how long it was trained.
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
    """All that the page shows.

    Attributes:
        rows: input, teacher, student alone, distilled student.
        students: names of the two rows that are compared.
        photographs: file names by phase, "train" and "test".
        task: how the pairs were made.
        pairs: number of pairs by phase.
        distillation: terms with their weights and settings, from the student's record.
        seed: of data and trainings.
        minutes: asked for.
        seconds: taken.
        commands: what was run, in order.
        versions: of what it was run with.
        samples: names of the test crops on the page.
        threads: that PyTorch computed with; None for its own choice.
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
        """Return everything for JSON."""
        rows = [
            {**asdict(row), "quality": row.quality.to_dict(), "crops": [crop.to_dict() for crop in row.crops]}
            for row in self.rows
        ]
        return {**asdict(self), "rows": rows, "gap_closed": gaps(self)}


@dataclass(frozen=True)
class Column:
    """A measure of the table: its heading, how to print it, and whether more is better."""

    title: str
    form: str
    more_is_better: bool
    band: bool = False

    def value(self, quality: Quality) -> float:
        """Return the measure."""
        value: float = getattr(quality.bands, self.title) if self.band else getattr(quality, self.title.lower())
        return value

    def text(self, quality: Quality) -> str:
        """Return the measure as printed."""
        return format(self.value(quality), self.form)


COLUMNS = (
    Column("L1", ".4f", False),
    Column("PSNR", ".2f", True),
    Column("SSIM", ".4f", True),
    *(Column(band, ".3f", False, band=True) for band in BANDS),
)


def best_student(results: Results, column: Column) -> str | None:
    """Return which student is better in a measure, or None if the two print alike."""
    first, second = (results.row(name) for name in results.students)
    if column.text(first.quality) == column.text(second.quality):
        return None
    a, b = column.value(first.quality), column.value(second.quality)
    return first.name if (a > b) == column.more_is_better else second.name


def gaps(results: Results) -> dict[str, float | None]:
    """Return what distillation closes of the gap between student alone and teacher, by measure.

    1 means that the distilled student is as good as the teacher, 0 that it is no better than the student
    alone, below 0 that it is worse; None where there is no gap: the teacher is not better than the student alone, or
    by less than two standard errors of the mean difference on a crop.
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
