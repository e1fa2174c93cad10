"""Open the teacher, find the images, and build students and trainers for the settings of a compression."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..distillation.distiller import Taught
from ..distillation.precision import checked_half, prepare_teacher
from ..distillation.teacher_cache import TeacherCache
from ..export.network import has_batch_norm
from ..networks.translator import Mode, to_array
from ..pictures import Preprocessing
from ..processes import process_count, say
from ..report.networks import Loader
from ..training.trainer import StudentTrainer
from .data import Data, find_data, find_real
from .folder import check_teacher
from .samples import Samples
from .settings import CompressSettings
from .students import Student, build, check_student
from .teachers import Teacher, loader_with, open_teacher, probe
from .terms import blind_note, terms_of_students
from .trainers import build_trainers, discriminator_builder, learning_rate
from .validation import psnr_of, translator_of


@dataclass(frozen=True)
class Prepared:
    """What a compression consists of.

    Attributes:
        settings: of the compression.
        teacher: as it was trained.
        running: the teacher as it runs: in another precision, or compiled.
        load: loads checkpoints, and the teacher of a function.
        direction: of the teacher.
        preprocessing: of all images.
        flips: whether images are flipped.
        data: the images.
        samples: the sequence of the training.
        others: further sequences by name.
        students: by name; "" if there is one.
        folders: of the students' results.
        trainers: by name.
        teach: returns the teacher's images and features for a batch.
        length: number of steps; None if the duration determines it.
        steps_of_epoch: number of steps in which about all images are seen once.
        notes: what the reader should know of the teacher's images and the losses.
    """

    settings: CompressSettings
    teacher: Teacher
    running: nn.Module
    load: Loader
    direction: str
    preprocessing: Preprocessing
    flips: bool
    data: Data
    samples: Samples
    others: dict[str, Samples]
    students: dict[str, Student]
    folders: dict[str, Path]
    trainers: dict[str, StudentTrainer]
    teach: Callable[..., Taught]
    length: int | None
    steps_of_epoch: int
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        """The device of the training."""
        return torch.device(self.settings.device)

    @property
    def images_of_step(self) -> int:
        """The number of images of a step of all processes."""
        return self.settings.batch * process_count()

    @property
    def learning_rates(self) -> dict[str, float]:
        """The initial learning rate of each student."""
        return {name: learning_rate(self.settings, student) for name, student in self.students.items()}


def prepare(settings: CompressSettings, load: Loader) -> Prepared:
    """Return everything that the settings describe.

    Raises:
        KDError: If a setting is not valid, or does not fit the others.
    """
    device = torch.device(settings.device)
    teacher = open_teacher(
        settings.teacher,
        load=load,
        function=settings.teacher_function,
        weights=settings.teacher_weights,
        images=settings.teacher_images,
        epoch=settings.teacher_epoch,
        direction=settings.direction,
        mode=settings.teacher_mode,
        device=device,
    )
    named = next(iter(teacher.experiment.files), "")
    direction = settings.direction or named or teacher.trained.get("direction") or "AtoB"
    preprocessing, notes = settings.preprocessing(teacher.trained)
    for note in notes:
        say(f"note: {note}")
    check_teacher(settings, list(teacher.experiment.files.values()))
    data = find_data(settings, teacher, direction, preprocessing)
    size, flips = preprocessing.crop_size, settings.flips(teacher.trained)
    out_channels = 3 if teacher.finished else probe(teacher, settings.batch, size)
    one = len(settings.students) == 1
    students = {
        "" if one else wish.name: build(wish, teacher, out_channels, size, settings.seed)
        for wish in settings.students
    }
    for student in students.values():
        check_student(student, size, out_channels)
    output = settings.output
    folders = {name: output / name for name in students}  # "" for the folder itself
    channels = teacher.channels, out_channels
    samples = Samples(data.training, preprocessing, settings.seed, flips, settings.augment, *channels)
    others = {}
    if settings.real:
        real, problems = find_real(settings.real, preprocessing)
        data.problems.extend(problems)
        others["real"] = Samples(real, preprocessing, settings.seed + 1, flips, channels=out_channels)
    steps_of_epoch = max(1, math.ceil(len(data.training) / (settings.batch * process_count())))
    length = settings.length(steps_of_epoch)
    running = _running(settings, teacher, device)
    terms = terms_of_students(settings, teacher, {name: student.wish for name, student in students.items()})
    discriminator = discriminator_builder(teacher, out_channels, settings.seed, size) if settings.real else None
    trainers = build_trainers(settings, teacher, running, students, terms, length, discriminator)
    taps = set().union(*(trainer.distiller.teacher_taps for trainer in trainers.values()))
    variant = settings.teacher_dtype or settings.amp or ""
    cache = TeacherCache(settings.teacher_cache, variant=variant) if settings.teacher_cache else None
    notes = [_teacher_note(settings, teacher, samples), *(blind_note(settings, own) for own in terms.values())]
    return Prepared(
        settings,
        teacher,
        running,
        loader_with(teacher, load),
        direction,
        preprocessing,
        flips,
        data,
        samples,
        others,
        students,
        folders,
        trainers,
        teacher.teach(taps, running, cache),
        length,
        steps_of_epoch,
        tuple(dict.fromkeys(filter(None, notes))),
    )


def _teacher_note(settings: CompressSettings, teacher: Teacher, samples: Samples) -> str:
    """Return how far the teacher's images are from those of a host's test, if batch norm makes them differ."""
    if settings.teacher_mode != "eval" or not has_batch_norm(teacher.network):
        return ""
    image = samples[0]["input"][None]
    modes: tuple[Mode, ...] = ("eval", "train")
    device = torch.device(settings.device)
    taught, tested = (
        to_array(translator_of(teacher.network, mode=mode, device=device).translate(image, [0])[0]) for mode in modes
    )
    psnr = psnr_of(tested, taught)
    return (
        "the teacher has batch norm: it teaches with running statistics, and a host's test without eval mode gives "
        f"other images ({psnr:.1f} dB on the first image): the mode train teaches those"
    )


def _running(settings: CompressSettings, teacher: Teacher, device: torch.device) -> nn.Module:
    """Return the teacher as it runs; ``teacher`` is not changed."""
    if not (settings.amp or settings.teacher_dtype or settings.teacher_compile):
        return teacher.network
    half = checked_half(settings.amp, device) if settings.amp else None
    plain = copy.deepcopy(teacher.network)
    return prepare_teacher(plain, settings.teacher_dtype, settings.teacher_compile, half)
