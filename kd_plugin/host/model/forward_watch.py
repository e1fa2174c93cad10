"""Watch a forward pass of a host's model: which generators run, on what, and which attributes hold their outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ...networks.taps import Call, Recorder, unwrap
from ...training.rng import get_rng_state, set_rng_state
from .pair import held_tensors


@dataclass(frozen=True)
class Place:
    """Where the output of a generator comes about in a forward pass.

    Attributes:
        call: index among the passes of the generator.
        element: index among the tensors of its output.
        attribute: that holds it; "" if none does.
        source: the generator whose output it translates; "" if it translates data.
    """

    call: int
    element: int
    attribute: str
    source: str

    def __str__(self) -> str:
        """Return a description for the reader."""
        source = f"the output of {self.source}" if self.source else "data"
        return f"translates {source}{f' to {self.attribute!r}' if self.attribute else ''}"


def watch_forward(
    model: Any, forward: Callable[[], Any], generators: Mapping[str, nn.Module], wanted: Mapping[str, str]
) -> dict[str, Place]:
    """Run a forward pass without training, and return the places of the outputs of generators by name.

    Random numbers, and buffers of the networks such as running statistics, are restored. A generator that runs
    several times is watched in the pass whose output is in the wanted attribute, or else in its first pass on data,
    not on another's output, whose output an attribute holds.

    Args:
        model: that of the host.
        forward: runs its forward pass.
        generators: by name; those that do not run, or return no images, are left out of the result.
        wanted: attributes by generator, where they are declared; "" for any.
    """
    numbers = get_rng_state()
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(_restored_buffers(generators.values()))
            recorders = {name: stack.enter_context(Recorder(network)) for name, network in generators.items()}
            forward()
    finally:
        set_rng_state(numbers)
    outputs = {
        id(tensor): name
        for name, recorder in recorders.items()
        for call in recorder.calls
        for tensor in _images(call)
    }
    held = dict(held_tensors(model))
    places = {}
    for name, recorder in recorders.items():
        found = [
            Place(index, element, _holder(held, tensor), outputs.get(id(call.input), ""))
            for index, call in enumerate(recorder.calls)
            for element, tensor in enumerate(_images(call))
            if isinstance(tensor, torch.Tensor) and tensor.ndim == 4
        ]
        if wanted[name]:
            found = [
                place
                for place in found
                if held.get(wanted[name]) is _images(recorder.calls[place.call])[place.element]
            ]
            found = [Place(p.call, p.element, wanted[name], p.source) for p in found]
        if found:
            places[name] = min(found, key=lambda place: (place.attribute == "", place.source != "", place.call))
    return places


def _images(call: Call) -> list[Any]:
    return [value for value in tree_leaves(call.output) if isinstance(value, torch.Tensor)]


def _holder(held: Mapping[str, torch.Tensor], tensor: torch.Tensor) -> str:
    return next((name for name, value in held.items() if value is tensor), "")


@contextmanager
def _restored_buffers(networks: Any) -> Iterator[None]:
    """Context manager that restores the buffers of networks on exit."""
    kept = [(buffer, buffer.clone()) for network in networks for buffer in unwrap(network).buffers()]
    try:
        yield
    finally:
        for buffer, before in kept:
            buffer.copy_(before)
