"""The inference cost of a generator."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..networks.generator import GeneratorSpec, build_generator


@dataclass(frozen=True)
class Cost:
    """Size of a generator, and cost of one image.

    MACs are multiply-accumulates of convolutions and matrix products. Norms, activations and additions, below one
    percent in these networks, are not counted, as in the papers.
    """

    params: float
    macs: float
    file_size: float  # of the checkpoint, in bytes
    latency: float | None = None  # in seconds; None if not measured


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters())


@lru_cache(maxsize=1024)
def generator_cost(spec: GeneratorSpec, size: int) -> Cost:
    """Return the cost of a generator for an image of size x size pixels, without its latency.

    Nothing is computed: the tensors are meta tensors.
    """
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad():
        network = build_generator(spec).eval()
        images = torch.empty(1, spec.input_nc, size, size)
        with counter:
            network(images)
    return Cost(count_parameters(network), counter.get_total_flops() // 2, _file_size(network))


def _file_size(network: nn.Module) -> int:
    """Return the size of the file that ``torch.save`` writes for the state dict, within 128 bytes per tensor.

    Computed without the tensors: the size of a file with one value per tensor, plus the missing values.
    """
    state, file = network.state_dict(), io.BytesIO()
    torch.save({key: torch.zeros(1, dtype=tensor.dtype) for key, tensor in state.items()}, file)
    missing: int = sum((tensor.numel() - 1) * tensor.element_size() for tensor in state.values())
    return file.tell() + missing
