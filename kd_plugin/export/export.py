"""Write a generator for another runtime, and compare the file with it: ``kd export``."""

from __future__ import annotations

import copy
import functools
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..errors import ArgumentError, KDError, first_line
from ..networks.generator import GeneratorSpec
from ..networks.taps import unwrap
from ..networks.translator import ModuleTranslator
from ..version import __version__
from . import onnx_file, openvino_file, program_file
from .graph import Graph, as_frames, graph_of
from .images import batch_of, draw_images, read_images
from .int8 import quantise
from .network import Statistics, deployed, has_batch_norm, has_dropout, with_subpixel_convolutions, without_dropout
from .parity import Parity, compare
from .settings import ExportSettings, Format

_IMAGES = 8  # to compare on
_CALIBRATION = 64  # images, at most
_STEPS = {"float32": 1.0, "float16": 4.0}  # the largest difference that is allowed, of 255
_PSNR = 35.0  # the least of 8-bit integers, in dB

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        file: the file.
        parity: how far its images are from those of the generator.
        images: on which this was measured, for the reader.
        operators: its operators, for the reader; "" if the format does not tell.
        shapes: of its images, for the reader.
        notes: what the reader should know.
    """

    file: Path
    parity: Parity
    images: str
    operators: str
    shapes: str
    notes: tuple[str, ...]


def export(
    network: nn.Module,
    settings: ExportSettings,
    spec: GeneratorSpec | None = None,
    channels: int = 3,
    facts: Mapping[str, str] | None = None,
) -> Exported:
    """Write a generator to a file, and compare the two on images; a file that differs is not written.

    Args:
        network: takes and returns images (B, C, H, W) in [-1, 1]; it is not changed.
        settings: of the export.
        spec: description of the generator, if it is of the family.
        channels: of the input.
        facts: texts to save in the file, such as the teacher, by name.

    Raises:
        ArgumentError: If a setting does not suit the generator.
        KDError: If the network cannot be exported, a package is missing, or the images of the file differ.
    """
    multiple = spec.multiple if spec else 1
    for side in (settings.width, settings.height):
        if side % multiple:
            name = spec.netG if spec else "network"
            raise ArgumentError(f"{side} pixels: a {name} takes sides that are multiples of {multiple}")
    if settings.dynamic and settings.format == "pt2" and 1 < multiple > min(settings.height, settings.width) // 2:
        raise ArgumentError(
            f"{min(settings.height, settings.width)} pixels: a program for any size of this network takes sides of "
            f"{2 * multiple} or more: compare at such a size"
        )
    if settings.format != "pt2":
        (openvino_file if settings.format == "openvino" else onnx_file).check_installed()
    pictures = read_images(settings.images, _IMAGES) if settings.images else draw_images(_IMAGES)
    reference = _as_tested(network, settings.statistics)
    _probe(reference, settings, channels)
    metadata = _metadata(settings, channels, facts or {})
    module = deployed(network, settings.statistics)
    if settings.int8:
        with_subpixel_convolutions(module)  # runtimes have no transposed convolutions in int8
    graph = graph_of(
        module,
        settings.height,
        settings.width,
        channels,
        frames=settings.frames,
        dynamic=settings.dynamic,
        multiple=multiple,
        # OpenVINO converts weights by itself.
        half=settings.half and settings.format != "openvino",
        metadata=metadata,
    )
    batches = _batches(pictures, settings, channels, multiple)
    expected = functools.partial(_expected, reference, settings.frames)
    with tempfile.TemporaryDirectory(dir=settings.output.parent, prefix=".kd_export_") as folder:
        written = Path(folder) / settings.output.name
        run = _write(graph, written, settings)
        parity = _compare(expected, run, batches)
        _check(parity, settings)
        operators = onnx_file.describe(written) if settings.format == "onnx" else ""
        for part in sorted(written.parent.iterdir(), key=lambda file: file == written):  # the weights first
            part.replace(settings.output.parent / part.name)
    shown = f"of {settings.images}" if settings.images else "drawn with the spectrum of photographs"
    notes = _notes(network, settings, batches)
    return Exported(settings.output, parity, shown, operators, _shapes(graph, settings.format), notes)


def _compare(expected: Callable[[torch.Tensor], torch.Tensor], run: Run, batches: list[torch.Tensor]) -> Parity:
    try:
        return compare(expected, run, batches)
    except Exception as error:  # of any runtime
        raise KDError(f"the file does not run ({type(error).__name__}: {first_line(error, 200)})") from error


def _write(graph: Graph, file: Path, settings: ExportSettings) -> Run:
    """Write the file; return the function of its images."""
    if settings.format == "pt2":
        program_file.write(graph, file)
        return program_file.open_runner(file)
    if not settings.int8:
        if settings.format == "openvino":
            openvino_file.write(replace(graph, half=settings.half), file)
            return openvino_file.open_runner(file)
        onnx_file.write(graph, file)
        return onnx_file.Runner(file)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx_file.write(graph, source)
        pictures = read_images(settings.int8, _CALIBRATION)
        size = settings.height, settings.width
        parts = [batch_of([picture], *size, graph.channels, graph.frames).numpy() for picture in pictures]
        quantise(source, target, parts)
        if settings.format == "openvino":
            openvino_file.convert(target, file, False, dict(graph.metadata))
            return openvino_file.open_runner(file)
        shutil.copyfile(target, file)
        return onnx_file.Runner(file)


def _as_tested(network: nn.Module, statistics: Statistics) -> ModuleTranslator:
    """Return the generator as a host's test runs it, without dropout."""
    module = without_dropout(copy.deepcopy(unwrap(network)).cpu().float())
    return ModuleTranslator(module, "the generator", "", mode="train" if statistics == "picture" else "eval")


