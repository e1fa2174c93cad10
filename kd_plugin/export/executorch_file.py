"""Write and run files of ExecuTorch, ``.pte``, for XNNPACK: the processors of phones.

XNNPACK computes what it knows in one part, in its own memory format. It knows neither instance norm nor reflection
padding, each of which would end a part and run in ExecuTorch's slow reference kernels; they are written as means,
products, slices and concatenations, which it knows.
"""

from __future__ import annotations

import collections
import importlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import KDError, first_line
from .graph import Graph
from .quiet import quiet

_PYTORCH = (2, 13)  # with which a release of ExecuTorch is tested: 1.5
_METADATA = "metadata"  # name of a method of the file that returns JSON
_AFFIXES = re.compile(r"^(aten|dim_order_ops|quantized_decomposed)_+|(_copy)?_(default|tensor|dim)$")  # of operators
_CONVOLUTION = torch.ops.aten.conv2d.default


def check_installed() -> None:
    """Raise a :class:`KDError` if PyTorch is too old, or the package is missing."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < _PYTORCH:
        raise KDError(f"executorch files need PyTorch 2.13 or newer, and this is {torch.__version__}")
    try:
        with quiet():
            importlib.import_module("executorch.exir")
    except ImportError:
        message = 'executorch files need the package executorch: pip install "kd_plugin[executorch]"'
        raise KDError(message) from None


def write(graph: Graph, file: Path, calibration: Sequence[torch.Tensor] = ()) -> str:
    """Write a graph of a fixed shape, with its weights; return a description of its operators for the reader.

    Args:
        graph: the network; its metadata are returned by the method ``metadata`` of the file, as JSON.
        file: the new file.
        calibration: images in the format of the file, on which to measure the ranges of activations for convolutions
            in 8-bit integers; none for a file in float32.

    Raises:
        KDError: If the network cannot be exported.
    """
    check_installed()
    try:
        with quiet():
            program = _exported(graph.module, graph.example())
            if calibration:
                program = _exported(_quantised(program.module(), calibration), graph.example())
            content, operators = _lowered(program, graph.metadata)
    except Exception as error:  # the exporter's, the network's
        raise KDError(f"the network cannot be exported ({type(error).__name__}: {first_line(error, 200)})") from error
    file.write_bytes(content)
    return operators


def _exported(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    program: torch.export.ExportedProgram = torch.export.export(module, example)
    decomposed: torch.export.ExportedProgram = program.run_decompositions(_DECOMPOSITIONS)
    return decomposed


def _lowered(program: torch.export.ExportedProgram, metadata: Mapping[str, str]) -> tuple[bytes, str]:
    """Return the content of the file, and a description of its operators."""
    exir: Any = importlib.import_module("executorch.exir")
    xnnpack: Any = importlib.import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    debug: Any = importlib.import_module("executorch.devtools.backend_debug")
    edge = exir.to_edge_transform_and_lower(
        program,
        partitioner=[xnnpack.XnnpackPartitioner()],
        constant_methods={_METADATA: json.dumps(dict(metadata))},
    )
    operators = _describe(debug.get_delegation_info(edge.exported_program().graph_module))
    content: bytes = edge.to_executorch().buffer
    return content, operators


def _describe(info: Any) -> str:
    """Return the numbers of the operators that XNNPACK computes, and of the others, for the reader."""
    inside, others = collections.Counter[str](), collections.Counter[str]()
    for operator, count in info.delegation_by_operator.items():
        if operator != "getitem":  # of the results of a part
            name = _AFFIXES.sub("", operator)
            inside[name] += count.delegated
            others[name] += count.non_delegated
    parts = f"{info.num_delegated_subgraphs} part{'s'[: info.num_delegated_subgraphs != 1]}"
    text = f"XNNPACK computes {inside.total()} operators in {parts}: {_listed(inside)}"
    return f"{text}; other kernels {others.total()}: {_listed(others)}" if others.total() else text


def _listed(counted: collections.Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.most_common() if count)


def _quantised(module: torch.nn.Module, calibration: Sequence[torch.Tensor]) -> torch.nn.Module:
    """Return a module of a program whose convolutions compute in int8, except the first and the last.

    Those read and write the image, and take little time.
    """
    quantizer: Any = importlib.import_module("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
    convert: Any = importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")
    convolutions = [node for node in module.graph.nodes if node.target is _CONVOLUTION]  # type: ignore[union-attr]
    ends = [convolutions[0], convolutions[-1]] if len(convolutions) > 2 else []
    scheme = quantizer.XNNPACKQuantizer().set_filter_function(lambda node: node not in ends)
    scheme.set_operator_type(_CONVOLUTION, quantizer.get_symmetric_quantization_config(is_per_channel=True))
    prepared = convert.prepare_pt2e(module, scheme)
    with torch.inference_mode():
        for images in calibration:
            prepared(images)
    quantised: torch.nn.Module = convert.convert_pt2e(prepared)
    return quantised


def open_runner(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from images to images of a file, with ExecuTorch's runtime on the CPU.

    Raises:
        KDError: If the runtime refuses it.
    """
    try:
        with quiet():
            method = _load(file).load_method("forward")
    except Exception as error:  # the runtime's
        raise KDError(f"ExecuTorch refuses the network ({first_line(error, 200)})") from error

    def run(images: np.ndarray) -> np.ndarray:
        contiguous = torch.from_numpy(np.ascontiguousarray(images))  # the runtime does not look at strides
        output: np.ndarray = method.execute([contiguous])[0].numpy()
        return output.copy()  # the method's own memory is used again

    return run


