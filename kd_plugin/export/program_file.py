"""Write and run programs of ``torch.export``, ``.pt2`` files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..errors import KDError, first_line
from .exported import load_program
from .graph import Graph


def write(graph: Graph, file: Path) -> None:
    """Write a graph with its weights.

    Raises:
        KDError: If the network cannot be exported.
    """
    try:
        program = torch.export.export(graph.module, graph.example(), dynamic_shapes=graph.dynamic_shapes())
    except Exception as error:  # the exporter's, the network's
        raise KDError(f"the network cannot be exported ({type(error).__name__}: {first_line(error, 200)})") from error
    torch.export.save(program, file, extra_files=dict(graph.metadata))


def open_runner(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from images to images of a file."""
    module = load_program(file, torch.device("cpu")).module

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            output: np.ndarray = module(torch.from_numpy(images)).numpy()
        return output

    return run
