"""Compare the terms with DeepLIIF's own distillation, ``--model DeepLIIFKD``, after equally many steps.

``python benchmarks/deepliif_kl.py FOLDER``, in an environment with DeepLIIF, draws images, trains a teacher and
students, and prints a Markdown table of their PSNR on held-out images. A training whose files are in the folder is
not repeated.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from deepliif_cells import write_strips
from PIL import Image
from torch import nn

from kd_plugin import load_teacher
from kd_plugin.metrics.cost import count_parameters
from kd_plugin.metrics.quality import psnr
from kd_plugin.networks.translator import to_tensor

TRAINED_ON, HELD_OUT, SIZE = 48, 24, 64  # images, and their side
LABEL_WEIGHTS = (0.5, 0.25, 0.25)  # of the segmentations of the image and of the two stains
GENERATORS = ("G1", "G2", "GS0", "GS1", "GS2")
# Each student: its --model, and the terms of the plugin.
STUDENTS = {
    "student alone": ("DeepLIIF", ""),
    "DeepLIIFKD": ("DeepLIIFKD", ""),
    "`pixel`": ("DeepLIIF", "pixel"),
    "`wavelet`": ("DeepLIIF", "wavelet"),
    "`wavelet,srp`": ("DeepLIIF", "wavelet,srp"),
    "`wavelet,pixel`": ("DeepLIIF", "wavelet,pixel"),
}
_WEIGHTS = ",".join(map(str, LABEL_WEIGHTS))
_SHARED = f"""
    --gpu-ids -1 --net-g resnet_6blocks --net-gs unet_64 --ndf 8 --load-size {SIZE} --crop-size {SIZE} --num-threads 0
    --n-epochs-decay 0 --epoch-count 1 --display-id 0 --print-freq 8 --no-html --modalities-no 2
    --modalities-names cells,one,two --seg-weights {_WEIGHTS} --loss-weights-g {_WEIGHTS} --loss-weights-d {_WEIGHTS}
"""


@dataclass(frozen=True)
class Images:
    """Batches (B, 3, H, W) in [0, 1] of the two stains, one after the other, and of the labels."""

    stains: torch.Tensor
    labels: torch.Tensor


class Comparison:
    """Trainings in a folder, which has ``data/`` and ``checkpoints/``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for seed, (phase, number) in enumerate((("train", TRAINED_ON), ("test", HELD_OUT))):
            write_strips(folder / "data" / phase, number, SIZE, seed)

    def train(self, name: str, epochs: int, model: str, terms: str, more: str) -> Path:
        """Return the checkpoint folder of a training, which is run if it has not ended."""
        checkpoints = self._folder / "checkpoints" / name
        if not all((checkpoints / f"{epochs}_net_{net}.pth").is_file() for net in GENERATORS):
            words = f"train --dataroot data --checkpoints-dir checkpoints --name {name} --model {model}"
            words += f" --n-epochs {epochs} --save-epoch-freq {epochs} {_SHARED} {more}"
            # Without terms, the plugin is not loaded.
            program = [sys.executable, "-m", "kd_plugin", "run", "deepliif"] if terms else [str(_deepliif())]
            distill = f"--distill {terms} --teacher checkpoints/teacher --teacher_mode batch"
            environment = {**os.environ, "KD_DISTILL": distill} if terms else None
            with (self._folder / f"{name}.log").open("w") as log:
                command = [*program, *shlex.split(words)]
                subprocess.run(command, cwd=self._folder, env=environment, stdout=log, stderr=log, check=True)
        return checkpoints

    def held_out(self) -> tuple[torch.Tensor, Images]:
        """Return the held-out inputs (B, 3, H, W) in [-1, 1], and the images of the same cells."""
        strips = [np.array(Image.open(file)) for file in sorted((self._folder / "data" / "test").glob("*.png"))]
        inputs, one, two, labels = to_tensor(strips).split(SIZE, dim=3)
        return inputs, Images((torch.cat([one, two]) + 1) / 2, (labels + 1) / 2)


def _deepliif() -> Path:
    return Path(sys.executable).with_name("deepliif")


def generators_of(checkpoints: Path) -> dict[str, nn.Module]:
    """Return the generators of a training, with the statistics of each image, as DeepLIIF tests."""
    return {net: load_teacher(checkpoints / f"latest_net_{net}.pth", mode="batch") for net in GENERATORS}


def translate(networks: dict[str, nn.Module], inputs: torch.Tensor) -> Images:
    """Return what DeepLIIF's test computes of images (B, 3, H, W) in [-1, 1], one by one."""
    outputs = []
    with torch.inference_mode():
        for image in inputs.split(1):
            one, two = networks["G1"](image), networks["G2"](image)
            parts = networks["GS0"](image), networks["GS1"](one), networks["GS2"](two)
            labels = sum(weight * part for weight, part in zip(LABEL_WEIGHTS, parts, strict=True))
            outputs.append((one, two, labels))
    one, two, labels = (torch.cat(images) for images in zip(*outputs, strict=True))
    return Images((torch.cat([one, two]) + 1) / 2, (labels.clamp(-1, 1) + 1) / 2)


def row(name: str, runs: list[tuple[Images, int]], references: list[Images]) -> str:
    """Return a row of the table: parameters and PSNR to each reference, mean and half of the range of the seeds."""
    cells = [name, f"{runs[0][1] / 1e6:.3f} M"]
    for reference in references:
        for part in ("stains", "labels"):
            values = [psnr(getattr(images, part), getattr(reference, part)) for images, _ in runs]
            spread = f" ± {(max(values) - min(values)) / 2:.2f}" if len(values) > 1 else ""
            cells.append("" if math.isinf(values[0]) else f"{statistics.mean(values):.2f}{spread}")
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Train, and print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each student")
    parser.add_argument("--epochs", type=int, default=3, help=f"of each student, of {TRAINED_ON} steps each")
    parser.add_argument("--teacher-epochs", type=int, default=5)
    parser.add_argument("--ngf", type=int, default=8, help="width of the students; that of DeepLIIF's teachers is 64")
    parser.add_argument("--lr-g", type=float, default=0.001, help="learning rate of the students' generators")
    options = parser.parse_args()
    comparison = Comparison(options.folder)
    inputs, truth = comparison.held_out()
    large = generators_of(comparison.train("teacher", options.teacher_epochs, "DeepLIIF", "", "--ngf 64 --seed 1"))
    taught = translate(large, inputs)
    trained: dict[str, list[tuple[Images, int]]] = {name: [] for name in STUDENTS}
    for seed in range(1, options.seeds + 1):
        for name, (model, terms) in STUDENTS.items():
            more = f"--ngf {options.ngf} --lr-g {options.lr_g} --seed {seed}"
            more += " --model-dir-teacher checkpoints/teacher" if model == "DeepLIIFKD" else ""
            run = f"{name.strip('`').replace(',', '-').replace(' ', '-')}-{seed}"
            small = generators_of(comparison.train(run, options.epochs, model, terms, more))
            trained[name].append((translate(small, inputs), sum(map(count_parameters, small.values()))))
            print(run, file=sys.stderr, flush=True)
    columns = [f"{part} to the {to}" for to in ("teacher", "truth") for part in ("stains", "labels")]
    print(f"| | parameters | {' | '.join(columns)} |\n|{' --- |' * 6}")
    print(row("teacher", [(taught, sum(map(count_parameters, large.values())))], [taught, truth]))
    for name, runs in trained.items():
        print(row(name, runs, [taught, truth]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
