"""Exported generators: ONNX files, and programs of ``torch.export``."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import KDError, first_line
from ..files import sha256
from ..networks.translator import ModuleTranslator, fitted

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


class OnnxTranslator:
    """A generator in an ONNX file, run by ONNX Runtime on the CPU.

    Raises:
        KDError: If ONNX Runtime is not installed, or cannot load the file as a function from images to images.
    """

    module: nn.Module | None = None  # the runtime does not show it

    def __init__(self, file: Path) -> None:
        try:
            runtime: Any = importlib.import_module("onnxruntime")
        except ImportError:
            raise KDError(f"{file}: ONNX files need ONNX Runtime: pip install onnxruntime") from None
        try:
            self._session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own exceptions
            raise KDError(f"{file}: ONNX Runtime cannot load it ({first_line(error, 160)})") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)":
            raise KDError(
                f"{file}: expected one float32 input (B, C, H, W), found {[(i.type, i.shape) for i in inputs]}"
            )
        self._name, shape = inputs[0].name, inputs[0].shape
        self._batch = shape[0] if isinstance(shape[0], int) else None
        self._size = tuple(side if isinstance(side, int) else None for side in shape[2:])
        self.channels = shape[1] if isinstance(shape[1], int) else 3
        self.multiple = 1
        self.description = "ONNX Runtime"
        self.digest = sha256(file)

    def translate(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Translate images (B, C, H, W) in [-1, 1], in the batches that the file has fixed.

        Raises:
            KDError: If the file has fixed another size.
        """
        size = tuple(images.shape[2:])
        if any(fixed not in (None, side) for fixed, side in zip(self._size, size, strict=True)):
            raise KDError(f"the ONNX file takes {self._size} pixels (height, width), the images have {size}")
        parts = torch.split(images, self._batch or len(images))
        if self._batch and len(parts[-1]) != self._batch:
            padding = parts[-1].new_zeros(self._batch - len(parts[-1]), *images.shape[1:])
            parts = (*parts[:-1], torch.cat([parts[-1], padding]))
        outputs = [self._session.run(None, {self._name: part.cpu().numpy()})[0] for part in parts]
        return fitted(torch.from_numpy(np.concatenate(outputs)[: len(images)]), images, self.description)


@contextmanager
def _weights_only() -> Iterator[None]:
    """Context manager in which ``torch.load`` runs no code of a file, which ``torch.export.load`` would let it do."""
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before


def load_program(file: Path, device: torch.device) -> ModuleTranslator:
    """Return the translator of a program of ``torch.export``.

    Raises:
        KDError: If it cannot be loaded, or would run code while it is.
    """
    try:
        with _weights_only():
            module = torch.export.load(file).module()
    except Exception as error:  # a damaged archive may raise anything
        raise KDError(f"{file}: torch.export cannot load it ({first_line(error, 160)})") from error
    return ModuleTranslator(Program(module), "exported program", sha256(file), device=device)


class Program(nn.Module):
    """A program of ``torch.export``, which is in the mode that it was exported in.

    A program that was exported with a batch of one image runs for each image of a larger batch.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        images = next((node.meta.get("val") for node in module.graph.nodes if node.op == "placeholder"), None)  # type: ignore[union-attr]
        self._single = images is not None and images.ndim == 4 and images.shape[0] == 1

    def train(self, mode: bool = True) -> Program:
        """Leave the mode, which the program does not let change."""
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the program's images."""
        if self._single and len(images) > 1:
            return torch.cat([self.module(image) for image in torch.split(images, 1)])
        output: torch.Tensor = self.module(images)
        return output
