"""Measure the last, best and averaged weights of students on held-out images, and choose by PSNR."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import KDError
from ..metrics.intervals import Interval
from ..networks.translator import Mode, Translator
from ..pictures import Preprocessing
from ..report.inputs import Item
from ..report.measures.bands import BandStudy
from ..report.measures.quality import Reference, quality_measures, quality_part
from ..report.measuring import Pipeline, measure_items
from ..report.results import Subject
from ..report.store import Store
from .outputs import CHOICES, checkpoint
from .teachers import KEY
from .validation import translator_of

_PREFERRED = ("ema", "best", "last")  # of equal PSNR


@dataclass(frozen=True)
class Candidate:
    """A student whose weights are chosen.

    Attributes:
        name: of the student.
        folder: of its checkpoints ``last``, ``best`` and ``ema``.
        network: the network in training, which is not changed.
    """

    name: str
    folder: Path
    network: nn.Module


@dataclass(frozen=True)
class Selection:
    """The choice of a student's weights.

    Attributes:
        chosen: ``"last"``, ``"best"`` or ``"ema"``.
        why: the reason, in one line.
        images: number of held-out images.
        sha256: their digest.
        measures: by weights, by measure, with its interval.
        steps: the step of each of the weights.
    """

    chosen: str
    why: str
    images: int
    sha256: str
    measures: dict[str, dict[str, Interval]]
    steps: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return the selection for JSON, with None for ends of intervals that one image does not give."""
        measures = {
            epoch: {
                name: {end: number if math.isfinite(number) else None for end, number in asdict(value).items()}
                for name, value in values.items()
            }
            for epoch, values in self.measures.items()
        }
        return {**asdict(self), "measures": measures}


def select(
    candidates: Sequence[Candidate],
    teacher: Translator | None,
    items: Sequence[Item],
    preprocessing: Preprocessing,
    store: Store,
    steps: Mapping[str, Mapping[str, int]],
    *,
    mode: Mode = "train",
    device: torch.device | str = "cpu",
    batch: int = 4,
    progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Selection]:
    """Return the selection of each student by name.

    Args:
        candidates: the students.
        teacher: the teacher; None if the items have its images.
        items: the held-out images.
        preprocessing: how they are resized and cropped.
        store: keeps results.
        steps: the step of each of a student's weights.
        mode: of the students.
        device: of the students.
        batch: number of images at a time.
        progress: called with the completed fraction.

    Raises:
        KDError: If no image can be used.
    """
    device = torch.device(device)
    channels = teacher.channels if teacher else 3
    translators: dict[str, Translator] = {KEY: teacher} if teacher else {}
    subjects = [Subject(KEY, KEY, "teacher")]
    keys: dict[str, tuple[str, str]] = {}
    for number, candidate in enumerate(candidates):
        for epoch in CHOICES:
            key = f"s{number}_{epoch}"
            keys[key] = candidate.name, epoch
            file = checkpoint(candidate.folder, epoch)
            translators[key] = translator_of(candidate.network, channels, mode, device, file)
            subjects.append(Subject(key, key, "student"))
    reference = Reference(KEY, "teacher")
    part, bands = quality_part(subjects, reference), BandStudy(subjects)
    pipeline = Pipeline(translators, preprocessing)
    measured = measure_items(items, pipeline, [part, *bands.parts], store, batch, progress)
    if not measured.items:
        raise KDError(f"none of the {len(items)} images for validation can be used: {measured.problems[0].reason}")
    columns = quality_measures(measured, {}, part, reference, subjects)
    frequency = bands.finish(measured)
    found: dict[str, dict[str, dict[str, Interval]]] = {}
    for key, (name, epoch) in keys.items():
        values = {column.title: column.values[key] for column in columns}
        found.setdefault(name, {})[epoch] = {**values, **frequency.bands[key]}
    return {
        name: _choose(measures, len(measured.items), measured.sha256, dict(steps[name]))
        for name, measures in found.items()
    }


def _choose(measures: dict[str, dict[str, Interval]], images: int, digest: str, steps: dict[str, int]) -> Selection:
    psnr = {epoch: measures[epoch]["PSNR"].value for epoch in _PREFERRED}
    chosen = max(psnr, key=psnr.__getitem__)
    others = ", ".join(f"{epoch} {value:.2f}" for epoch, value in psnr.items() if epoch != chosen)
    why = (
        f"{chosen} (step {steps[chosen]}) has the highest PSNR to the teacher on {images} held-out "
        f"image{'' if images == 1 else 's'}: {psnr[chosen]:.2f} dB ({others})"
    )
    return Selection(chosen, why, images, digest, measures, steps)
