"""Write and run files of OpenVINO: ``.xml`` with the operators, and ``.bin`` with the weights next to it."""

from __future__ import annotations

import functools
import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import KDError, first_line
from . import onnx_file
from .graph import Graph


def check_installed() -> None:
    """Raise a :class:`KDError` if OpenVINO is not installed."""
    try:
        importlib.import_module("openvino")
    except ImportError:
        raise KDError('files of OpenVINO need the package: pip install "kd_plugin[openvino]"') from None
    onnx_file.check_installed()


@functools.cache
def _core() -> Any:
    """Return the runtime, which lives as long as the process.

    With the last one, its plugins would be unloaded, and the next fork of the process would call into them and crash.
    """
    return importlib.import_module("openvino").Core()


def write(graph: Graph, file: Path) -> None:
    """Write a graph by way of ONNX; ``half`` saves the weights in float16, and computes as the device prefers.

    Raises:
        KDError: If the network cannot be converted.
    """
    check_installed()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "network.onnx"
        onnx_file.write(graph, source)
        convert(source, file, graph.half, dict(graph.metadata))


def convert(source: Path, file: Path, half: bool, metadata: dict[str, str]) -> None:
    """Write an ONNX file, which may be quantised, as OpenVINO's.

    Raises:
        KDError: If it cannot be converted.
    """
    openvino: Any = importlib.import_module("openvino")
    try:
        model = _core().read_model(str(source))  # convert_model would send statistics of its use
        for name, text in metadata.items():
            model.set_rt_info(text, ["kd_plugin", name])
        openvino.save_model(model, str(file), compress_to_fp16=half)
    except Exception as error:  # the converter's
        raise KDError(f"OpenVINO cannot convert the network ({first_line(error, 200)})") from error


def open_runner(file: Path, threads: int = 0, precision: str = "f32") -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from images to images of a file, on the CPU.

    Args:
        file: a file of OpenVINO, or an ONNX file.
        threads: number of threads; 0 for one per core.
        precision: in which to compute: ``"f32"``, or ``"bf16"`` where the processor has it.

    Raises:
        KDError: If the runtime refuses it.
    """
    settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    try:
        request = _core().compile_model(str(file), "CPU", settings).create_infer_request()
    except Exception as error:  # the runtime's
        raise KDError(f"OpenVINO refuses the network ({first_line(error, 200)})") from error

    def run(images: np.ndarray) -> np.ndarray:
        output: np.ndarray = request.infer([images])[0]
        return output.copy()  # the request's own memory is used again

    return run
