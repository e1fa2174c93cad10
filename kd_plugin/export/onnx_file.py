"""Write and run ONNX files."""

from __future__ import annotations

import collections
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import KDError, first_line
from .graph import INPUT, Graph
from .quiet import quiet

_PYTORCH = (2, 6)  # whose exporter is the one of torch.export
_INSTALL = 'pip install "kd_plugin[export]"'


def check_installed() -> None:
    """Raise a :class:`KDError` if PyTorch is too old, or a package is missing."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < _PYTORCH:
        raise KDError(f"exporting needs PyTorch 2.6 or newer, and this is {torch.__version__}")
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError:
            raise KDError(f"ONNX files need the package {name}: {_INSTALL}") from None


def write(graph: Graph, file: Path) -> None:
    """Write a graph, with its weights, to one file.

    Raises:
        KDError: If the network cannot be exported.
    """
    check_installed()
    import onnx

    try:
        with quiet():
            torch.onnx.export(
                graph.module,
                graph.example(),
                str(file),
                input_names=graph.inputs,
                output_names=[graph.output],
                dynamic_shapes=graph.dynamic_shapes(),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter's, the network's
        raise KDError(f"the network cannot be exported to ONNX ({_cause(error)})") from error
    model = onnx.load(file)
    for name, text in graph.metadata.items():
        model.metadata_props.add(key=name, value=text)
    model.producer_name = "kd_plugin"
    onnx.save(model, file)


def describe(file: Path) -> str:
    """Return the version of the operators of a file, and their numbers, for the reader.

    Raises:
        KDError: If one is not of ONNX itself.
    """
    import onnx

    model = onnx.load(file)
    foreign = sorted({f"{n.domain}.{n.op_type}" for n in model.graph.node if n.domain not in ("", "ai.onnx")})
    foreign += [function.name for function in model.functions]
    if foreign:
        raise KDError(f"the network needs operators that are not ONNX's: {', '.join(foreign)}")
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    counted = collections.Counter(node.op_type for node in model.graph.node)
    return f"opset {opset}: {', '.join(f'{count} {name}' for name, count in counted.most_common())}"


class Runner:
    """Runs an ONNX file with ONNX Runtime on the CPU.

    Args:
        file: the file.
        threads: number of threads; 0 for one per core.

    Raises:
        KDError: If the runtime refuses it.
    """

    def __init__(self, file: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own exceptions
            raise KDError(f"ONNX Runtime refuses the network ({first_line(error, 200)})") from error

    def __call__(self, images: np.ndarray, **more: np.ndarray) -> np.ndarray:
        """Return the output for a batch, in the formats of the file, which may have more inputs."""
        output: np.ndarray = self._session.run(None, {INPUT: images, **more})[0]
        return output


def _cause(error: BaseException) -> str:
    """Return the first line of the innermost exception: the exporter's own is a long report."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {first_line(error, 200)}"


def metadata_of(file: Path) -> dict[str, str]:
    """Return the texts that were saved with a file."""
    import onnx

    model: Any = onnx.load(file, load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}
