"""The files of a student: checkpoints, its record, its log, and sample images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..networks.taps import unwrap
from ..report.sample_images import save_png
from ..students import StudentRecord, StudentRequest, describe, factory_of
from ..version import __version__
from ..watch.log import LOG_NAME
from .teachers import Teacher

CHOICES = ("last", "best", "ema")


def checkpoint(folder: Path, epoch: str) -> Path:
    """Return the path of a student's checkpoint."""
    return folder / f"{epoch}_net_G.pth"


class Log:
    """The losses of a student in ``loss_log.txt``, in the hosts' format, as means between two lines.

    Args:
        folder: of the student.
        every: number of images between two lines.
        epoch_length: number of images of an epoch.
    """

    def __init__(self, folder: Path, every: int, epoch_length: int) -> None:
        self._file, self._every, self._epoch = folder / LOG_NAME, every, epoch_length
        self._sums: dict[str, torch.Tensor] = {}
        self._extra: dict[str, float] = {}
        self._steps, self._seconds, self._waited, self._written = 0, 0.0, 0.0, 0

    def add(
        self,
        images: int,
        losses: Mapping[str, torch.Tensor],
        extra: Mapping[str, float],
        seconds: float,
        waited: float,
    ) -> bool:
        """Add a step; return whether a line was written.

        Args:
            images: number of images so far.
            losses: of the step, scalars.
            extra: values that are logged as they are, such as shares.
            seconds: duration of the step.
            waited: part of it that waited for images.
        """
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._extra.update(extra)
        self._steps += 1
        self._seconds += seconds
        self._waited += waited
        if images // self._every == self._written // self._every and self._written:
            return False
        epoch, within = divmod(images - 1, self._epoch)
        values = {name: float(total) / self._steps for name, total in self._sums.items()} | self._extra
        times = f"time: {self._seconds / self._steps:.3f}, data: {self._waited / self._steps:.3f}"
        listed = " ".join(f"{name}: {value:.4g}" for name, value in values.items() if math.isfinite(value))
        line = f"(epoch: {epoch + 1}, iters: {within + 1}, {times}) {listed}"
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self._sums, self._extra, self._steps, self._seconds, self._waited = {}, {}, 0, 0.0, 0.0
        self._written = images
        return True


def save_samples(folder: Path, epoch: int, images: Mapping[str, np.ndarray]) -> None:
    """Write images, uint8 (H, W, 3) each, where ``kd watch`` looks for those of a host."""
    for name, image in images.items():
        save_png(image, folder / "web" / "images" / f"epoch{epoch:03d}_{name}.png")


@dataclass(frozen=True)
class HowTaught:
    """How a student was taught, for its record.

    Attributes:
        distillation: terms, settings and length.
        direction: ``"AtoB"`` or ``"BtoA"``.
        pictures: the hosts' options for resizing and cropping.
        pairs: whether it was trained on pairs.
    """

    distillation: dict[str, Any]
    direction: str
    pictures: dict[str, Any]
    pairs: bool


def write_record(
    folder: Path,
    network: nn.Module,
    request: StudentRequest,
    teacher: Teacher,
    taught: HowTaught,
    selection: Mapping[str, Any],
) -> StudentRecord:
    """Write ``student.json`` and return it."""
    file = next(iter(teacher.experiment.files.values()), teacher.experiment.path)
    described = {} if teacher.finished else describe(teacher.network)
    record = StudentRecord(
        kd_plugin=__version__,
        # "test" is the hosts' model of one generator and a folder of images.
        model="pix2pix" if taught.pairs else "test",
        direction=taught.direction,
        host_options={
            "input_nc": request.input_nc,
            "output_nc": request.output_nc,
            "ngf": request.ngf,
            "netG": request.netG,
            "norm": request.norm,
            "no_dropout": not request.dropout,
            # Of contrastive-unpaired-translation, whose generators are antialiased by default.
            "normG": request.norm,
            "no_antialias": True,
            "no_antialias_up": True,
        },
        distillation=taught.distillation,
        students={"G": describe(unwrap(network))},
        teachers={"G": {"file": str(file), "sha256": teacher.digest, **described}},
        dataset_mode="aligned" if taught.pairs else "single",
        pictures=taught.pictures,
        build={
            "widths": list(request.widths) if request.widths else None,
            "conv": request.conv,
            "padding": request.padding,
            "factory": request.factory or factory_of(request.netG),
        },
        selection=dict(selection),
    )
    record.write(folder)
    return record
