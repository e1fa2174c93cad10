"""Facts about host repositories, found by looking at what they have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from ...errors import HostError

__all__ = [
    "Pair",
    "find_pairs",
    "is_main_process",
    "network_of",
    "process_count",
    "process_rank",
    "say",
    "several_processes",
]


class Pair(NamedTuple):
    """A generator that is distilled: its name in ``model_names`` and the attribute that holds its images."""

    net: str
    output: str

    @property
    def suffix(self) -> str:
        """What tells the pair's losses from another's: "" for ``G``, "_A" for ``G_A``."""
        return self.net.removeprefix("G")

    @property
    def swaps(self) -> bool:
        """Whether it translates B to A in a model that goes from A to B."""
        return self.net.endswith("_B")


_CYCLE = (Pair("G_A", "fake_B"), Pair("G_B", "fake_A"))
_SINGLE = (Pair("G", "fake_B"),)


def find_pairs(model: Any) -> tuple[Pair, ...]:
    """Return the pairs of a host model: those its class declares as ``distill_pairs``, or the family's.

    ``distill_pairs`` is a list of (network name, attribute of its output), for instance
    ``[("G_A", "fake_B")]``.

    Raises:
        HostError: none declared, and the networks are not those of pix2pix or CycleGAN.
    """
    declared: Sequence[Sequence[str]] | None = getattr(model, "distill_pairs", None)
    if declared is not None:
        return tuple(Pair(*pair) for pair in declared)
    names = list(getattr(model, "model_names", []))
    for pairs in (_CYCLE, _SINGLE):
        if all(pair.net in names for pair in pairs):
            return pairs
    raise HostError(
        f"{type(model).__name__} has the networks {', '.join(map(str, names)) or 'none'}, and no G, or G_A and G_B: "
        f'declare what to distil in the class, e.g. distill_pairs = [("G", "fake_B")]'
    )


def network_of(model: Any, pair: Pair) -> nn.Module:
    """Return the generator of a pair, as the host holds it (wrapped or not).

    Raises:
        HostError: the model has no such network.
    """
    network = getattr(model, f"net{pair.net}", None)
    if not isinstance(network, nn.Module):
        raise HostError(f"{type(model).__name__} has no network 'net{pair.net}', which distill_pairs names")
    return network


def process_rank() -> int:
    """Return the rank of this process among those of the training, 0 if it is the only one."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def process_count() -> int:
    """Return on how many processes the training runs."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_main_process() -> bool:
    """Return whether this process is the one that writes files."""
    return process_rank() == 0


def several_processes() -> bool:
    """Return whether the training runs on several processes."""
    return process_count() > 1


def say(message: str) -> None:
    """Print a line among the host's own, once however many processes there are."""
    # Before the processes have joined, and after they have parted, torchrun's variables tell them apart.
    other = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0"
    if is_main_process() and not other:
        print(f"[distill] {message}")
