"""The latency of networks on this machine."""

from __future__ import annotations

import math
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch

from ..networks.generator import GeneratorSpec, build_generator
from .intervals import Interval


class Latencies(Protocol):
    """A function such as :func:`generator_latencies`."""

    def __call__(
        self,
        specs: Sequence[GeneratorSpec],
        size: int,
        device: torch.device | str = "cpu",
        rounds: int = 5,
        progress: Callable[[float], None] = lambda done: None,
    ) -> list[float]:
        """Return the time of each generator for one image of size x size pixels, in seconds."""
        ...


def measure_latencies(
    networks: Sequence[Callable[[torch.Tensor], object]],
    images: Sequence[torch.Tensor],
    rounds: int = 5,
    progress: Callable[[float], None] = lambda done: None,
) -> list[float]:
    """Return the median time of a forward pass of each network for its images (B, C, H, W), in seconds.

    Arguments are those of :func:`measure_times`.
    """
    return [statistics.median(times) for times in measure_times(networks, images, rounds, progress)]


def measure_times(
    networks: Sequence[Callable[[torch.Tensor], object]],
    images: Sequence[torch.Tensor],
    rounds: int = 5,
    progress: Callable[[float], None] = lambda done: None,
) -> list[list[float]]:
    """Return the times of the forward passes of each network, in seconds, in the order of the passes.

    The networks take turns, so that other load, or a changing clock rate, affects all of them equally. ``rounds``
    passes are timed, after one for warm-up. ``progress`` is called with the completed fraction, 0 to 1.
    """
    times: list[list[float]] = [[] for _ in networks]
    with torch.no_grad():
        for turn in range(rounds + 1):
            for i, (network, batch) in enumerate(zip(networks, images, strict=True)):
                begun = _now(batch.device)
                network(batch)
                if turn:
                    times[i].append(_now(batch.device) - begun)
                progress((turn * len(networks) + i + 1) / ((rounds + 1) * len(networks)))
    return times


def spread(times: Sequence[float]) -> Interval:
    """Return the median of times, with their quartiles as the ends of the interval.

    >>> spread([1.0, 2.0, 3.0, 4.0, 50.0])
    Interval(value=3.0, low=2.0, high=4.0)
    """
    if len(times) < 2:
        return Interval(times[0], math.nan, math.nan)
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return Interval(middle, low, high)


def generator_latencies(
    specs: Sequence[GeneratorSpec],
    size: int,
    device: torch.device | str = "cpu",
    rounds: int = 5,
    progress: Callable[[float], None] = lambda done: None,
) -> list[float]:
    """Return the time of each generator in eval mode for one image of size x size pixels, in seconds.

    The weights are PyTorch's initial ones, which do not affect the time.
    """
    with torch.random.fork_rng(devices=[]):
        networks = [build_generator(spec).eval().to(device) for spec in specs]
    images = [torch.zeros(1, spec.input_nc, size, size, device=device) for spec in specs]
    return measure_latencies(networks, images, rounds, progress)


def device_name(device: torch.device | str) -> str:
    """Return the name of a GPU, or of this machine's processor (its architecture, where the system does not say)."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")  # platform.processor() is only the architecture on Linux
    found = re.search(r"model name\s*: (.+)", info.read_text(errors="replace")) if info.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine() or "CPU"


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
