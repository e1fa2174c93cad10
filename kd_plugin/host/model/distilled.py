"""A generator that is being distilled in a host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ...distillation.distiller import Distiller
from ...errors import OptionError
from ...files import sha256
from ...metrics.cost import count_parameters
from ...networks.taps import Tap, unwrap
from ...students import StudentRecord, StudentRequest, describe, factory_of
from ...version import __version__
from ..options.distill import DistillConfig
from .pair import Pair, find_pairs, network_of

__all__ = ["Distilled", "record_of", "refuse_replicas"]


@dataclass
class Distilled:
    """A pair in training: its teacher, where that came from, and the distiller that compares the two.

    Attributes:
        pair: the generator and what it makes.
        file: the teacher's checkpoint.
        teacher: the network as it was loaded; the distiller may run it in another precision, or compiled.
        distiller: for the host's network.
    """

    pair: Pair
    file: Path
    teacher: nn.Module
    distiller: Distiller

    def follow(self, student: nn.Module) -> None:
        """Take the student as the host now holds it: some wrap their networks for several GPUs after ``setup``.

        Raises:
            OptionError: it is split over GPUs, and terms read its layers.
        """
        distiller = self.distiller
        if student is distiller.student or unwrap(student) is not unwrap(distiller.student):
            return
        distiller.student = student
        refuse_replicas(distiller)

    def __str__(self) -> str:
        """Return in a line what is distilled, from what, and with which terms."""
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


def refuse_replicas(distiller: Distiller) -> None:
    """Check that the layers that terms read are layers of one network.

    Raises:
        OptionError: DataParallel makes several of it.
    """
    student = distiller.student
    if distiller.taps and isinstance(student, nn.DataParallel) and len(student.device_ids) > 1:
        names = ", ".join(distiller.taps)
        raise OptionError(
            f"--distill {names} cannot read the layers of a generator that DataParallel splits over "
            f"{len(student.device_ids)} GPUs: give one of --gpu_ids, or leave {names} out"
        )


def _places(taps: dict[str, list[Tap]]) -> list[str]:
    """Say what terms on features read, those that read the same together."""
    readers: dict[tuple[Tap, ...], list[str]] = {}
    for name, read in taps.items():
        readers.setdefault(tuple(read), []).append(name)
    return [f"{', '.join(names)} at {', '.join(map(str, read))}" for read, names in readers.items()]


def record_of(
    model: Any, opt: Any, config: DistillConfig, student: StudentRequest, distilled: Sequence[Distilled]
) -> StudentRecord:
    """Return the record of the students of a model that is set up."""
    return StudentRecord(
        kd_plugin=__version__,
        model=opt.model,
        direction=getattr(opt, "direction", None),
        host_options=StudentRecord.options_of(opt),
        distillation=config.to_dict(),
        students={pair.net: describe(network_of(model, pair)) for pair in find_pairs(model)},
        teachers={
            d.pair.net: {"file": str(d.file), "sha256": sha256(d.file), **describe(d.teacher)} for d in distilled
        },
        dataset_mode=getattr(opt, "dataset_mode", None),
        pictures=StudentRecord.pictures_of(opt),
        build={
            "widths": list(student.widths) if student.widths else None,
            "conv": student.conv,
            "factory": student.factory or factory_of(opt.netG),
        },
    )
