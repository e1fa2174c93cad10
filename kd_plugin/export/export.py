"""Write a generator for another runtime, and compare the file with it: ``kd export``."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from ..errors import ArgumentError, KDError, first_line
from ..networks.generator import GeneratorSpec
from ..version import __version__
from . import onnx_file
from .graph import INPUT, OUTPUT
from .images import batch_of, draw_images, read_images
from .network import deployed, has_batch_norm, has_dropout
from .parity import Parity, compare
from .reference import Reference
from .settings import ExportSettings
from .tile_files import Seams, TileFiles
from .tiling import STRIDE
from .writing import Run, check_installed, write

_IMAGES = 8  # to compare on
_STEPS = {"float32": 1.0, "float16": 4.0}  # the largest difference that is allowed, of 255
_PSNR = 35.0  # the least of 8-bit integers, in dB
_TILED = 2  # images of several tiles to measure
_DRAWN = "drawn with the spectrum of photographs"


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
    check_installed(settings)
    multiple = _multiple(settings, spec)
    pictures, unusable = _pictures(settings)
    expected = Reference(network, settings.statistics, settings.frames)
    output_channels = expected.probe(pictures[0], settings.height, settings.width, channels)
    metadata = _metadata(settings, channels, output_channels, facts or {})
    batches = _batches(pictures, settings, channels, multiple)
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
                    run, operators = write(module, written, settings, channels, multiple, metadata)
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


def _compare(expected: Callable[[torch.Tensor], torch.Tensor], run: Run, batches: list[torch.Tensor]) -> Parity:
    try:
        return compare(expected, run, batches)
    except Exception as error:  # of any runtime
        raise KDError(f"the file does not run ({type(error).__name__}: {first_line(error, 200)})") from error


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
        first = Reference(network, "picture", settings.frames)
        second = Reference(network, "running", settings.frames)
        other = "running" if settings.statistics == "picture" else "picture"
        apart = compare(first, lambda batch: second(torch.from_numpy(batch)).numpy(), batches[:1])
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
