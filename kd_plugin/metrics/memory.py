"""The peak memory of a forward pass."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from ..errors import ArgumentError, in_one_line
from ..networks.taps import unwrap


def peak_memory(network: nn.Module, images: torch.Tensor) -> int:
    """Return the memory in bytes that inference with a network takes: its peak during a forward pass.

    Parameters and buffers, plus the largest sum of activations that are alive at the same time, the input among them.
    They are counted exactly, by following the life of each tensor's storage. Not included are what a convolution
    allocates while it runs (its workspace, which depends on the library and the hardware), the rounding of the
    allocator, and PyTorch itself.

    Nothing is computed, and no memory is needed: the pass runs on meta tensors. The network is unchanged.

    Args:
        network: network in the mode to measure, usually eval.
        images: (B, C, H, W), of which shape and dtype matter.

    Raises:
        ArgumentError: If the network does not run on meta tensors, for example because its operations depend on the
            values of tensors, or because it holds tensors that are neither parameters nor buffers.
    """
    network = unwrap(network)
    held = dict(itertools.chain(network.named_parameters(), network.named_buffers()))
    state = {name: torch.empty_like(tensor, device="meta") for name, tensor in held.items()}
    memory = _LiveMemory()
    try:
        with torch.no_grad(), memory:
            batch = torch.empty_like(images, device="meta")
            torch.func.functional_call(network, state, (batch,))
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise ArgumentError(
            f"the peak memory of {type(network).__name__} cannot be counted, as it does not run on meta tensors: "
            f"{in_one_line(error)}"
        ) from error
    return memory.peak + sum(tensor.numel() * tensor.element_size() for tensor in held.values())


class _LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The memory of the storages that operations create in this context, while they are alive.

    Attributes:
        peak: the largest so far, in bytes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: dict[str, Any] | None = None
    ) -> Any:
        given = {id(storage) for storage in _storages((arguments, named))}
        result = function(*arguments, **(named or {}))
        for storage in _storages(result):
            if id(storage) not in given and id(storage) not in self._known:  # neither in-place nor a view
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()

        def remove(reference: object) -> None:
            del self._known[key]
            self._live -= size

        self._known[key] = weakref.ref(storage, remove)
        self._live += size
        self.peak = max(self.peak, self._live)


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [value.untyped_storage() for value in tree_flatten(values)[0] if isinstance(value, torch.Tensor)]
