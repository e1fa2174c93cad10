"""What a compression depends on: for the reader, for the record of a student, and to compare a resumed training."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..losses.registry import option_flags
from ..pictures import digest_of_files
from ..report.inputs import Item
from ..version import __version__
from .outputs import HowTaught
from .prepare import Prepared
from .students import Student


def kind(student: Student) -> str:
    """Return a description of a student's network."""
    request = student.request
    if request.factory:
        return request.factory
    widths = f"widths {'/'.join(map(str, request.widths))}" if request.widths else f"ngf {request.ngf}"
    return f"{request.netG}, {widths}{', separable' if request.conv == 'separable' else ''}"


def facts_of(prepared: Prepared) -> dict[str, str]:
    """Return the settings for the page."""
    settings, data, teacher = prepared.settings, prepared.data, prepared.teacher
    sampled = str(prepared.preprocessing)
    if settings.augment:
        sampled = sampled.replace("centre", "random") + (", flipped at random" if prepared.flips else "")
    return {
        "teacher": f"{teacher.experiment.path}, SHA-256 {teacher.digest[:16]}",
        "losses": losses_of(prepared),
        "images": f"{len(data.training)} to train on, {len(data.held_out)} held out, of {data.folder}",
        "training": f"batch {prepared.images_of_step}, Adam, learning rate {_rates(prepared)}: constant for "
        f"half of the steps, then linearly to 0; seed {settings.seed}",
        "training images": sampled,
        "software": f"kd_plugin {__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}",
    }


def fixed(prepared: Prepared) -> dict[str, str]:
    """Return the settings that a resumed training must share."""
    settings, data = prepared.settings, prepared.data
    kinds = sorted(
        f"{name}: {kind(student)}" if name else kind(student) for name, student in prepared.students.items()
    )
    taps = {
        name: _text({term: [str(tap) for tap in taps] for term, taps in trainer.distiller.taps.items()})
        for name, trainer in prepared.trainers.items()
    }
    return {
        "teacher": f"{prepared.teacher.digest[:16]} in {settings.teacher_mode} mode",
        "students": "; ".join(kinds),
        "networks": _text({name: asdict(student.request) for name, student in prepared.students.items()}),
        "losses": losses_of(prepared),
        "options": _text(settings.term_options),
        "taps": _by_student(taps),
        "images": _listed(data.training, data.folder),
        "held-out images": _listed(data.held_out, data.folder),
        "real images": _listed(prepared.others["real"].items, settings.real) if settings.real else "none",
        "preprocessing": f"{prepared.preprocessing}; flips {prepared.flips}; random crops {settings.augment}",
        "learning rate": f"{_rates(prepared)}, beta1 {settings.beta1:g}",
        "weights": f"L1 {settings.lambda_L1:g}, GAN {settings.lambda_gan:g} {settings.gan(prepared.teacher.trained)}",
        "precision": f"{settings.amp}, teacher {settings.teacher_dtype}",
        "mode of the students": settings.student_mode,
        "processes": str(prepared.images_of_step // settings.batch),
    }


def how_taught(prepared: Prepared, name: str, steps: int) -> HowTaught:
    """Return how a student was taught, for its record."""
    settings, preprocessing = prepared.settings, prepared.preprocessing
    terms = prepared.trainers[name].distiller.terms
    objectives = prepared.trainers[name].objectives
    flags = option_flags(terms)
    distillation: dict[str, Any] = {
        "distill": ",".join(terms),
        "terms": {name: str(weighted.weight) for name, weighted in terms.items()},
        "options": {flag: str(value) for flag, value in settings.term_options.items() if flag in flags},
        "other_losses": ",".join(objective.name for objective in objectives),
        "teacher_mode": settings.teacher_mode,
        "steps": steps,
        "batch_size": prepared.images_of_step,
        "images": len(prepared.data.training),
        "student_mode": settings.student_mode,
        "lr": prepared.learning_rates[name],
        "beta1": settings.beta1,
        "seed": settings.seed,
        "amp": settings.amp,
        "teacher_dtype": settings.teacher_dtype,
    }
    pictures = {
        "load_size": preprocessing.load_size,
        "crop_size": preprocessing.crop_size,
        "preprocess": preprocessing.preprocess,
    }
    return HowTaught(distillation, prepared.direction, pictures, settings.pairs is not None)


def losses_of(prepared: Prepared) -> str:
    """Return the losses with their weights, for the reader."""
    texts = {}
    for name, trainer in prepared.trainers.items():
        terms = [f"{term} x {weighted.weight}" for term, weighted in trainer.distiller.terms.items()]
        texts[name] = ", ".join([*terms, *(objective.name for objective in trainer.objectives)])
    return _by_student(texts)


def _by_student(texts: Mapping[str, str]) -> str:
    """Return the text of all students, or each with the name of its student if they differ."""
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{name}: {text}" for name, text in sorted(texts.items()))


def _rates(prepared: Prepared) -> str:
    """Return the learning rate, with the names of the students if these have different ones."""
    rates = prepared.learning_rates
    if len(set(rates.values())) == 1:
        return f"{next(iter(rates.values())):g}"
    return ", ".join(f"{rate:g} ({name})" for name, rate in sorted(rates.items()))


def _listed(items: Sequence[Item], folder: Path) -> str:
    """Return the number of images, and a digest of their names and sizes."""
    return f"{len(items)} ({digest_of_files([item.file for item in items], folder)[:12]})"


def _text(values: Any) -> str:
    return json.dumps(values, default=str, sort_keys=True)
