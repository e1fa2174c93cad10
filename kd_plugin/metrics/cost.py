"""What a generator costs to ship."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..networks.generator import GeneratorSpec, build_generator

__all__ = ["Cost", "count_parameters", "generator_cost"]


@dataclass(frozen=True)
class Cost:
    """Size of a generator, and work for one image.

    Attributes:
        params: number of trainable values.
        macs: multiply-accumulates of convolutions and matrix products. Norms, activations and additions,
            below one per cent in these networks, are not counted, as in the papers.
        file_size: bytes of the checkpoint file.
        latency: seconds, or None where it was not measured.
    """

    params: float
    macs: float
    file_size: float
    latency: float | None = None


def count_parameters(network: nn.Module) -> int:
    """Return how many values the parameters of a network hold."""
    return sum(parameter.numel() for parameter in network.parameters())


@lru_cache(maxsize=1024)
def generator_cost(spec: GeneratorSpec, size: int) -> Cost:
    """Return what a generator costs for an image of size x size pixels, its latency aside.

    Computes nothing: the tensors are meta tensors.
    """
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad():
        network = build_generator(spec).eval()
        images = torch.empty(1, spec.input_nc, size, size)
        with counter:
            network(images)
    return Cost(count_parameters(network), counter.get_total_flops() // 2, _file_size(network))


def _file_size(network: nn.Module) -> int:
    """Return the size of the file that ``torch.save`` makes of the state dict, in bytes, to 128 bytes a tensor.

    Found without the tensors: a file of as many small ones, and how much larger they are.
    """
    state, file = network.state_dict(), io.BytesIO()
    torch.save({key: torch.zeros(1, dtype=tensor.dtype) for key, tensor in state.items()}, file)
    left_out: int = sum((tensor.numel() - 1) * tensor.element_size() for tensor in state.values())
    return file.tell() + left_out
