"""Whole trainings of ``kd compress``: its first step, waiting for images, memory, and the teacher cache."""

from __future__ import annotations

import contextlib
import io
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from kd_plugin import CompressSettings, GeneratorSpec, compress
from kd_plugin.compression.loop import Step
from kd_plugin.compression.watcher import Watcher
from kd_plugin.compression.wishes import parse_wishes
from kd_plugin.networks.generator import build_generator

TITLE = "a training of kd compress: a 7x student of a ResNet-9 of ngf 64 at 256x256"
_WARM_UP = 10  # steps


class _Record(Watcher):
    """Records the duration of each step, and the resident memory after it."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.first = 0.0
        self.seconds: list[float] = []
        self.waited: list[float] = []
        self.memory: list[int] = []

    def step(self, step: Step) -> None:
        self.first = self.first or time.perf_counter() - self.begun
        self.seconds.append(step.seconds)
        self.waited.append(step.waited)
        self.memory.append(_resident_memory())


def _resident_memory() -> int:
    """Return the resident memory of this process in bytes; 0 where there is no /proc."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.is_file() else 0


class _Setup:
    """A teacher and a folder of images in a temporary folder."""

    def __init__(self, folder: Path, device: torch.device, ngf: int, blocks: int, size: int, images: int) -> None:
        self._folder, self._device, self._size = folder, device, size
        torch.manual_seed(0)
        spec = GeneratorSpec("resnet", 3, 3, ngf, blocks, "instance", False, True)
        self._teacher = folder / "latest_net_G.pth"
        torch.save(build_generator(spec).state_dict(), self._teacher)
        generator = np.random.default_rng(0)
        (folder / "images").mkdir()
        for number in range(images):
            coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((4 * size, 3 * size), Image.Resampling.BICUBIC)
            image.save(folder / "images" / f"{number:04d}.jpg", quality=90)

    def train(self, name: str, **settings: Any) -> _Record:
        """Run a training; return its record."""
        record = _Record()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            compress(
                CompressSettings(
                    output=self._folder / name,
                    teacher=self._teacher,
                    images=self._folder / "images",
                    size=self._size,
                    device=str(self._device),
                    validation=0.0,
                    **settings,
                ),
                watcher=record,
            )
        return record


def measured(device: torch.device, tiny: bool) -> list[tuple[str, str, str]]:
    """Return the rows of the table: what, the figure, and the target."""
    with TemporaryDirectory() as folder:
        large = _large(Path(folder), device, tiny)
    with TemporaryDirectory() as folder:
        small = _long(Path(folder), device, tiny)
    targets = ["under 5 s", "under 5 %", "at least 1.3", "flat"] if device.type == "cpu" else [""] * 4
    return [(what, figure, target) for (what, figure), target in zip([*large, small], targets, strict=True)]


def _large(folder: Path, device: torch.device, tiny: bool) -> list[tuple[str, str]]:
    """A 7x student of a ResNet-9 of ngf 64 at 256x256."""
    size, images = (32, 12) if tiny else (256, 20)
    setup = _Setup(folder, device, 16 if tiny else 64, 2 if tiny else 9, size, images)
    students = parse_wishes(["2x" if tiny else "7x"])
    record = setup.train("drawn", students=students, steps=2 * images, workers=2)
    waited = sum(record.waited[_WARM_UP:]) / sum(record.seconds[_WARM_UP:])
    terms = {"wavelet": None, "pixel": None}
    again = setup.train(
        "cached", students=students, terms=terms, epochs=2, workers=2, augment=False, teacher_cache=folder / "cache"
    )
    first, second = sum(again.seconds[1:images]), sum(again.seconds[images + 1 :])  # without the first step of each
    return [
        ("first step after the start, PyTorch being imported", f"{record.first:.1f} s"),
        ("waiting for images, two processes that load them", f"{waited:.1%}"),
        (
            "first epoch against the second, `--no-augment --teacher-cache DIR`, wavelet,pixel",
            f"{first / second:.2f}",
        ),
    ]


def _long(folder: Path, device: torch.device, tiny: bool) -> tuple[str, str]:
    """A long training of a small student at 32x32."""
    steps = 40 if tiny else 10_000
    setup = _Setup(folder, device, 8, 1, 32, 20)
    memory = setup.train("long", students=parse_wishes(["ngf=4"]), steps=steps, workers=0).memory
    grown = (memory[-1] - memory[steps // 10]) / 1e6
    return (f"resident memory at 32x32, step {steps:,} minus step {steps // 10:,}", f"{grown:.1f} MB")
