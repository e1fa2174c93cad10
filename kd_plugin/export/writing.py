"""Write a generator to a file of any format, whose images are then compared with the generator's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from . import executorch_file, onnx_file, openvino_file, program_file
from .graph import Graph, graph_of
from .images import batch_of, read_images
from .int8 import quantise
from .network import with_subpixel_convolutions
from .settings import ExportSettings

_CALIBRATION = 64  # images, at most
_PACKAGES = {"onnx": onnx_file, "openvino": openvino_file, "executorch": executorch_file}  # that a format needs

Run = Callable[[np.ndarray], np.ndarray]


def check_installed(settings: ExportSettings) -> None:
    """Raise a :class:`KDError` if a package that the format needs is not installed."""
    if settings.format in _PACKAGES:
        _PACKAGES[settings.format].check_installed()


def write(
    module: nn.Module, file: Path, settings: ExportSettings, channels: int, multiple: int, metadata: Mapping[str, str]
) -> tuple[Run, str]:
    """Write the file; return the function of its images, and its operators for the reader.

    Args:
        module: the generator in the form of :func:`~kd_plugin.export.network.deployed`; it may be changed.
        file: to write.
        settings: of the export.
        channels: of the input.
        multiple: of which the sides of images are, in pixels.
        metadata: texts to save in the file, by name.

    Raises:
        KDError: If the network cannot be exported.
    """
    graph = _graph_of(module, settings, channels, multiple, metadata)
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
