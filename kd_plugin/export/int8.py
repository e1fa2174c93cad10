"""Quantise an ONNX file to 8-bit integers, with ranges of activations measured on images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import KDError, first_line
from .graph import INPUT

_OPERATORS = ["Conv", "ConvTranspose"]


def quantise(source: Path, target: Path, batches: Sequence[np.ndarray]) -> None:
    """Write an ONNX file whose convolutions compute in int8, with quantised weights for each output channel.

    The first and the last convolution stay in floating point: they read and write the image, and take little time.

    Args:
        source: a file in float32.
        target: the new file.
        batches: images in the format of the file.

    Raises:
        KDError: If ONNX Runtime cannot quantise it.
    """
    import onnx
    from onnxruntime import quantization

    class Batches(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[np.ndarray] = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._left, None)
            return None if batch is None else {INPUT: batch}

    convolutions = [node.name for node in onnx.load(source).graph.node if node.op_type in _OPERATORS]
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        quantization.quantize_static(
            source,
            target,
            Batches(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            nodes_to_exclude=[convolutions[0], convolutions[-1]] if len(convolutions) > 2 else [],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    except Exception as error:  # the runtime's
        raise KDError(f"ONNX Runtime cannot quantise the network ({first_line(error, 200)})") from error
    finally:
        logging.disable(disabled)
