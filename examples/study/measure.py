"""Measure generators on the validation and test images of a task.

Distances between distributions are of features of :mod:`features`. Images are resized as by the hosts' ``test.py``,
networks use running statistics, and their outputs are rounded to 8 bits, as they would be saved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from features import Features, features_of
from tasks import Task
from torch import nn

from kd_plugin.host.model.load_generator import load_file
from kd_plugin.metrics.cost import generator_cost
from kd_plugin.metrics.distances import frechet_distance, frechet_influences, kernel_distance
from kd_plugin.metrics.frequency import band_sums
from kd_plugin.metrics.quality import ssim
from kd_plugin.metrics.stability import shift_error
from kd_plugin.pictures import Preprocessing, as_array, find_images, name_of, open_image

_BATCH = 16
_SHIFT, _BORDER = 2, 8  # pixels


@dataclass(frozen=True)
class Images:
    """The images of a phase of a task.

    Attributes:
        task: data set.
        phase: ``"val"`` or ``"test"``.
        side: to which images are resized, in pixels.
        device: of the networks.
    """

    task: Task
    phase: str
    side: int
    device: str

    @cached_property
    def inputs(self) -> torch.Tensor:
        """Inputs (N, 3, side, side) in [-1, 1]."""
        return _read(self._input_files, self._half("A"), self.side)

    @cached_property
    def larger_inputs(self) -> torch.Tensor:
        """The same, of ``side`` and a few pixels more, for two windows that are shifted."""
        return _read(self._input_files, self._half("A"), self.side + _SHIFT)

    @cached_property
    def reals(self) -> torch.Tensor:
        """Real images of the target domain (M, 3, side, side) in [0, 1]."""
        folder = self.task.reals(self.phase)
        return (_read(find_images(folder), self._half("B"), self.side) + 1) / 2

    @cached_property
    def real_features(self) -> Features:
        """Their features."""
        return features_of(self.reals.to(self.device))

    @cached_property
    def paired(self) -> bool:
        """Whether each input has a ground truth among the real images, under its name."""
        inputs, reals = self.task.inputs(self.phase), self.task.reals(self.phase)
        return [name_of(file, inputs) for file in self._input_files] == [
            name_of(file, reals) for file in find_images(reals)
        ]

    @property
    def _input_files(self) -> list[Path]:
        return find_images(self.task.inputs(self.phase))

    def _half(self, side: str) -> str:
        return side if self.task.kind == "paired" else ""


def frechet(file: Path, images: Images) -> float:
    """Return the Frechet distance of a generator's images from the real ones."""
    generated = translate(load(file, images), images)
    return _short(frechet_distance(_last(features_of(generated.to(images.device))), _last(images.real_features)))


def measure(file: Path, images: Images) -> dict[str, Any]:
    """Return all measures of a generator; lower is better except for ``psnr`` (dB) and ``ssim``.

    ``frechet``, ``kid``: distances of distributions. Where inputs have a ground truth: ``psnr``, ``ssim``,
    ``perceptual``, ``bands`` (normalised L1 error of each wavelet band). ``shift``: change of the output, in steps of
    8 bits, if the input is shifted by two pixels. ``per_image`` has what intervals are computed from: the PSNR of
    each image, and its influence on the Frechet distance (``frechet_real``: those of the real images, if these
    belong to other inputs).
    """
    network = load(file, images)
    generated = translate(network, images)
    found, real = features_of(generated.to(images.device)), images.real_features
    value, influence, real_influence = frechet_influences(_last(found), _last(real))
    measures: dict[str, Any] = {"frechet": value, "kid": kernel_distance(_last(found), _last(real))}
    per_image = {"frechet": influence}
    if images.paired:
        per_image["frechet"] = influence + real_influence
        error = (generated - images.reals).double().square().mean(dim=(1, 2, 3))
        per_image["psnr"] = (-10 * torch.log10(error.clamp(min=1e-12))).numpy()
        measures |= {
            "psnr": float(per_image["psnr"].mean()),
            "ssim": ssim(generated, images.reals),
            "perceptual": float(found.perceptual_distance(real).mean()),
            "bands": {name: _short(value) for name, value in band_sums(generated, images.reals).errors().items()},
        }
    else:
        per_image["frechet_real"] = real_influence
    shifts = [
        shift_error(network, batch.to(images.device), _SHIFT, _BORDER) for batch in images.larger_inputs.split(_BATCH)
    ]
    measures["shift"] = float(np.concatenate(shifts).mean())
    return {
        **{name: value if name == "bands" else _short(value) for name, value in measures.items()},
        "per_image": {name: [_short(value) for value in values] for name, values in per_image.items()},
    }


def cost(file: Path, side: int) -> dict[str, int]:
    """Return the parameters of a generator, and its MACs for an image of this side."""
    loaded = load_file(file)
    assert loaded.spec is not None  # the study's generators are of the family
    found = generator_cost(loaded.spec, side)
    return {"params": found.params, "macs": found.macs}


def load(file: Path, images: Images) -> nn.Module:
    """Return a generator in eval mode, on the device of the images."""
    return load_file(file).module.eval().to(images.device)


def translate(network: Callable[[torch.Tensor], torch.Tensor], images: Images) -> torch.Tensor:
    """Return translated images (N, 3, H, W) in [0, 1], of 8 bits."""
    with torch.no_grad():
        outputs = torch.cat([network(batch.to(images.device)).cpu() for batch in images.inputs.split(_BATCH)])
    return ((outputs.clamp(-1, 1) + 1) * 127.5).round() / 255


def _last(features: Features) -> np.ndarray:
    return features.last.cpu().numpy()


def _read(files: list[Path], half: str, side: int) -> torch.Tensor:
    preprocessing = Preprocessing("resize_and_crop", side, side)
    arrays = np.stack([as_array(preprocessing(open_image(file, half))) for file in files])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1


def _short(value: float) -> float:
    """Return a number with six digits, so that the files of the results are small."""
    return float(f"{value:.6g}")
