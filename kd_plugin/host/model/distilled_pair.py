"""A distilled generator of a host: its teacher, its terms, and its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ...distillation.distiller import Distiller
from ...distillation.precision import HalfPrecision
from ...distillation.teacher_cache import TeacherCache
from ...errors import OptionError
from ...files import sha256
from ...metrics.cost import count_parameters
from ...networks.taps import Tap
from ...processes import say
from ...students import StudentRecord, StudentRequest, describe, factory_of
from ...version import __version__
from ..options.default_student import check_smaller
from ..options.distill import DistillConfig
from ..options.record import values_of
from ..repository.family import PICTURE_OPTIONS, Pair, network_options
from ..repository.usual_options import usual_options
from .forward_watch import Place
from .pair import find_pairs, network_of
from .start import note_large_discriminator, start_from_teacher
from .student import Built
from .teacher_network import load_teacher_of
from .teachers import check_channels


@dataclass
class DistilledPair:
    """A pair in training, with its teacher and distiller."""

    pair: Pair
    file: Path  # checkpoint of the teacher
    teacher: nn.Module  # as loaded; the distiller may run it in another precision, or compiled
    distiller: Distiller
    place: Place | None = None  # where terms are attached inside the forward pass; None: to the attribute, after it

    def follow(self, student: nn.Module) -> None:
        """Update the student if the host has wrapped it for several GPUs; raises as :func:`refuse_replicas`."""
        if student is not self.distiller.student:
            self.distiller.follow(student)
            refuse_replicas(self.distiller)

    def __str__(self) -> str:
        """Return a one-line description: teacher, student and terms."""
        distiller = self.distiller
        spec = getattr(self.teacher, "spec", None)
        kind = f"{spec.netG}, ngf {spec.ngf}" if spec else type(self.teacher).__name__
        large, small = count_parameters(self.teacher), count_parameters(distiller.student)
        ratio = f"{large / small:.2f}x fewer" if small < large else "no fewer"
        terms = ", ".join(f"{name} x {weighted.weight}" for name, weighted in distiller.terms.items())
        return (
            f"{self.pair.net}: teacher {self.file} ({kind}, {large / 1e6:.3f} M) -> "
            f"student {small / 1e6:.3f} M, {ratio} parameters; "
            f"{'; '.join([terms, *_places(distiller.taps)])}"
        )


def prepare_pair(
    model: Any,
    config: DistillConfig,
    pair: Pair,
    file: Path,
    built: Built,
    half: HalfPrecision | None,
    cache: TeacherCache | None,
) -> DistilledPair:
    """Load the teacher of a pair from ``file`` and create its distiller, after the ``setup`` of the host's model.

    Raises:
        KDError: the teacher does not fit the student, or a term cannot read them.
    """
    opt, student = usual_options(model.opt), network_of(model, pair)
    teacher = load_teacher_of(student, file, config.teacher_mode, opt, built)
    teacher.to(model.device)
    check_channels(pair, file, teacher, student)
    if not getattr(opt, "continue_train", False):
        start_from_teacher(model, pair, student, teacher, file, config.student)
    terms, taps = config.terms_for(pair.net, file), config.taps(pair.net)
    runs = config.cost.prepare_teacher(teacher, half)
    distiller = Distiller(student, runs, terms, taps=taps, cache=cache, half=half, balance=config.balance(pair.net))
    distilled = DistilledPair(pair, file, teacher, distiller)
    refuse_replicas(distilled.distiller)
    say(str(distilled))
    smaller = check_smaller(opt, pair.net, student, teacher)
    if smaller and not config.student.student_ndf and not config.student.student_netD:
        note_large_discriminator(model, pair, student)
    return distilled


def refuse_replicas(distiller: Distiller) -> None:
    """Raise an :class:`OptionError` if terms read layers of a student that DataParallel replicates."""
    student = distiller.student
    if distiller.taps and isinstance(student, nn.DataParallel) and len(student.device_ids) > 1:
        names = ", ".join(distiller.taps)
        raise OptionError(
            f"--distill {names} cannot read the layers of a generator that DataParallel replicates on "
            f"{len(student.device_ids)} GPUs: give a single GPU in --gpu_ids, or remove {names}"
        )


def _places(taps: dict[str, list[Tap]]) -> list[str]:
    """Describe the taps of terms on features, grouped by equal taps."""
    readers: dict[tuple[Tap, ...], list[str]] = {}
    for name, read in taps.items():
        readers.setdefault(tuple(read), []).append(name)
    return [f"{', '.join(names)} at {', '.join(map(str, read))}" for read, names in readers.items()]


def record_of(
    model: Any, config: DistillConfig, student: StudentRequest, distilled: Sequence[DistilledPair]
) -> StudentRecord:
    """Return the record of the students of a model after ``setup``."""
    opt = usual_options(model.opt)
    return StudentRecord(
        kd_plugin=__version__,
        model=opt.model,
        direction=getattr(opt, "direction", None),
        host_options=values_of(opt, network_options()),
        distillation=config.to_dict(),
        students={pair.net: describe(network_of(model, pair)) for pair in find_pairs(model)},
        teachers={
            d.pair.net: {"file": str(d.file), "sha256": sha256(d.file), **describe(d.teacher)} for d in distilled
        },
        dataset_mode=getattr(opt, "dataset_mode", None),
        pictures={name: getattr(opt, name) for name in PICTURE_OPTIONS if hasattr(opt, name)},
        build={
            "widths": list(student.widths) if student.widths else None,
            "conv": student.conv,
            "factory": student.factory or (factory_of(opt.netG) if isinstance(opt.netG, str) else ""),
        },
    )
