"""Watch a forward pass of a host's model: which generators run, on what, and which attributes hold their outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...networks.taps import Recorder, tensors_of
from ...training.rng import kept_rng_state
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

    Random numbers, buffers of the networks such as running statistics, and the attributes of the model are restored.
    A generator that runs several times is watched in the pass whose output is in the wanted attribute, or else in its
    first pass on data, not on another's output, whose output an attribute holds. Passes without gradients train
    nothing, and are left out.

    Args:
        model: that of the host.
        forward: runs its forward pass.
        generators: by name; those that do not run, or return no images, are left out of the result.
        wanted: attributes by generator, where they are declared; "" for any.
    """
    with kept_rng_state(), _restored(model), ExitStack() as stack:
        recorders = {name: stack.enter_context(Recorder(network)) for name, network in generators.items()}
        forward()
        held = dict(held_tensors(model))
    outputs = {
        id(tensor): name
        for name, recorder in recorders.items()
        for call in recorder.calls
        for tensor in tensors_of(call.output)
    }
    places = {}
    for name, recorder in recorders.items():
        found = [
            Place(index, element, _holder(held, tensor, wanted[name]), outputs.get(id(call.input), ""))
            for index, call in enumerate(recorder.calls)
            for element, tensor in enumerate(tensors_of(call.output))
            if tensor.ndim == 4 and tensor.requires_grad
        ]
        if wanted[name]:
            found = [place for place in found if place.attribute == wanted[name]]
        if found:
            places[name] = min(found, key=lambda place: (place.attribute == "", place.source != "", place.call))
    return places


def _holder(held: Mapping[str, torch.Tensor], tensor: torch.Tensor, wanted: str) -> str:
    """Return the attribute that holds a tensor, the wanted one if it does; "" if none does."""
    names = [name for name, value in held.items() if value is tensor]
    return wanted if wanted in names else next(iter(names), "")


@contextmanager
def _restored(model: Any) -> Iterator[None]:
    """Context manager that restores the attributes of a model, tensors and lists in them, and buffers of networks."""
    before = dict(vars(model))
    lists = [(value, list(value)) for value in before.values() if isinstance(value, list)]
    held = [value for each in (before.values(), *(content for _, content in lists)) for value in each]
    networks = [value for value in held if isinstance(value, nn.Module)]
    tensors = [value for value in held if isinstance(value, torch.Tensor) and not value.requires_grad]
    tensors += [buffer for network in networks for buffer in network.buffers()]
    kept = [(tensor, tensor.clone()) for tensor in tensors]
    try:
        yield
    finally:
        vars(model).clear()
        vars(model).update(before)
        for several, content in lists:
            several[:] = content
        with torch.no_grad():
            for tensor, values in kept:
                tensor.copy_(values)
