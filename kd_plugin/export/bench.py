"""Time a generator and its teacher in several runtimes, side by side in one process."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import nn

from ..metrics.latency import measure_times
from . import onnx_file, openvino_file
from .graph import graph_of
from .images import batch_of, draw_images
from .int8 import quantise
from .network import Statistics, deployed, with_subpixel_convolutions
from .parity import compare

_EAGER, _ONNX, _OPENVINO = "PyTorch", "ONNX Runtime", "OpenVINO"
_ROUNDS = 9
_CALIBRATION = 8  # images: the speed does not depend on the ranges

Run = Callable[[torch.Tensor], object]


@dataclass(frozen=True)
class Timing:
    """The times of the generators in a runtime.

    Attributes:
        runtime: for the reader.
        seconds: the median for an image, by generator.
        psnr: of the images to those of the generator in float32, in dB, by generator, if it computes in less.
    """

    runtime: str
    seconds: dict[str, float]
    psnr: dict[str, float]


def time_generators(
    networks: Mapping[str, nn.Module],
    height: int,
    width: int,
    channels: int = 3,
    *,
    statistics: Statistics = "picture",
    rounds: int = _ROUNDS,
    compiled: bool = True,
    progress: Callable[[float], None] = lambda done: None,
) -> list[Timing]:
    """Return the times of generators for an image in the runtimes that this machine has.

    The generators and runtimes take turns, so that other load, or a changing clock rate, affects all of them equally.
    All of them run on the CPU, with the number of threads of PyTorch.

    Args:
        networks: by name.
        height, width: of the image in pixels.
        channels: of the image.
        statistics: of norms, see :func:`~kd_plugin.export.network.deployed`.
        rounds: number of timed passes.
        compiled: whether to include ``torch.compile``, which takes half a minute for each generator.
        progress: called with the completed fraction.

    Raises:
        KDError: If ONNX Runtime is missing, or a network cannot be exported.
    """
    onnx_file.check_installed()
    runs: dict[tuple[str, str], Run] = {}
    psnr: dict[tuple[str, str], float] = {}
    images = [batch_of([image], height, width, channels, False) for image in draw_images(_CALIBRATION)]
    with tempfile.TemporaryDirectory() as folder:
        for name, network in networks.items():
            plain = deployed(network, statistics)
            for runtime, run in _in_pytorch(network, plain, statistics, compiled).items():
                runs[runtime, name] = run
            found = _exported(plain, images, Path(folder) / name)
            for runtime, run in found.items():
                runs[runtime, name] = run
                if runtime not in (_ONNX, _OPENVINO):
                    parity = compare(plain, lambda batch, run=run: run(torch.from_numpy(batch)), images[:4])  # type: ignore[misc]
                    psnr[runtime, name] = parity.psnr
        times = measure_times(list(runs.values()), [images[0]] * len(runs), rounds, progress)
    medians = dict(zip(runs, map(median, times), strict=True))
    return [
        Timing(
            runtime,
            {name: medians[runtime, name] for name in networks},
            {name: psnr[runtime, name] for name in networks if (runtime, name) in psnr},
        )
        for runtime in dict.fromkeys(runtime for runtime, _ in runs)
    ]


def _in_pytorch(network: nn.Module, plain: nn.Module, statistics: Statistics, compiled: bool) -> dict[str, Run]:
    eager = plain if statistics == "picture" else network.cpu().float().eval()
    last = deployed(network, statistics).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found: dict[str, Run] = {
        _EAGER: eager,
        "PyTorch, channels_last": lambda images: last(images.to(memory_format=torch.channels_last)),
    }
    if compiled and shutil.which("g++"):
        found["PyTorch, torch.compile"] = torch.compile(deployed(network, statistics))
    return found


def _exported(plain: nn.Module, images: Sequence[torch.Tensor], stem: Path) -> dict[str, Run]:
    """Return the runs of a network in other runtimes; its files are written beside ``stem``."""
    height, width = images[0].shape[2:]
    threads = torch.get_num_threads()
    whole, small = stem.with_suffix(".onnx"), stem.with_suffix(".int8.onnx")
    onnx_file.write(graph_of(plain, height, width, images[0].shape[1]), whole)
    source = stem.with_suffix(".subpixel.onnx")
    onnx_file.write(
        graph_of(with_subpixel_convolutions(deployed(plain, "running")), height, width, images[0].shape[1]), source
    )
    quantise(source, small, [image.numpy() for image in images])
    runners = {_ONNX: onnx_file.Runner(whole, threads), f"{_ONNX}, int8": onnx_file.Runner(small, threads)}
    found: dict[str, Run] = {}
    for name, runner in runners.items():
        found[name] = lambda images, runner=runner: runner(images.numpy())  # type: ignore[misc]
    if importlib.util.find_spec("openvino"):
        for name, file, precision in (
            (_OPENVINO, whole, "f32"),
            (f"{_OPENVINO}, bf16", whole, "bf16"),
            (f"{_OPENVINO}, int8", small, "f32"),
        ):
            run = openvino_file.open_runner(file, threads, precision)
            found[name] = lambda images, run=run: run(images.numpy())  # type: ignore[misc]
    return found


def timing_table(timings: Sequence[Timing]) -> str:
    """Return a table as aligned text: a line for each runtime, with ratios if there are a teacher and a student.

    The columns are the teacher's and the student's time, the ratio of the two in the runtime, and that of the teacher
    in PyTorch to the student.
    """
    names = list(timings[0].seconds)
    first = timings[0].seconds[names[0]]
    lines = [["", *names, *(["faster", "than the teacher in PyTorch"] if len(names) > 1 else ["faster"]), "PSNR"]]
    for timing in timings:
        times = [f"{1e3 * timing.seconds[name]:.1f} ms" for name in names]
        last = timing.seconds[names[-1]]
        ratios = [f"{timing.seconds[names[0]] / last:.2f}x"] if len(names) > 1 else []
        quality = timing.psnr.get(names[-1])
        lines.append(
            [timing.runtime, *times, *ratios, f"{first / last:.2f}x", f"{quality:.1f} dB" if quality else ""]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    form = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])])
    return "\n".join(form.format(*line).rstrip() for line in lines)
