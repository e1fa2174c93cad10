"""Train and test the demo's four generators, with the runner and with ``kd compress``.

All commands are built here, so that the report can list them.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from process import run_logged

import kd_plugin

HOST = Path(__file__).resolve().parent.parent / "host"
TEACHER, ALONE, DISTILLED, COMPRESSED = "teacher", "student_alone", "student_distilled", "student_compressed"
COMPRESS_TERMS = "wavelet,srp,pixel"  # for restoration the best of docs/results.md
NAMES = (TEACHER, ALONE, DISTILLED, COMPRESSED)

_LOSSES = re.compile(r"\(epoch: (\d+), iters: (\d+), time: ([\d.]+), data: ([\d.]+)\)")
_STEP = re.compile(r"step (\d+) of (\d+)")  # of kd compress
_TESTED = re.compile(r"image (\d+)")


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of the generators, which differ only in width and distillation."""

    netG: str = "resnet_6blocks"
    teacher_ngf: int = 16
    student_ngf: int = 6
    ndf: int = 16
    batch_size: int = 16
    lr: float = 0.001
    gan_mode: str = "lsgan"
    distill: tuple[str, ...] = ("--distill", "wavelet,srp")

    def ngf(self, name: str) -> int:
        """Return the width of the generator of this name."""
        return self.teacher_ngf if name == TEACHER else self.student_ngf


