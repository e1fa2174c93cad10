"""What labels the images: a generator's checkpoint, an exported file, a user's function, or finished images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..distillation.distiller import Taught
from ..distillation.teacher_cache import TeacherCache
from ..distillation.teacher_pass import TeacherPass
from ..errors import ArgumentError, CheckpointError, KDError, first_line, in_one_line
from ..export.exported import OnnxTranslator, load_program
from ..files import sha256
from ..imports import build_network
from ..networks.checkpoint import read_state_dict
from ..networks.generator import GeneratorSpec
from ..networks.teacher import TeacherMode, freeze
from ..pictures import digest_of_files, find_images
from ..report.experiments import Experiment, find_experiment, options_of
from ..report.networks import LoadedFile, Loader

_USUAL_MULTIPLE = 4  # of the family
KEY = "teacher"  # of its images in a batch


@dataclass(frozen=True)
class Teacher:
    """A frozen teacher.

    Attributes:
        network: maps images (B, C, H, W) in [-1, 1] to images; for finished images, a network that must not run.
        spec: its description, if it is a generator of the family.
        experiment: what a report compares with.
        digest: identifies it: the SHA-256 of its file or weights, or of the names and sizes of finished images.
        channels: of its input.
        trained: options of its training by name, as text, if they lie next to it.
        finished: whether it is a folder of images.
        readable: whether terms can read its features.
    """

    network: nn.Module
    spec: GeneratorSpec | None
    experiment: Experiment
    digest: str
    channels: int = 3
    trained: Mapping[str, str] = field(default_factory=dict)
    finished: bool = False
    readable: bool = False

    @property
    def multiple(self) -> int:
        """The number of pixels that sides of its images must be multiples of."""
        return self.spec.multiple if self.spec else 1

    def teach(self, taps: set[str], prepared: nn.Module, cache: TeacherCache | None) -> Callable[..., Taught]:
        """Return the function of a batch that returns its images and features.

        Args:
            taps: the modules whose features are read.
            prepared: the network as it runs.
            cache: of its images, if any.
        """
        if self.finished:
            return lambda batch: (batch[KEY], {})
        run = TeacherPass(prepared, taps, cache)
        return lambda batch: run(batch["input"])


class _Exported(nn.Module):
    """A generator that another runtime runs."""

    def __init__(self, translator: OnnxTranslator) -> None:
        super().__init__()
        self._translator = translator

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._translator.translate(images, [0] * len(images)).to(images.device)


class _Finished(nn.Module):
    """Stands for the network that made a folder of images."""


def open_teacher(
    path: Path | None,
    *,
    load: Loader,
    function: str = "",
    weights: Path | None = None,
    images: Path | None = None,
    epoch: str = "latest",
    direction: str | None = None,
    mode: TeacherMode = "eval",
    device: torch.device | str = "cpu",
) -> Teacher:
    """Return the teacher that is named in one of three ways.

    Args:
        path: a checkpoint, its folder, an ONNX file, or a program of ``torch.export``.
        load: loads a checkpoint.
        function: ``package.module:function`` that returns the network, instead.
        weights: the function's weights.
        images: a folder of finished images with the names of the inputs, instead.
        epoch: of a folder of checkpoints.
        direction: of a folder with two generators: ``"AtoB"`` or ``"BtoA"``.
        mode: of networks in PyTorch.
        device: of networks in PyTorch.

    Raises:
        ArgumentError: If it is not named in one way.
        KDError: If it cannot be loaded.
    """
    given = {"a file": path, "a function": function, "a folder of its images": images}
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        raise ArgumentError(f"{' and '.join(named) or 'no teacher'} given: name the teacher in one way")
    if weights and not function:
        raise ArgumentError(f"the weights {weights} belong to a teacher's function, and none is given")
    device = torch.device(device)
    if images:
        digest = digest_of_files(find_images(images), images)
        whole = Experiment(images, "teacher", "teacher", {}, images, whole=True)
        return Teacher(_Finished(), None, whole, digest, finished=True)
    if function:
        return _of_function(function, weights, mode, device)
    assert path is not None
    return _of_file(path, load, epoch, direction, mode, device)


def _of_file(
    path: Path, load: Loader, epoch: str, direction: str | None, mode: TeacherMode, device: torch.device
) -> Teacher:
    experiment = find_experiment(path, "teacher", epoch)
    if experiment.images:
        raise CheckpointError(f"{path}: is a folder of images, not of checkpoints: name it as the teacher's images")
    named = {way: file for way, file in experiment.files.items() if way in ("", direction)} or (
        experiment.files if direction is None or path.is_file() else {}
    )
    if len(named) != 1:
        found = " and ".join(f"{file.name} ({way})" for way, file in experiment.files.items())
        wanted = f"no generator for {direction}" if not named else "more than one generator"
        raise ArgumentError(
            f"{path}: has {wanted}: {found}: give a file, or one of their directions", argument="direction"
        )
    way, file = next(iter(named.items()))
    if direction and way not in ("", direction) and "direction" in options_of(file):
        raise CheckpointError(f"{file}: translates {way}, by the options of its training, not {direction}")
    only = Experiment(path, "teacher", experiment.label, {way: file})
    digest, trained = sha256(file), options_of(file)
    if file.suffix == ".onnx":
        translator = OnnxTranslator(file)
        return Teacher(_Exported(translator), None, only, digest, translator.channels, trained)
    if file.suffix == ".pt2":
        return Teacher(load_program(file, device).module, None, only, digest, trained=trained)
    loaded = load(file)
    freeze(loaded.module.to(device), mode)
    channels = loaded.spec.input_nc if loaded.spec else 3
    return Teacher(loaded.module, loaded.spec, only, digest, channels, trained, readable=loaded.spec is not None)


def _of_function(function: str, weights: Path | None, mode: TeacherMode, device: torch.device) -> Teacher:
    network = build_network(f"the teacher {function}", function)
    if weights:
        try:
            network.load_state_dict(read_state_dict(weights))
        except RuntimeError as error:
            raise CheckpointError(f"{weights}: not the weights of {function} ({in_one_line(error)})") from error
    freeze(network.to(device), mode)
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(
            name.encode() + tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    channels = first.in_channels if first is not None and first.in_channels in (1, 3) else 3
    experiment = Experiment(weights or Path(function), "teacher", "teacher", {"": weights or Path(function)})
    trained = options_of(weights) if weights else {}
    return Teacher(network, None, experiment, digest.hexdigest(), channels, trained)


def loader_with(teacher: Teacher, load: Loader) -> Loader:
    """Return a loader for reports, which returns a function's network for the teacher."""
    file = next(iter(teacher.experiment.files.values()), None)
    is_module = not isinstance(teacher.network, (_Exported, _Finished))
    if teacher.spec is not None or not is_module:
        return load
    found = LoadedFile(teacher.network, None, teacher.digest)
    return lambda other: found if other == file else load(other)


