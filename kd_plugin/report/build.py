"""Build a report: everything from the user's paths to the dataclasses of the page."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..errors import KDError
from ..metrics.latency import device_name
from ..networks.translator import Translator
from ..progress import Phase, Progress
from ..version import __version__
from .columns import Plan, plan_columns
from .experiments import DIRECTIONS, Experiment, distinct
from .inputs import Item, Task, items_of, tasks_of
from .measures.costs import measure_costs
from .measuring import Measured, Pipeline, measure_items
from .networks import open_translator
from .results import Direction, Problem, Report, Sample, Subject
from .sample_images import choose, draw_sample, even
from .settings import Settings
from .store import Store

_MOST_SAMPLES = 9
_MOST_RELATIONS = 3  # samples


def build_report(
    settings: Settings,
    folders: Mapping[str, Path | None],
    phase: str,
    direction: str | None,
    output: Path,
    store: Store,
) -> Report:
    """Compute a report, and write its images.

    Args:
        settings: what to report.
        folders: of images: ``images``, ``dataroot``, ``truth``, ``pairs``, ``real``.
        phase: part of the data set.
        direction: the direction, or None for those of the networks.
        output: folder of the report.
        store: results of an earlier call.

    Raises:
        KDError: If there is nothing to compare.
    """
    tasks = tasks_of(phase=phase, directions=_directions(settings, folders, direction), **folders)
    problems: list[Problem] = []
    directions = [_direction(settings, task, output, store, problems) for task in tasks]
    labels = [e.label for e in settings.experiments if e.role == "student"]
    title = settings.title or " and ".join(labels[:3]) or settings.experiments[0].label
    return Report(title, tuple(directions), _facts(settings), tuple(problems), commands=(settings.command,))


def _directions(settings: Settings, folders: Mapping[str, Path | None], wanted: str | None) -> list[str]:
    known = {direction for experiment in settings.experiments for direction in experiment.files} - {""}
    if wanted:
        if known and wanted not in known and not any("" in e.files for e in settings.experiments):
            raise KDError(f"no generator translates {wanted}: the given ones translate {' and '.join(sorted(known))}")
        return [wanted]
    found = [direction for direction in DIRECTIONS if direction in known] or ["AtoB"]
    return found if folders["dataroot"] or folders["pairs"] else found[:1]


def _direction(settings: Settings, task: Task, output: Path, store: Store, problems: list[Problem]) -> Direction:
    subjects, translators, finished, files = _subjects(settings, task, problems)
    whole = [key for key, experiment in _keyed(settings.experiments).items() if experiment.whole]
    items, unmatched = items_of(task, finished, settings.labels, whole)
    problems += unmatched
    items = [item for item in items if settings.names is None or item.name in settings.names][: settings.limit]
    has_truth = task.truth is not None
    if has_truth:
        subjects.append(Subject("truth", "ground truth", "truth"))
    pipeline = Pipeline(translators, settings.preprocessing)
    plan = plan_columns(settings, task, subjects, translators, problems)
    real_items: list[Item] = []
    if plan.of_real and task.real:
        real_items, _ = items_of(Task("", task.real), {})
    phases = phases_of(task.direction, len(items), len(real_items), "cost" in settings.sections)
    images, real, costs = phases
    progress = Progress([*settings.before, *phases])
    try:
        progress.begin(images.name)
        measured = measure_items(items, pipeline, plan.parts, store, settings.batch, progress.update)
        problems += measured.problems
        if not measured.items:
            first = measured.problems[0]
            reason = f"{first.what}: {first.reason.removesuffix(': left out')}"
            raise KDError(f"{task.inputs.folder}: none of the {len(items)} images can be used: {reason}")
        if plan.of_real:
            progress.begin(real.name)
            alone = Pipeline({}, settings.preprocessing)
            plan.real = measure_items(real_items, alone, [plan.of_real], store, settings.batch, progress.update)
            problems += plan.real.problems
        if "cost" in settings.sections:
            progress.begin(costs.name)
            found = measure_costs(
                translators, files, settings.sizes, settings.batches, settings.device, progress.update
            )
            subjects = [replace(subject, cost=found.get(subject.key)) for subject in subjects]
    finally:
        progress.clear()
    measures, frequency, stability = plan.finish(measured, task, subjects, settings)
    samples = _samples(settings, subjects, measured, pipeline, plan, output, task.direction)
    return Direction(
        task.direction,
        len(measured.items),
        measured.sha256,
        tuple(subjects),
        measures,
        frequency,
        stability,
        samples,
    )


def phases_of(direction: str, images: int, real: int = 0, costs: bool = True) -> list[Phase]:
    """Return the phases of the progress line for a direction, whose lengths are rough until they run."""
    return [
        Phase(f"measuring {images} images, {direction}", 0.5 * images),
        Phase(f"measuring {real} real images", 0.1 * real),
        Phase("measuring cost", 10.0 if costs else 0.0),
    ]


def _subjects(
    settings: Settings, task: Task, problems: list[Problem]
) -> tuple[list[Subject], dict[str, Translator], dict[str, Path], dict[str, Path]]:
    subjects = [Subject("input", "input", "input", str(task.inputs.folder))]
    translators: dict[str, Translator] = {}
    finished: dict[str, Path] = {}
    files: dict[str, Path] = {}
    labels = distinct([experiment.label for experiment in settings.experiments])
    for (key, experiment), label in zip(_keyed(settings.experiments).items(), labels, strict=True):
        if experiment.images:
            finished[key] = experiment.images
            subjects.append(Subject(key, label, experiment.role, str(experiment.path), "translated images"))
        elif file := experiment.file(task.direction):
            translators[key] = open_translator(file, settings.load, experiment.mode or settings.mode, settings.device)
            files[key] = file
            subjects.append(Subject(key, label, experiment.role, str(file), translators[key].description))
        else:
            problems.append(Problem(str(experiment.path), f"has no generator for {task.direction}: left out"))
    if len(subjects) == 1:
        raise KDError(f"no generator translates {task.direction}")
    return subjects, translators, finished, files


def _keyed(experiments: Sequence[Experiment]) -> dict[str, Experiment]:
    """Return the experiments by the key of their subject."""
    keyed, number = {}, 0
    for experiment in experiments:
        number += experiment.role == "student"
        keyed["teacher" if experiment.role == "teacher" else f"student{number}"] = experiment
    return keyed


def _samples(
    settings: Settings,
    subjects: Sequence[Subject],
    measured: Measured,
    pipeline: Pipeline,
    plan: Plan,
    output: Path,
    direction: str,
) -> tuple[Sample, ...]:
    if not {"samples", "relations"} & set(settings.sections):
        return ()
    reference = next((s for role in ("teacher", "truth") for s in subjects if s.role == role), None)
    students = {s.key: s.label for s in subjects if s.role == "student"}
    psnr = plan.psnr(measured, reference.key) if reference else {}
    chosen = {key: values for key, values in psnr.items() if key in students}
    places = choose(chosen, students, reference.label) if chosen and reference else even(len(measured.items))
    samples = []
    for number, (index, reason) in enumerate(list(places.items())[:_MOST_SAMPLES]):
        item: Item = measured.items[index]
        samples.append(
            draw_sample(
                output,
                f"{direction}_{number:02d}",
                item.name,
                reason,
                pipeline,
                item,
                [subject.key for subject in subjects],
                reference.key if reference else "",
                "relations" in settings.sections and number < _MOST_RELATIONS,
            )
        )
    return tuple(samples)


def _facts(settings: Settings) -> dict[str, str]:
    modes = {
        "train": "train mode, as test.py: batch statistics of each image, and dropout, where a network has them",
        "eval": "eval mode: running statistics, no dropout",
    }
    mode = modes[settings.mode]
    for experiment in settings.experiments:
        if experiment.mode not in (None, settings.mode):
            mode += f"; {experiment.label}: {modes[experiment.mode]}"
    return {
        "preprocessing": str(settings.preprocessing),
        "networks": mode,
        "device": device_name(settings.device),
        "threads": str(torch.get_num_threads()),
        "versions": f"kd_plugin {__version__}, PyTorch {torch.__version__}, NumPy {np.__version__}, Python "
        f"{platform.python_version()}",
    }