@dataclass(frozen=True)
class Workspace:
    """The folders of a demo, and the settings shared by all of its runs.

    Attributes:
        output: folder of the demo, with ``data/``, ``checkpoints/``, ``results/`` and ``logs/``.
        recipe: hyper-parameters of the generators.
        seed: seed of every training.
        train_images, test_images: numbers of pairs.
        tile_size, crop_size: sides of a training image and of the host's random crop.
        threads: number of threads of PyTorch; None for its default, or OMP_NUM_THREADS.
    """

    output: Path
    recipe: Recipe
    seed: int
    train_images: int
    test_images: int
    tile_size: int
    crop_size: int
    threads: int | None = None

    def train_command(self, name: str, epochs: int) -> list[str]:
        """Return the command that trains a generator; the learning rate decays to zero over the second half."""
        if name == COMPRESSED:
            return self._compress_command(epochs)
        recipe = self.recipe
        options = {
            **self._shared(name, "checkpoints"),
            "netG": recipe.netG,
            "ngf": recipe.ngf(name),
            "ndf": recipe.ndf,
            "gan_mode": recipe.gan_mode,
            "lr": recipe.lr,
            "batch_size": recipe.batch_size,
            "n_epochs": epochs - epochs // 2,
            "n_epochs_decay": epochs // 2,
            "save_epoch_freq": epochs,
            "save_latest_freq": 10**9,  # save only at the end
            "print_freq": 2 * recipe.batch_size,
            "load_size": self.tile_size,
            "seed": self.seed,
        }
        distill = ["--teacher", self._path("checkpoints") + f"/{TEACHER}"] if name == DISTILLED else []
        more = [*recipe.distill, *distill] if distill else []
        return _command("train.py", options, "--no_dropout", "--no_html", *more)

    def _compress_command(self, epochs: int) -> list[str]:
        """Return the command that trains a student on the teacher's images alone, with as many steps of as many."""
        recipe = self.recipe
        options = {
            "pairs": f"{self._path('data')}/train",
            "lambda_L1": 0,  # no ground truth: only the inputs of the pairs are used
            "preprocess": "crop",
            "size": self.crop_size,
            "ngf": recipe.student_ngf,
            "distill": COMPRESS_TERMS,
            "lr": recipe.lr,
            "batch_size": recipe.batch_size,
            "steps": epochs * -(-self.train_images // recipe.batch_size),
            "num_threads": 0,
            "print_freq": 2 * recipe.batch_size,
            "save_freq": 10**9,
            "seed": self.seed,
            "output": f"{self._path('checkpoints')}/{COMPRESSED}",
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        teacher = f"{self._path('checkpoints')}/{TEACHER}/latest_net_G.pth"
        return [sys.executable, "-m", "kd_plugin", "compress", teacher, *flags, "--eval"]

    def test_command(self, name: str) -> list[str]:
        """Return the command that tests a generator on the held-out crops."""
        options = {
            **self._shared(name, "checkpoints"),
            "results_dir": self._path("results"),
            "num_test": self.test_images,
            "load_size": self.crop_size,
        }
        recorded = name in (DISTILLED, COMPRESSED)  # the runner reads the network from the student's record
        if not recorded:
            options |= {"netG": self.recipe.netG, "ngf": self.recipe.ngf(name)}
        return _command("test.py", options, "--eval", *([] if recorded else ["--no_dropout"]))

    def measure_speed(self, name: str, steps: int = 6) -> Speed:
        """Time a few training steps in another folder; measure the teacher first."""
        batch = self.recipe.batch_size
        command = self.train_command(name, 1)
        replaced = {
            self._path("checkpoints"): self._path("speed"),
            self._path("checkpoints") + f"/{TEACHER}": self._path("speed") + f"/{TEACHER}",
        }
        command = [replaced.get(argument, argument) for argument in command]
        command += ["--max_dataset_size", str(steps * batch), "--print_freq", str(batch)]
        times: list[float] = []

        def note(line: str) -> None:
            if found := _LOSSES.match(line):
                times.append(float(found[3]) + float(found[4]) / batch)

        begun = time.monotonic()
        self._run(command, f"speed_{name}", note)
        wall = time.monotonic() - begun
        per_image = statistics.median(times[2:])  # without warm-up
        return Speed(per_image, max(wall - batch * sum(times), 0.0))

    def train(self, name: str, epochs: int, progress: Callable[[float], None]) -> float:
        """Train a generator; report the completed fraction to ``progress`` and return the elapsed seconds."""

        def note(line: str) -> None:
            if found := _LOSSES.match(line):
                images = (int(found[1]) - 1) * self.train_images + int(found[2])
                progress(images / (epochs * self.train_images))
            elif found := _STEP.search(line):
                progress(int(found[1]) / int(found[2]))

        begun = time.monotonic()
        self._run(self.train_command(name, epochs), f"train_{name}", note)
        return time.monotonic() - begun

    def test(self, name: str, progress: Callable[[float], None]) -> None:
        """Test a generator on the held-out crops."""

        def note(line: str) -> None:
            if found := _TESTED.match(line):
                progress(int(found[1]) / self.test_images)

        self._run(self.test_command(name), f"test_{name}", note)

    def distillation(self) -> dict[str, Any]:
        """Return the terms with their weights and settings, from the record of the distilled student."""
        record: dict[str, Any] = json.loads((self.output / "checkpoints" / DISTILLED / "student.json").read_text())
        distillation: dict[str, Any] = record["distillation"]
        return distillation

    def _shared(self, name: str, checkpoints: str) -> dict[str, object]:
        return {
            "dataroot": self._path("data"),
            "checkpoints_dir": self._path(checkpoints),
            "name": name,
            "model": "pix2pix",
            "norm": "batch",
            "num_threads": 0,
            "preprocess": "crop",
            "crop_size": self.crop_size,
        }

    def _path(self, folder: str) -> str:
        return os.path.relpath(self.output / folder, HOST)

    def _run(self, command: Sequence[str], log: str, on_line: Callable[[str], None]) -> None:
        run_logged(command, HOST, _environment(self.threads), self.output / "logs" / f"{log}.txt", on_line)


@dataclass(frozen=True)
class Speed:
    """Training speed: seconds per image, and seconds to start and end a process."""

    per_image: float
    start: float

    def seconds(self, images: int) -> float:
        """Return the duration of a training on this many images."""
        return self.start + self.per_image * images


def choose_threads(workspace: Workspace) -> tuple[Workspace, Speed]:
    """Return the workspace with the faster number of threads, and the teacher's speed.

    OpenMP threads busy-wait. On idle cores PyTorch's default is the fastest; on cores shared with other programs
    it can be ten times slower than a single thread.
    """
    speed = workspace.measure_speed(TEACHER)
    if "OMP_NUM_THREADS" in os.environ or (os.cpu_count() or 1) == 1:
        return workspace, speed
    single = replace(workspace, threads=1)
    alone = single.measure_speed(TEACHER)
    return (single, alone) if alone.per_image < speed.per_image else (workspace, speed)


def plan_epochs(seconds: float, speeds: Sequence[Speed], images: int) -> int:
    """Return the number of epochs of ``images`` images that fit into the time; at least 2."""
    starts = sum(speed.start for speed in speeds)
    one = sum(speed.per_image for speed in speeds) * images
    return max(2, int((seconds - starts) / one))


def shown(command: Sequence[str]) -> str:
    """Return a command as typed in the host's folder."""
    return shlex.join(["python", *command[1:]])


def _command(script: str, options: dict[str, object], *more: str) -> list[str]:
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "kd_plugin", "run", script, *flags, *more]


def _environment(threads: int | None) -> dict[str, str]:
    """Return the environment of subprocesses: the path of this kd_plugin, and the number of threads."""
    package = str(Path(kd_plugin.__file__).resolve().parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    chosen = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return {**os.environ, **chosen, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