def probe(teacher: Teacher, batch: int, size: int) -> int:
    """Run a teacher on empty images; return the number of channels of its output.

    Raises:
        KDError: If it does not take them, or returns other than images of their size.
    """
    images = torch.zeros(batch, teacher.channels, size, size)
    parameter = next(teacher.network.parameters(), None)
    what = f"the teacher {teacher.experiment.path}"
    if size % teacher.multiple:
        raise ArgumentError(f"{what} takes images whose sides are multiples of {teacher.multiple}, not {size}")
    try:
        with torch.no_grad():
            output: Any = teacher.network(images if parameter is None else images.to(parameter.device))
    except KDError:
        raise
    except Exception as error:  # a user's or a runtime's
        raise KDError(
            f"{what} does not take images {tuple(images.shape)} ({first_line(error, 120)}): choose another size or "
            "batch size"
        ) from error
    if not isinstance(output, torch.Tensor) or output.ndim != 4 or output.shape[1] not in (1, 3):
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise KDError(f"{what} returns {found}, expected images (B, 1 or 3, H, W)")
    if tuple(output.shape[2:]) != (size, size):
        raise KDError(
            f"{what} returns {output.shape[3]}x{output.shape[2]} pixels for {size}x{size}, and a student keeps the "
            f"size: choose one that the teacher keeps, such as a multiple of {_USUAL_MULTIPLE}"
        )
    return int(output.shape[1])
