"""Find the generators of a host's model to distil, and the attributes that hold their outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from ...errors import HostError
from ...training.networks import find_network
from ..repository.family import Pair, generator_names, is_generator, known_pairs, pairs_of


def find_pairs(model: Any) -> tuple[Pair, ...]:
    """Return the pairs of a host's model.

    They are those of ``distill_pairs`` in its class, or those of a known family and all other networks that are named
    like generators and trained, without the attributes of their outputs.

    Raises:
        HostError: no pairs are declared, and no network has the name of a generator.
    """
    declared: Sequence[Sequence[str]] | None = getattr(model, "distill_pairs", None)
    if declared is not None:
        return tuple(Pair(*pair) for pair in declared)
    names = list(map(str, getattr(model, "model_names", [])))
    named = pairs_of(getattr(model, "opt", None))
    known = named or next((pairs for pairs in known_pairs() if all(pair.net in names for pair in pairs)), ())
    nets = [pair.net for pair in known]
    optimizers = getattr(model, "optimizers", [])
    trained = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    more = (name for name in names if name not in nets and is_generator(name) and _is_trained(model, name, trained))
    found = (*known, *map(Pair, more))
    if not found:
        raise HostError(
            f"{type(model).__name__} has the networks {', '.join(names) or 'none'}, but no "
            f'{generator_names()}: declare the pairs in the class, e.g. distill_pairs = [("G", "fake_B")]'
        )
    return found


def _is_trained(model: Any, name: str, trained: set[int]) -> bool:
    """Return whether parameters of a network are among the trained ones, unlike those of an average of weights.

    If there are none, the host creates its optimizers later, and any network may be trained.
    """
    network = find_network(model, name)
    return network is not None and (not trained or any(id(p) in trained for p in network.parameters()))


def is_watched(pair: Pair) -> bool:
    """Return whether a forward pass must be watched for the images of a pair: no attribute of its own holds them."""
    return not pair.output.isidentifier()


def network_of(model: Any, pair: Pair) -> nn.Module:
    """Return the generator of a pair as stored in the model, wrapped or not.

    Raises:
        HostError: the model has no such network.
    """
    network = find_network(model, pair.net)
    if network is None:
        raise HostError(f"{type(model).__name__} has no network 'net{pair.net}', which distill_pairs lists")
    return network


def held_tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors that a model holds in attributes, or in lists and tuples there, with their names."""
    for name, value in vars(model).items():
        if isinstance(value, torch.Tensor):
            yield name, value
        elif isinstance(value, (list, tuple)):
            for number, element in enumerate(value):
                if isinstance(element, torch.Tensor):
                    yield f"{name}[{number}]", element
