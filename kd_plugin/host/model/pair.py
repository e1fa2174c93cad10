"""Find the generators of a host's model to distil, and the attributes that hold their outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from ...errors import HostError
from ...training.networks import find_network
from ..repository.family import Pair, generator_names, is_generator, known_pairs

_ELEMENT = re.compile(r"(\w+)\[(\d+)\]")


def find_pairs(model: Any) -> tuple[Pair, ...]:
    """Return the pairs of a host's model.

    They are those of ``distill_pairs`` in its class, or those of a known family, or all networks that are named like
    generators, without the attributes of their outputs.

    Raises:
        HostError: no pairs are declared, and no network has the name of a generator.
    """
    declared: Sequence[Sequence[str]] | None = getattr(model, "distill_pairs", None)
    if declared is not None:
        return tuple(Pair(*pair) for pair in declared)
    names = list(map(str, getattr(model, "model_names", [])))
    for pairs in known_pairs():
        if all(pair.net in names for pair in pairs) and not _others(names, pairs):
            return pairs
    found = tuple(Pair(name) for name in names if is_generator(name) and find_network(model, name) is not None)
    if not found:
        raise HostError(
            f"{type(model).__name__} has the networks {', '.join(names) or 'none'}, but no "
            f'{generator_names()}: declare the pairs in the class, e.g. distill_pairs = [("G", "fake_B")]'
        )
    return found


def _others(names: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    """Return the generators of a model that are not of the pairs."""
    nets = [pair.net for pair in pairs]
    return [name for name in names if is_generator(name) and name not in nets]


def is_known(pair: Pair) -> bool:
    """Return whether hosts of a known family compute their losses from the attribute of a pair."""
    return any(pair in pairs for pairs in known_pairs())


def network_of(model: Any, pair: Pair) -> nn.Module:
    """Return the generator of a pair as stored in the model, wrapped or not.

    Raises:
        HostError: the model has no such network.
    """
    network = find_network(model, pair.net)
    if network is None:
        raise HostError(f"{type(model).__name__} has no network 'net{pair.net}', which distill_pairs lists")
    return network


def held_output(model: Any, output: str) -> Any:
    """Return what a model holds in the attribute of a pair, ``fake_B`` or ``fake_B[0]``; None if nothing."""
    found = _ELEMENT.fullmatch(output)
    if not found:
        return getattr(model, output, None) if output else None
    several, number = getattr(model, found[1], None), int(found[2])
    return several[number] if isinstance(several, (list, tuple)) and number < len(several) else None


def held_tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors that a model holds in attributes, or in lists and tuples there, with their names."""
    for name, value in vars(model).items():
        if isinstance(value, torch.Tensor):
            yield name, value
        elif isinstance(value, (list, tuple)):
            for number, element in enumerate(value):
                if isinstance(element, torch.Tensor):
                    yield f"{name}[{number}]", element