def _expected(reference: ModuleTranslator, frames: bool, batch: torch.Tensor) -> torch.Tensor:
    """Return the generator's images for a batch in the format of the file."""
    images = batch.permute(0, 3, 1, 2).float() / 127.5 - 1 if frames else batch
    output = reference.translate(images, [0] * len(images))
    return as_frames(output) if frames else output


def _probe(reference: ModuleTranslator, settings: ExportSettings, channels: int) -> None:
    """Run the generator once, so that its own failures are not taken for those of a format."""
    try:
        reference.translate(torch.zeros(1, channels, settings.height, settings.width), [0])
    except KDError:
        raise
    except Exception as error:  # of any network
        raise KDError(
            f"the generator does not take images of {settings.width}x{settings.height} pixels and {channels} "
            f"channels ({type(error).__name__}: {first_line(error, 120)})"
        ) from error


def _batches(
    pictures: Sequence[Image.Image], settings: ExportSettings, channels: int, multiple: int
) -> list[torch.Tensor]:
    """Return the batches on which the file is compared: of its own shape, or of two sizes and two batch sizes."""
    make = functools.partial(batch_of, channels=channels, frames=settings.frames)
    height, width = settings.height, settings.width
    if not settings.dynamic:
        return [make([picture], height, width) for picture in pictures]
    whole, part = pictures[: len(pictures) // 2], pictures[len(pictures) // 2 :] or pictures
    taller = height + max(multiple, 4), width + 2 * max(multiple, 4)
    return [*(make([picture], height, width) for picture in whole), make(part, *taller)]


def _check(parity: Parity, settings: ExportSettings) -> None:
    """Raise a :class:`KDError` if the file differs from the generator."""
    if settings.int8:
        allowed, fits = f"a PSNR of {_PSNR:g} dB or more", parity.psnr >= _PSNR
        advice = "calibrate with more images of the generator's domain, or export in floating point"
    else:
        steps = _STEPS["float16" if settings.half else "float32"]
        allowed, fits = f"a difference of at most {steps:g}", parity.largest <= steps
        advice = "export in float32" if settings.half else "please report this with the generator's architecture"
    if not fits:
        raise KDError(f"the file's images differ: {parity}; allowed is {allowed}: {advice}. Nothing was written")


def _notes(network: nn.Module, settings: ExportSettings, batches: list[torch.Tensor]) -> tuple[str, ...]:
    notes = []
    if has_batch_norm(network):
        first, second = _as_tested(network, "picture"), _as_tested(network, "running")
        other = "running" if settings.statistics == "picture" else "picture"
        apart = compare(
            functools.partial(_expected, first, settings.frames),
            lambda batch: _expected(second, settings.frames, torch.from_numpy(batch)).numpy(),
            batches[:1],
        )
        notes.append(
            f"{settings.statistics} statistics; those of the other kind, {other}, give other images: {apart}"
        )
    if has_dropout(network):
        notes.append("dropout is off: a host's test without eval mode has it on, so its images vary")
    return tuple(notes)


def _metadata(settings: ExportSettings, channels: int, facts: Mapping[str, str]) -> dict[str, str]:
    colours = "RGB" if channels == 3 else "grey"
    form = (
        f"uint8 (batch, height, width, {channels}), {colours}, 0 to 255"
        if settings.frames
        else f"float32 (batch, {channels}, height, width), {colours}, value / 127.5 - 1"
    )
    precision = "int8" if settings.int8 else "float16" if settings.half else "float32"
    return {
        "description": "image-to-image generator",
        "images": form,
        "normalization statistics": settings.statistics,
        "precision": precision,
        **facts,
        "kd_plugin": __version__,
    }


def _shapes(graph: Graph, format: Format) -> str:
    sides = ("height", "width") if graph.dynamic else (str(graph.height), str(graph.width))
    batch = "batch" if graph.dynamic else "1"
    form = (batch, *sides, str(graph.channels)) if graph.frames else (batch, str(graph.channels), *sides)
    least = f", {2 * graph.multiple} or more" if format == "pt2" else ""
    limits = f", sides multiples of {graph.multiple}{least}" if graph.dynamic and graph.multiple > 1 else ""
    return f"{'uint8' if graph.frames else 'float32'} ({', '.join(form)}){limits}"
