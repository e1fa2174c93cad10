"""The latency of generators in another runtime on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch

from ..metrics.latency import measure_latencies
from ..networks.generator import GeneratorSpec, build_generator
from . import onnx_file, openvino_file
from .graph import graph_of
from .network import deployed

Runtime = Literal["onnx", "openvino"]
NAMES: dict[Runtime, str] = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}
_EXPORTING = 0.7  # fraction of the time that exporting takes

_Run = Callable[[torch.Tensor], object]


class RuntimeLatencies:
    """Measures generators in a runtime on the CPU, as :func:`~kd_plugin.metrics.latency.generator_latencies` does.

    A generator is exported once, with PyTorch's initial weights, which do not affect the time.

    Args:
        runtime: the runtime.

    Raises:
        KDError: If it is not installed.
    """

    def __init__(self, runtime: Runtime) -> None:
        (openvino_file if runtime == "openvino" else onnx_file).check_installed()
        self._runtime = runtime
        self._runs: dict[tuple[GeneratorSpec, int], _Run] = {}

    def __call__(
        self,
        specs: Sequence[GeneratorSpec],
        size: int,
        device: torch.device | str = "cpu",
        rounds: int = 5,
        progress: Callable[[float], None] = lambda done: None,
    ) -> list[float]:
        """Return the time of each generator for one image of size x size pixels, in seconds."""
        runs = []
        for number, spec in enumerate(specs):
            runs.append(self._run_of(spec, size))
            progress(_EXPORTING * (number + 1) / len(specs))
        images = [torch.zeros(1, spec.input_nc, size, size) for spec in specs]
        return measure_latencies(runs, images, rounds, lambda done: progress(_EXPORTING + (1 - _EXPORTING) * done))

    def _run_of(self, spec: GeneratorSpec, size: int) -> _Run:
        if (spec, size) not in self._runs:
            with torch.random.fork_rng(devices=[]):
                network = deployed(build_generator(spec), "picture")
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "network.onnx"
                onnx_file.write(graph_of(network, size, size, spec.input_nc, multiple=spec.multiple), file)
                threads = torch.get_num_threads()
                openvino = self._runtime == "openvino"
                run = openvino_file.open_runner(file, threads) if openvino else onnx_file.Runner(file, threads)
            self._runs[spec, size] = lambda images: run(images.numpy())
        return self._runs[spec, size]
