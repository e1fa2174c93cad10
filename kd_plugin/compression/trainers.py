"""Build the trainers of students: distiller, objectives and discriminator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..distillation.distiller import Distiller
from ..distillation.precision import HalfPrecision, checked_half
from ..errors import ArgumentError, CheckpointError
from ..losses import WeightedTerm
from ..networks.discriminator import Discriminator, build_discriminator, find_discriminator, load_discriminator
from ..processes import is_distributed, say
from ..training.objectives import Adversary, GroundTruth, Objective
from ..training.trainer import StudentTrainer
from .settings import CompressSettings
from .students import Student
from .teachers import Teacher


def build_trainers(
    settings: CompressSettings,
    teacher: Teacher,
    running: nn.Module,
    students: Mapping[str, Student],
    terms: Mapping[str, dict[str, WeightedTerm]],
    length: int | None,
    discriminator: Callable[[], nn.Module] | None,
) -> dict[str, StudentTrainer]:
    """Return the trainer of each student, by name.

    Args:
        settings: of the compression.
        teacher: as it was trained.
        running: the teacher as it runs.
        students: by name.
        terms: of each student, by name.
        length: number of steps; None if it is not known yet.
        discriminator: returns a new discriminator of single images; None for no adversarial loss.
    """
    device = torch.device(settings.device)
    every = set().union(*terms.values())
    trainers = {}
    for name, student in students.items():
        half = checked_half(settings.amp, device) if settings.amp else None
        own = {term: taps for term, taps in settings.taps.items() if term in terms[name] or term not in every}
        distiller = _distiller(settings, student.network, running, terms[name], own, half, device)
        lr = learning_rate(settings, student)
        trainers[name] = StudentTrainer(
            distiller,
            length,
            lr=lr,
            betas=(settings.beta1, 0.999),
            name=name or "student",
            max_bad_steps=settings.max_bad_steps,
            objectives=_objectives(settings, teacher, discriminator, device, lr),
            half=half,
        )
    return trainers


def learning_rate(settings: CompressSettings, student: Student) -> float:
    """Return the initial learning rate of a student."""
    return student.wish.lr or settings.learning_rate


def discriminator_builder(teacher: Teacher, channels: int, seed: int, size: int) -> Callable[[], nn.Module]:
    """Return a function that returns a PatchGAN: the teacher's, if there is one of single images, or a new one."""
    for file in teacher.experiment.files.values():
        found = find_discriminator(file)
        if found is None or not found.is_file():
            continue
        try:
            known = load_discriminator(found)
            reason = "" if known.input_nc == channels else "takes inputs and outputs together"
        except CheckpointError:
            reason = "is not of the family"
        if not reason:
            _check_side(known, size)
            say(f"the discriminator starts from {found}")
            return lambda: load_discriminator(found).layers
        say(f"note: {found} {reason}, so the discriminator starts from random weights")

    def new() -> nn.Sequential:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return build_discriminator(channels)

    _check_side(Discriminator(new(), channels), size)
    return new


def _distiller(
    settings: CompressSettings,
    network: nn.Module,
    teacher: nn.Module,
    terms: dict[str, WeightedTerm],
    taps: Mapping[str, Any],
    half: HalfPrecision | None,
    device: torch.device,
) -> Distiller:
    network.to(device)
    if half:
        half.run(network)
    if is_distributed():
        ids = [device] if device.type == "cuda" else None
        network = nn.parallel.DistributedDataParallel(network, device_ids=ids)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)  # of terms with random networks
        return Distiller(network, teacher, terms, taps=taps or None, half=half).to(device)


def _objectives(
    settings: CompressSettings,
    teacher: Teacher,
    discriminator: Callable[[], nn.Module] | None,
    device: torch.device,
    lr: float,
) -> list[Objective]:
    objectives: list[Objective] = []
    if settings.pairs and settings.lambda_L1:
        objectives.append(GroundTruth(settings.lambda_L1))
    if discriminator:
        network, betas = discriminator().to(device), (settings.beta1, 0.999)
        mode = settings.gan(teacher.trained)
        objectives.append(Adversary(network, settings.lambda_gan, mode, lr, betas))
    return objectives


def _check_side(discriminator: Discriminator, size: int) -> None:
    if size < discriminator.smallest_side:
        raise ArgumentError(
            f"the discriminator takes images of at least {discriminator.smallest_side} pixels, not {size}: choose a "
            "larger size, or train without real images"
        )
