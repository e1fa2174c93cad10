r"""Exponential moving average of the weights of a generator, which is often better than the last weights.

After each step, with :math:`\theta` the weights and *n* the number of earlier updates,

.. math:: \bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta, \qquad d = \min(0.999, (1 + n) / (10 + n))

The warm-up of *d* lets the first, untrained weights fade sooner. Buffers, such as the running statistics of batch
norm, are copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError
from ..networks.checkpoint import save_weights
from ..networks.taps import unwrap

DECAY = 0.999


class WeightAverage:
    """The average of a network's weights; it begins with its present ones.

    Args:
        network: the network in training; may be wrapped (DataParallel, DDP, compiled).
        decay: the limit of *d*.
    """

    def __init__(self, network: nn.Module, decay: float = DECAY) -> None:
        self._network, self._decay = unwrap(network), decay
        self._updates = 0
        self.weights = {name: value.detach().clone() for name, value in self._network.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Add the present weights."""
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        self._updates += 1
        trained = {name for name, _ in self._network.named_parameters()}
        for name, value in self._network.state_dict().items():
            if name in trained:
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the state, from which the average continues exactly."""
        return {"updates": self._updates, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of :meth:`state_dict`.

        Raises:
            CheckpointError: If it is of another network.
        """
        shapes = {name: value.shape for name, value in self.weights.items()}
        weights = state.get("weights", {})
        if {name: getattr(value, "shape", None) for name, value in weights.items()} != shapes:
            raise CheckpointError("the saved average of the weights is of another network: delete the saved state")
        self._updates = int(state["updates"])
        for name, value in weights.items():
            self.weights[name].copy_(value)


def save_averages(averages: Mapping[str, WeightAverage], folder: Path) -> None:
    """Save the averages as checkpoints of the epoch ``ema``, which a host's test loads like any other."""
    for net, average in averages.items():
        save_weights(average.weights, folder / f"ema_net_{net}.pth")