def metadata_of(file: Path) -> dict[str, str]:
    """Return the texts that were saved with a file."""
    with quiet():
        found: dict[str, str] = json.loads(_load(file).load_method(_METADATA).execute([])[0])
    return found


def _load(file: Path) -> Any:
    return importlib.import_module("executorch.runtime").Runtime.get().load_program(file)


def _instance_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn: bool,
) -> Any:
    """Return an instance norm of images (B, C, H, W) by means over the image; others are left to PyTorch."""
    if not use_input_stats or x.ndim != 4:
        return NotImplemented
    centred = x - x.mean((2, 3), keepdim=True)
    scale = torch.rsqrt((centred * centred).mean((2, 3), keepdim=True) + eps)  # (B, C, 1, 1)
    if weight is not None:
        scale = scale * weight.reshape(1, -1, 1, 1)
    output = centred * scale
    return output if bias is None else output + bias.reshape(1, -1, 1, 1)


def _reflection_pad(x: torch.Tensor, padding: Sequence[int]) -> torch.Tensor:
    """Pad images (B, C, H, W) by reflection: left, right, top, bottom."""
    left, right, top, bottom = padding
    return _mirrored(_mirrored(x, 3, left, right), 2, top, bottom)


def _mirrored(x: torch.Tensor, dim: int, first: int, last: int) -> torch.Tensor:
    side = x.shape[dim]
    before = [x.narrow(dim, index, 1) for index in range(first, 0, -1)]
    after = [x.narrow(dim, side - 1 - index, 1) for index in range(1, last + 1)]
    # XNNPACK concatenates two to five tensors: the borders first, then the whole.
    return _concatenated([_concatenated(part, dim) for part in (before, [x], after) if part], dim)


def _concatenated(parts: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
    return torch.cat(list(parts), dim) if len(parts) > 1 else parts[0]


def _pad(x: torch.Tensor, padding: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    if mode != "reflect" or x.ndim != 4 or len(padding) != 4:
        return NotImplemented
    return _reflection_pad(x, padding)


_DECOMPOSITIONS = {
    torch.ops.aten.instance_norm.default: _instance_norm,
    torch.ops.aten.reflection_pad2d.default: _reflection_pad,
    torch.ops.aten.pad.default: _pad,
    torch.ops.aten.alias.default: lambda x: x,  # would be a copy of the image
}
