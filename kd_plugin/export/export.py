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
from . import executorch_file, onnx_file, openvino_file, program_file
from .graph import INPUT, OUTPUT, Graph, as_frames, from_frames, graph_of
from .images import batch_of, draw_images, read_images
from .int8 import quantise
from .network import Statistics, deployed, has_batch_norm, has_dropout, with_subpixel_convolutions, without_dropout
from .parity import Parity, compare
from .settings import ExportSettings
from .tile_files import Seams, TileFiles
from .tiling import STRIDE

_IMAGES = 8  # to compare on
_CALIBRATION = 64  # images, at most
_STEPS = {"float32": 1.0, "float16": 4.0}  # the largest difference that is allowed, of 255
_PSNR = 35.0  # the least of 8-bit integers, in dB
_TILED = 2  # images of several tiles to measure
_DRAWN = "drawn with the spectrum of photographs"

_PACKAGES = {"onnx": onnx_file, "openvino": openvino_file, "executorch": executorch_file}  # that a format needs

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        file: the file.
        size: of the file, with that of its weights, in bytes.
        parity: how far its images are from those of the generator.
        images: on which this was measured, for the reader.
        operators: its operators, for the reader; "" if the format does not tell.
        shapes: of its images, for the reader.
        notes: what the reader should know.
        seams: how far tiles are from the whole image; None if the file is not for tiles.
    """

    file: Path
    size: int
    parity: Parity
    images: str
    operators: str
    shapes: str
    notes: tuple[str, ...]
    seams: Seams | None = None


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
    settings.check_output()
    if settings.format in _PACKAGES:
        _PACKAGES[settings.format].check_installed()
    multiple = _multiple(settings, spec)
    pictures, unusable = _pictures(settings)
    reference = _as_tested(network, settings.statistics)
    output_channels = _probe(reference, settings, pictures[0], channels)
    metadata = _metadata(settings, channels, output_channels, facts or {})
    batches = _batches(pictures, settings, channels, multiple)
    expected = functools.partial(_expected, reference, settings.frames)
    notes = _notes(network, settings, batches, unusable)
    try:
        with tempfile.TemporaryDirectory(dir=settings.output.parent, prefix=".kd_export_") as folder:
            written = Path(folder) / settings.output.name
            for simplified in (True, False):  # not every network may be simplified
                module = deployed(network, settings.statistics, simplified)
                run: Run | TileFiles
                if settings.tiles:
                    size = settings.height, settings.width
                    run = TileFiles(module, written, *size, channels, settings.dynamic, metadata)
                    operators = onnx_file.describe(written)
                else:
                    graph = _graph_of(module, settings, channels, multiple, metadata)
                    run, operators = _write(graph, written, settings)
                parity = _compare(expected, run, batches)
                if _fits(parity, settings):
                    break
            _check(parity, settings)
            seams = run.measure(expected, pictures[:_TILED]) if isinstance(run, TileFiles) else None
            if seams:
                _check(seams.seams, settings)
            for part in sorted(settings.files, key=lambda file: file == settings.output):  # the weights first
                (written.parent / part.name).replace(part)
    except OSError as error:
        raise KDError(f"{settings.output}: cannot be written ({error.strerror or error})") from error
    shown = f"of {settings.images or settings.int8}" if settings.images or settings.int8 else _DRAWN
    taken = sum(file.stat().st_size for file in settings.files)
    shapes = _shapes(settings, channels, multiple)
    return Exported(settings.output, taken, parity, shown, operators, shapes, notes, seams)


def _multiple(settings: ExportSettings, spec: GeneratorSpec | None) -> int:
    """Return the number that sides must be multiples of; checks the settings' size."""
    name, multiple = (spec.netG, spec.multiple) if spec else ("network", 1)
    if settings.tiles:
        if spec is None or spec.architecture != "resnet":
            raise ArgumentError(
                f"a {name} has no tiles: those are for ResNets, whose pixels depend on a neighbourhood"
            )
        multiple = STRIDE
    program = settings.dynamic and settings.format == "pt2"
    if program and spec:
        multiple = max(multiple, STRIDE)  # torch.export cannot express sizes that a network rounds up
    for side in (settings.width, settings.height):
        if side % multiple:
            raise ArgumentError(f"{side} pixels: a {name} takes sides that are multiples of {multiple}")
    least = 2 * multiple if program and multiple > 1 else 1
    if min(settings.width, settings.height) < least:
        raise ArgumentError(
            f"{min(settings.width, settings.height)} pixels: a program for any size of a {name} takes sides of "
            f"{least} or more: compare at such a size"
        )
    return multiple


