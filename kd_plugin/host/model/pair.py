"""Find the generators of a host's model to distil, and the attributes that hold their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ...errors import HostError
from ..repository.family import Pair, generator_names, known_pairs


def find_pairs(model: Any) -> tuple[Pair, ...]:
    """Return the pairs of a host's model: ``distill_pairs`` of its class, or those of a known family.

    Raises:
        HostError: no pairs are declared, and the networks match no known model.
    """
    declared: Sequence[Sequence[str]] | None = getattr(model, "distill_pairs", None)
    if declared is not None:
        return tuple(Pair(*pair) for pair in declared)
    names = list(getattr(model, "model_names", []))
    for pairs in known_pairs():
        if all(pair.net in names for pair in pairs):
            return pairs
    raise HostError(
        f"{type(model).__name__} has the networks {', '.join(map(str, names)) or 'none'}, but no "
        f'{generator_names()}: declare the pairs in the class, e.g. distill_pairs = [("G", "fake_B")]'
    )


def network_of(model: Any, pair: Pair) -> nn.Module:
    """Return the generator of a pair as stored in the model, wrapped or not.

    Raises:
        HostError: the model has no such network.
    """
    network = getattr(model, f"net{pair.net}", None)
    if not isinstance(network, nn.Module):
        raise HostError(f"{type(model).__name__} has no network 'net{pair.net}', which distill_pairs lists")
    return network
