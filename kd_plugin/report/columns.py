"""The measures of a report: what is computed for each image, and the columns it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ..errors import KDError
from ..metrics.features import inception, load_features, lpips_network
from ..networks.translator import Translator
from .inputs import Task
from .measures.bands import BandStudy
from .measures.distances import distance_measures, features_part
from .measures.quality import Reference, lpips_measures, lpips_part, quality_measures, quality_part, references
from .measures.segmenting import segmentation_measures, segmentation_part
from .measures.shifts import stability, stability_parts
from .measuring import Measured, Part
from .results import Frequency, Measure, Problem, Stability, Subject
from .settings import Settings

_Columns = Callable[[Measured, dict[str, str]], Sequence[Measure]]


@dataclass
class Plan:
    """What is computed for each image, and how it is summarised.

    Attributes:
        parts: computed for each image.
        columns: return the columns of the parts, given the results and their protocol.
        quality: by reference: the part with the PSNR.
        bands: the frequency study.
        stability: changes of the input, with their parts.
        of_real: computed for each real image, unless they are the ground truth.
        real: its results.
    """

    parts: list[Part] = field(default_factory=list)
    columns: list[_Columns] = field(default_factory=list)
    quality: dict[Reference, Part] = field(default_factory=dict)
    bands: BandStudy | None = None
    stability: list[tuple[str, Part]] = field(default_factory=list)
    of_real: Part | None = None
    real: Measured | None = None

    def psnr(self, measured: Measured, reference: str) -> dict[str, np.ndarray]:
        """Return the PSNR of each image to a reference, by subject; empty if it was not computed."""
        for known, part in self.quality.items():
            if known.key == reference:
                return {k: array[:, 0] for k, array in measured.arrays[part.name, part.against].items()}
        return {}

    def finish(
        self, measured: Measured, task: Task, subjects: Sequence[Subject], settings: Settings
    ) -> tuple[tuple[Measure, ...], Frequency | None, tuple[Stability, ...]]:
        """Return the columns, the frequency study and the table of stability."""
        protocol = {
            "images": f"{len(measured.items)} of {task.inputs.folder}",
            "SHA-256 of the inputs": measured.sha256[:16],
            "preprocessing": str(settings.preprocessing),
            "interval": "95 %, bootstrap over images",
        }
        return (
            tuple(measure for columns in self.columns for measure in columns(measured, protocol)),
            self.bands.finish(measured) if self.bands else None,
            stability(self.stability, measured, subjects),
        )


def plan_columns(
    settings: Settings,
    task: Task,
    subjects: Sequence[Subject],
    translators: Mapping[str, Translator],
    problems: list[Problem],
) -> Plan:
    """Decide what to compute; what cannot be computed is added to ``problems``."""
    plan, sections = Plan(), set(settings.sections)
    size = settings.preprocessing.crop_size
    if "quality" in sections and settings.distances:
        if task.real:
            _add_distances(plan, settings, task, subjects, problems)
        else:
            reason = "there are no real images of the target domain to compare with"
            problems.append(Problem("FID and KID", reason, fatal=False))
    if sections & {"quality", "samples", "relations"}:  # samples are chosen by their PSNR
        plan.quality = {reference: quality_part(subjects, reference) for reference in references(subjects)}
        plan.parts += plan.quality.values()
    for reference, part in plan.quality.items() if "quality" in sections else ():
        plan.columns.append(partial(quality_measures, part=part, reference=reference, subjects=subjects))
    if "quality" in sections and settings.lpips:
        _add_lpips(plan, settings, subjects, problems)
    if "quality" in sections and settings.segmenter:
        part = segmentation_part(settings.segmenter, subjects, size)
        plan.parts.append(part)
        plan.columns.append(partial(segmentation_measures, part=part, source=settings.segmenter, subjects=subjects))
    if "frequency" in sections:
        plan.bands = BandStudy(subjects)
        plan.parts += plan.bands.parts
    if "stability" in sections and translators:
        plan.stability = stability_parts(tuple(translators))
        plan.parts += [part for _, part in plan.stability]
    return plan


def _add_distances(
    plan: Plan, settings: Settings, task: Task, subjects: Sequence[Subject], problems: list[Problem]
) -> None:
    device = settings.device
    try:
        network = (
            load_features(settings.features, device) if settings.features else inception(settings.inception, device)
        )
    except KDError as error:
        if settings.features or settings.inception:  # what the user named must work
            raise
        problems.append(Problem("FID and KID", str(error), fatal=False))
        return
    paired = task.real == task.truth
    keys = tuple(s.key for s in subjects if paired or s.role != "truth")
    part = features_part(network, keys, settings.preprocessing.crop_size)
    plan.parts.append(part)
    plan.of_real = None if paired else Part(part.name, part.compute, ("input",))

    def columns(measured: Measured, protocol: dict[str, str]) -> list[Measure]:
        real, described = measured.arrays[part.name, ""].get("truth"), "the ground truth"
        if plan.real is not None and task.real is not None:
            real = plan.real.arrays[part.name, ""]["input"]
            described = f"{len(plan.real.items)} of {task.real.folder}, SHA-256 {plan.real.sha256[:16]}"
        assert real is not None
        protocol = {**protocol, "real images": described}
        return distance_measures(measured, part, network, real, paired, subjects, protocol)

    plan.columns.append(columns)


def _add_lpips(plan: Plan, settings: Settings, subjects: Sequence[Subject], problems: list[Problem]) -> None:
    try:
        network = lpips_network(device=settings.device)
    except KDError as error:
        problems.append(Problem("LPIPS", str(error)))
        return
    for reference in references(subjects):
        part = lpips_part(network, subjects, reference)
        plan.parts.append(part)
        columns = partial(lpips_measures, part=part, network=network, reference=reference, subjects=subjects)
        plan.columns.append(columns)
