"""What the networks of a report cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ...metrics.cost import count_parameters
from ...metrics.latency import measure_times, spread
from ...metrics.memory import peak_memory
from ..networks import Translator
from ..results import Latency, NetworkCost

_ROUNDS = 7


def measure_costs(
    translators: Mapping[str, Translator],
    files: Mapping[str, Path],
    sizes: Sequence[int],
    batches: Sequence[int],
    device: torch.device,
    progress: Callable[[float], None] = lambda done: None,
) -> dict[str, NetworkCost]:
    """Return the cost of each network by key; latencies are measured in turns, so that load affects all equally.

    Args:
        translators: by key.
        files: their files.
        sizes: sides of the images to measure latency with; the first is that of the other costs.
        batches: batches to measure latency with.
        device: of the networks.
        progress: called with the completed fraction.
    """
    latencies: dict[str, list[Latency]] = {key: [] for key in translators}
    points = [(size, batch) for size in sizes for batch in batches]
    for number, (size, batch) in enumerate(points):
        images = [torch.zeros(batch, t.channels, size, size, device=device) for t in translators.values()]
        times = measure_times([_runner(t) for t in translators.values()], images, _ROUNDS)
        for (key, translator), seconds in zip(translators.items(), times, strict=True):
            name = _device_name(device) if translator.module is not None else "CPU"
            latencies[key].append(Latency(name, size, batch, spread(seconds), len(seconds)))
        progress((number + 1) / len(points))
    return {
        key: NetworkCost(
            files[key].stat().st_size,
            **_counted(translator, sizes[0], device),
            size=sizes[0],
            latencies=tuple(latencies[key]),
        )
        for key, translator in translators.items()
    }


def _counted(translator: Translator, size: int, device: torch.device) -> dict[str, int | None]:
    """Return parameters, multiply-accumulates and peak memory for one image."""
    module = translator.module
    if module is None:
        return {"params": None, "macs": None, "peak_memory": None}
    image = torch.zeros(1, translator.channels, size, size, device=device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(image)
    macs = counter.get_total_flops() // 2
    return {"params": count_parameters(module), "macs": macs, "peak_memory": peak_memory(module, image)}


def _runner(translator: Translator) -> Callable[[torch.Tensor], object]:
    return translator.module or (lambda images: translator.translate(images, [0] * len(images)))


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
