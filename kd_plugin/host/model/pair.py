"""Which generators of a host's model are distilled, and where their images are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn

from ...errors import HostError

__all__ = ["Pair", "find_pairs", "network_of"]


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
