"""Generators with weights and statistics that are not those of an untrained network, and their checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch

from kd_plugin import GeneratorSpec
from kd_plugin.networks.generator import Generator, build_generator


def random_generator(spec: GeneratorSpec, side: int = 64, seed: int = 0) -> Generator:
    """A generator whose running statistics are those of a few random images of a size."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build_generator(spec).train()
        with torch.no_grad():
            for _ in range(4):
                network(torch.rand(2, spec.input_nc, side, side) * 2 - 1)
    return network.eval()


def save_generator(folder: Path, spec: GeneratorSpec, net: str = "G", side: int = 64, seed: int = 0) -> Path:
    """Save one as ``latest_net_G.pth`` in a folder; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(random_generator(spec, side, seed).state_dict(), folder / f"latest_net_{net}.pth")
    return folder / f"latest_net_{net}.pth"