def _pictures(settings: ExportSettings) -> tuple[list[Image.Image], int]:
    """Return the images to compare on, and the number of those that cannot be read."""
    folder = settings.images or settings.int8
    return read_images(folder, _IMAGES) if folder else (draw_images(_IMAGES), 0)


def _graph_of(
    module: nn.Module, settings: ExportSettings, channels: int, multiple: int, metadata: Mapping[str, str]
) -> Graph:
    if settings.int8:
        with_subpixel_convolutions(module)  # runtimes have no transposed convolutions in int8
    return graph_of(
        module,
        settings.height,
        settings.width,
        channels,
        frames=settings.frames,
        dynamic=settings.dynamic,
        multiple=multiple,
        half=settings.half and settings.format != "openvino",  # which converts weights by itself
        metadata=metadata,
    )


def _compare(expected: Callable[[torch.Tensor], torch.Tensor], run: Run, batches: list[torch.Tensor]) -> Parity:
    try:
        return compare(expected, run, batches)
    except Exception as error:  # of any runtime
        raise KDError(f"the file does not run ({type(error).__name__}: {first_line(error, 200)})") from error


def _write(graph: Graph, file: Path, settings: ExportSettings) -> tuple[Run, str]:
    """Write the file; return the function of its images, and its operators for the reader."""
    if settings.format == "pt2":
        program_file.write(graph, file)
        return program_file.open_runner(file), ""
    if settings.format == "executorch":
        operators = executorch_file.write(graph, file, _calibration(graph, settings))
        return executorch_file.open_runner(file), operators
    if settings.int8:
        _write_int8(graph, file, settings)
    elif settings.format == "openvino":
        openvino_file.write(replace(graph, half=settings.half), file)
    else:
        onnx_file.write(graph, file)
    if settings.format == "openvino":
        return openvino_file.open_runner(file), ""
    return onnx_file.Runner(file), onnx_file.describe(file)


def _write_int8(graph: Graph, file: Path, settings: ExportSettings) -> None:
    """Write a file for ONNX Runtime or OpenVINO that computes in 8-bit integers."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx_file.write(graph, source)
        quantise(source, target, [images.numpy() for images in _calibration(graph, settings)])
        if settings.format == "openvino":
            openvino_file.convert(target, file, False, dict(graph.metadata))
        else:
            shutil.copyfile(target, file)


def _calibration(graph: Graph, settings: ExportSettings) -> list[torch.Tensor]:
    """Return the images on which to measure the ranges of activations; none for a file in floating point."""
    if not settings.int8:
        return []
    pictures, _ = read_images(settings.int8, _CALIBRATION)
    size = settings.height, settings.width
    return [batch_of([picture], *size, graph.channels, graph.frames) for picture in pictures]


def _as_tested(network: nn.Module, statistics: Statistics) -> ModuleTranslator:
    """Return the generator as a host's test runs it, without dropout."""
    try:
        module = without_dropout(copy.deepcopy(unwrap(network)).cpu().float())
    except RuntimeError as error:  # weight norm, for instance
        raise KDError(f"the generator cannot be copied ({first_line(error, 120)})") from error
    return ModuleTranslator(module, "the generator", "", mode="train" if statistics == "picture" else "eval")


def _expected(reference: ModuleTranslator, frames: bool, batch: torch.Tensor) -> torch.Tensor:
    """Return the generator's images for a batch in the format of the file."""
    images = from_frames(batch) if frames else batch
    output = reference.translate(images, [0] * len(images))
    return as_frames(output) if frames else output


