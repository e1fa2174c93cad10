"""Parameters and operations of a network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..networks.generator import GeneratorSpec, build_generator

__all__ = ["Cost", "count_parameters", "generator_cost", "measure_cost"]


@dataclass(frozen=True)
class Cost:
    """Size of a network and work for one image.

    Attributes:
        parameters: number of trainable values.
        macs: multiply-accumulates of convolutions and matrix products. Norms, activations and additions,
            below one per cent in these networks, are not counted, as in the papers.
        height, width: the image size the operations are for, in pixels.
    """

    parameters: int
    macs: int
    height: int
    width: int


def count_parameters(network: nn.Module) -> int:
    """Return how many values the parameters of a network hold."""
    return sum(parameter.numel() for parameter in network.parameters())


def measure_cost(network: nn.Module, channels: int, height: int, width: int) -> Cost:
    """Count the parameters of a network and its operations for one image (1, channels, height, width)."""
    parameter = next(network.parameters())
    images = torch.empty(1, channels, height, width, device=parameter.device, dtype=parameter.dtype)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(images)
    return Cost(count_parameters(network), counter.get_total_flops() // 2, height, width)


def generator_cost(spec: GeneratorSpec, height: int, width: int) -> Cost:
    """Cost of a generator from its description alone; computes nothing (meta tensors)."""
    with torch.device("meta"):
        network = build_generator(spec).eval()
    return measure_cost(network, spec.input_nc, height, width)
