"""The measures of a report: which are computed for each image, and the columns they make."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import KDError
from ..metrics.features import FeatureNetwork, inception, load_features
from .bands import BandStudy
from .distances import distance_measures, features_part
from .inputs import Task, items_of
from .measuring import Measured, Part, Pipeline, measure_items
from .networks import Translator
from .quality import Reference, quality_measures, quality_part, references
from .results import Frequency, Measure, Problem, Stability, Subject
from .shifts import stability, stability_parts
from .store import Store

if TYPE_CHECKING:
    from .build import Settings


@dataclass
class Columns:
    """The finished measures of a direction."""

    measures: tuple[Measure, ...] = ()
    frequency: Frequency | None = None
    stability: tuple[Stability, ...] = ()


@dataclass
class Plan:
    """What is computed for each image.

    Attributes:
        subjects: all subjects, with the ground truth.
        task: for the real images.
        parts: computed for each image.
        quality: by reference: the part with PSNR, SSIM and L1.
        network: for distances of features; None without.
        features: its part.
        bands: the frequency study.
        stability: changes of the input, with their parts.
    """

    subjects: Sequence[Subject]
    task: Task
    parts: list[Part] = field(default_factory=list)
    quality: dict[Reference, Part] = field(default_factory=dict)
    network: FeatureNetwork | None = None
    features: Part | None = None
    bands: BandStudy | None = None
    stability: list[tuple[str, Part]] = field(default_factory=list)

    def psnr(self, measured: Measured, reference: str) -> dict[str, np.ndarray]:
        """Return the PSNR of each image to a reference, by subject; empty if it was not computed."""
        for known, part in self.quality.items():
            if known.key == reference:
                return {k: array[:, 0] for k, array in measured.arrays[part.name, part.against].items()}
        return {}

    def finish(self, measured: Measured, store: Store, settings: Settings) -> Columns:
        """Return the columns."""
        protocol = {
            "images": f"{len(measured.items)} of {self.task.inputs.folder}",
            "SHA-256 of the inputs": hashlib.sha256("".join(measured.digests).encode()).hexdigest()[:16],
            "preprocessing": str(settings.preprocessing),
            "interval": "95 %, bootstrap over images",
        }
        measures = []
        if self.network and self.features:
            real, described = self._real(measured, store, settings)
            paired = self.task.real == self.task.truth and self.task.truth is not None
            measures += distance_measures(
                measured, self.features, self.network, real, paired, self.subjects, {**protocol, **described}
            )
        for reference, part in self.quality.items():
            if "quality" in settings.sections:
                measures += quality_measures(measured, part, reference, self.subjects, protocol)
        return Columns(
            tuple(measures),
            self.bands.finish(measured) if self.bands else None,
            stability(self.stability, measured, self.subjects),
        )

    def _real(self, measured: Measured, store: Store, settings: Settings) -> tuple[np.ndarray, dict[str, str]]:
        """Return the features of the real images, and what they are."""
        assert self.features is not None and self.task.real is not None
        name = self.features.name
        if self.task.real == self.task.truth:
            return measured.arrays[name, ""]["truth"], {"real images": "the ground truth"}
        items, _ = items_of(Task("", self.task.real), {})
        part = Part(name, self.features.compute, ("input",))
        found = measure_items(items, Pipeline({}, settings.preprocessing), [part], store, settings.batch)
        digest = hashlib.sha256("".join(found.digests).encode()).hexdigest()[:16]
        described = f"{len(found.items)} of {self.task.real.folder}, SHA-256 {digest}"
        return found.arrays[name, ""]["input"], {"real images": described}


def plan_columns(
    settings: Settings,
    task: Task,
    subjects: Sequence[Subject],
    translators: Mapping[str, Translator],
    problems: list[Problem],
) -> Plan:
    """Decide what to compute; what cannot be computed is added to ``problems``."""
    plan, sections = Plan(subjects, task), set(settings.sections)
    networks = tuple(s.key for s in subjects if s.role in ("teacher", "student"))
    if sections & {"quality", "samples", "relations"}:
        plan.quality = {reference: quality_part(subjects, reference) for reference in references(subjects)}
        plan.parts += plan.quality.values()
    if "quality" in sections and task.real and settings.distances:
        try:
            plan.network = _network(settings)
        except KDError as error:
            problems.append(Problem("FID and KID", str(error), fatal=False))
        else:
            truth = ("truth",) if task.real == task.truth else ()
            keys = ("input", *networks, *truth)
            plan.features = features_part(plan.network, keys, settings.preprocessing.crop_size)
            plan.parts.append(plan.features)
    if "frequency" in sections:
        plan.bands = BandStudy(subjects, settings.preprocessing.crop_size // 2)
        plan.parts += plan.bands.parts
    if "stability" in sections and translators:
        plan.stability = stability_parts(tuple(translators))
        plan.parts += [part for _, part in plan.stability]
    return plan


def _network(settings: Settings) -> FeatureNetwork:
    if settings.features:
        return load_features(settings.features, settings.device)
    return inception(settings.inception, settings.device)
