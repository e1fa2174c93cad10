"""The settings of an export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ..errors import ArgumentError, unknown_name

Format = Literal["onnx", "pt2", "openvino", "executorch"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "pt2": ".pt2", "openvino": ".xml", "executorch": ".pte"}
_LEAST = 16  # pixels: a ResNet pads a quarter of the side


def statistics_path(file: Path) -> Path:
    """Return the file of the statistics of a whole image, next to a file of its tiles."""
    return file.with_suffix(f".statistics{file.suffix}")


@dataclass(frozen=True)
class ExportSettings:
    """What to export, and how.

    Attributes:
        output: the file.
        format: of the file.
        height, width: of its images in pixels; with ``dynamic``, of those on which it is compared.
        dynamic: whether batch, height and width may change; the file is else for one image of the given size.
        half: whether weights are in float16.
        int8: folder of images on which to measure the ranges of activations, for a file that computes in 8 bits; None
            for a file that computes in floating point.
        images: folder of images on which to compare; None for drawn ones.
        statistics: ``"picture"`` for batch norm that computes statistics of each image, as the hosts test without
            ``--eval``, or ``"running"`` for those of the training.
        frames: whether images are uint8 (B, H, W, C), not float32 (B, C, H, W) in [-1, 1].
        tiles: whether the file translates tiles of a larger image, with another file for the statistics of the whole.
        force: whether to replace an existing file.
    """

    output: Path
    format: Format = "onnx"
    height: int = 256
    width: int = 256
    dynamic: bool = False
    half: bool = False
    int8: Path | None = None
    images: Path | None = None
    statistics: Literal["picture", "running"] = "picture"
    frames: bool = False
    tiles: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise ArgumentError(unknown_name("format", self.format, get_args(Format)))
        if min(self.height, self.width) < _LEAST:
            raise ArgumentError(f"{self.width}x{self.height} pixels: give {_LEAST} or more")
        if self.half and self.int8:
            raise ArgumentError("half precision and 8-bit integers exclude each other: choose one")
        if self.int8 and self.format == "pt2":
            raise ArgumentError("8-bit integers are for the formats onnx, openvino and executorch")
        if self.dynamic and self.format == "executorch":
            raise ArgumentError("executorch files take one image of one size: write a file for each size")
        if self.half and self.format == "executorch":
            raise ArgumentError(
                "executorch files keep weights in float32: for smaller ones choose 8-bit integers, or the format onnx"
            )
        if self.tiles and (self.format != "onnx" or self.half or self.int8 or self.frames):
            raise ArgumentError("tiles are for the format onnx with float32 images and weights")

    @property
    def files(self) -> list[Path]:
        """The files that are written: the weights of OpenVINO, and the statistics of tiles, have one of their own."""
        weights = [self.output.with_suffix(".bin")] if self.format == "openvino" else []
        return [self.output, *weights, *([statistics_path(self.output)] if self.tiles else [])]

    def check_output(self) -> None:
        """Raise an :class:`ArgumentError` if the files must not be written."""
        suffix = SUFFIXES[self.format]
        if self.output.suffix != suffix:
            raise ArgumentError(f"{self.output}: a file of the format {self.format} ends in {suffix}")
        for file in self.files:
            if file.is_dir():
                raise ArgumentError(f"{file}: is a folder: name a file")
            if file.exists() and not self.force:
                raise ArgumentError(f"{file} exists: name another file, or replace it", argument="force")
        if not self.output.parent.is_dir():
            raise ArgumentError(f"{self.output.parent}: no such folder: create it first")