def _probe(reference: ModuleTranslator, settings: ExportSettings, picture: Image.Image, channels: int) -> int:
    """Run the generator once, so that its own failures are not taken for those of a format; return its channels."""
    try:
        output = reference.translate(batch_of([picture], settings.height, settings.width, channels, False), [0])
    except KDError:
        raise
    except Exception as error:  # of any network
        raise KDError(
            f"the generator does not take images of {settings.width}x{settings.height} pixels and {channels} "
            f"channels ({type(error).__name__}: {first_line(error, 120)})"
        ) from error
    if not output.isfinite().all():
        raise KDError("the generator's images are not finite: its checkpoint is damaged, or its training diverged")
    return int(output.shape[1])


def _batches(
    pictures: Sequence[Image.Image], settings: ExportSettings, channels: int, multiple: int
) -> list[torch.Tensor]:
    """Return the batches on which the file is compared: of its own shape, or of two sizes and two batch sizes."""
    make = functools.partial(batch_of, channels=channels, frames=settings.frames)
    height, width = settings.height, settings.width
    if not settings.dynamic:
        return [make([picture], height, width) for picture in pictures]
    middle = (len(pictures) + 1) // 2
    whole, part = pictures[:middle], list(pictures[middle:] or pictures)
    part = part * 2 if len(part) == 1 else part
    taller = height + max(multiple, STRIDE), width + 2 * max(multiple, STRIDE)
    return [*(make([picture], height, width) for picture in whole), make(part, *taller)]


def _fits(parity: Parity, settings: ExportSettings) -> bool:
    if settings.int8:
        return parity.psnr >= _PSNR
    return parity.largest <= _STEPS["float16" if settings.half else "float32"]


def _check(parity: Parity, settings: ExportSettings) -> None:
    """Raise a :class:`KDError` if the file differs from the generator."""
    if _fits(parity, settings):
        return
    if settings.int8:
        allowed = f"a PSNR of {_PSNR:g} dB or more"
        advice = "calibrate with more images of the generator's domain, or export in floating point"
    else:
        allowed = f"a difference of at most {_STEPS['float16' if settings.half else 'float32']:g}"
        advice = "export in float32" if settings.half else "please report this with the generator's architecture"
    raise KDError(f"the file's images differ: {parity}; allowed is {allowed}: {advice}. Nothing was written")


def _notes(
    network: nn.Module, settings: ExportSettings, batches: list[torch.Tensor], unusable: int
) -> tuple[str, ...]:
    notes = [f"{unusable} images cannot be read: left out"] if unusable else []
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


def _metadata(settings: ExportSettings, channels: int, output: int, facts: Mapping[str, str]) -> dict[str, str]:
    sides = ("batch", "height", "width") if settings.dynamic else ("1", str(settings.height), str(settings.width))

    def form(count: int) -> str:
        colours = "RGB" if count == 3 else "grey"
        if settings.frames:
            return f"uint8 ({', '.join(sides)}, {count}), {colours}, 0 to 255"
        return f"float32 ({sides[0]}, {count}, {', '.join(sides[1:])}), {colours}, value / 127.5 - 1"

    precision = "int8" if settings.int8 else "float16" if settings.half else "float32"
    return {
        "description": "image-to-image generator",
        INPUT: form(channels),
        OUTPUT: form(output),
        "normalization statistics": settings.statistics,
        "precision": precision,
        **facts,
        "kd_plugin": __version__,
    }


def _shapes(settings: ExportSettings, channels: int, multiple: int) -> str:
    sides = ("height", "width") if settings.dynamic else (str(settings.height), str(settings.width))
    batch = "batch" if settings.dynamic else "1"
    form = (batch, *sides, str(channels)) if settings.frames else (batch, str(channels), *sides)
    least = f", {2 * multiple} or more" if settings.format == "pt2" else ""
    limits = f", sides multiples of {multiple}{least}" if settings.dynamic and multiple > 1 else ""
    return f"{'uint8' if settings.frames else 'float32'} ({', '.join(form)}){limits}"
