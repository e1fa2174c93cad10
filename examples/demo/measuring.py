"""Measure the test images and the checkpoints."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kd_plugin import __version__, inspect_checkpoint
from kd_plugin.metrics.cost import Cost, generator_cost
from kd_plugin.metrics.quality import Quality, measure_quality


def load_images(folder: Path, stems: Sequence[str], role: str) -> torch.Tensor:
    """Return the images ``<stem>_<role>.png`` of a test, (B, 3, H, W) in [0, 1]."""
    arrays = []
    for stem in stems:
        with Image.open(folder / f"{stem}_{role}.png") as image:
            arrays.append(np.asarray(image.convert("RGB"), dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def measure_images(folder: Path, stems: Sequence[str], role: str = "fake_B") -> tuple[Quality, tuple[Quality, ...]]:
    """Return the quality of the images of one role relative to the ground truth: overall, and of each image."""
    images, truth = load_images(folder, stems, role), load_images(folder, stems, "real_B")
    each = zip(images.split(1), truth.split(1), strict=True)
    return measure_quality(images, truth), tuple(measure_quality(*pair) for pair in each)


def measure_checkpoint(file: Path, size: int) -> Cost:
    """Return the parameters and operations of a checkpoint's generator for a square image."""
    return generator_cost(inspect_checkpoint(file), size)


def choose_samples(folder: Path, stems: Sequence[str], each: int = 3) -> tuple[str, ...]:
    """Return the crops of each photograph with the most detail in the ground truth."""
    truth = load_images(folder, stems, "real_B")
    detail = truth.diff(dim=2).abs().mean((1, 2, 3)) + truth.diff(dim=3).abs().mean((1, 2, 3))
    by_detail = sorted(range(len(stems)), key=lambda i: -float(detail[i]))
    chosen: list[str] = []
    for photograph in dict.fromkeys(stem.rsplit("_", 1)[0] for stem in stems):
        chosen += [stems[i] for i in by_detail if stems[i].rsplit("_", 1)[0] == photograph][:each]
    return tuple(chosen)


def versions() -> dict[str, str]:
    """Return the versions that the results depend on."""
    return {
        "kd_plugin": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-image": metadata.version("scikit-image"),
        "python": platform.python_version(),
    }
