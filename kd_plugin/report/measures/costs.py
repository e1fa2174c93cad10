"""What the networks of a report cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ...errors import KDError
from ...metrics.cost import count_parameters
from ...metrics.latency import measure_times, spread
from ...metrics.memory import peak_memory
from ...networks.translator import Translator
from ..results import Latency, NetworkCost

_ROUNDS = 11


def measure_costs(
    translators: Mapping[str, Translator],
    files: Mapping[str, Path],
    sizes: Sequence[int],
    batches: Sequence[int],
    device: torch.device,
    progress: Callable[[float], None] = lambda done: None,
) -> dict[str, NetworkCost]:
    """Return the cost of each network by key, with latencies on the device and on the CPU.

    Args:
        translators: by key.
        files: their files.
        sizes: sides of the images to measure latency with; the first is that of the other costs.
        batches: batches to measure latency with.
        device: of the networks.
        progress: called with the completed fraction.

    Raises:
        KDError: If a network does not take images of a size.
    """
    for size in sizes:
        for key, translator in translators.items():
            if size % translator.multiple:
                raise KDError(
                    f"latency at {size} pixels: {files[key]} takes multiples of {translator.multiple}, choose others"
                )
    latencies: dict[str, list[Latency]] = {key: [] for key in translators}
    devices = dict.fromkeys((device, torch.device("cpu")))
    points = [(on, size, batch) for on in devices for size in sizes for batch in batches]
    for number, (on, size, batch) in enumerate(points):
        runners = [_runner(translator, on) for translator in translators.values()]
        images = [torch.zeros(batch, t.channels, size, size, device=on) for t in translators.values()]
        for key, seconds in zip(translators, measure_times(runners, images, _ROUNDS), strict=True):
            latencies[key].append(Latency(_name(on), size, batch, spread(seconds), len(seconds)))
        progress((number + 1) / len(points))
    for translator in translators.values():
        _runner(translator, device)  # back to where it was
    return {
        key: NetworkCost(
            _file_size(files[key], translator.module),
            **_counted(translator, sizes[0], device),
            size=sizes[0],
            latencies=tuple(latencies[key]),
        )
        for key, translator in translators.items()
    }


def _file_size(file: Path, module: torch.nn.Module | None) -> int:
    """Return the size of a file in bytes; of a network without a file, that of its tensors."""
    if file.is_file() or module is None:
        return file.stat().st_size
    return sum(tensor.nbytes for tensor in module.state_dict().values())


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


def _runner(translator: Translator, device: torch.device) -> Callable[[torch.Tensor], object]:
    """Return the network on a device, or the function of another runtime, which stays where it runs."""
    if translator.module is None:
        return lambda images: translator.translate(images, [0] * len(images))
    return translator.module.to(device)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
