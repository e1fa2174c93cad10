"""Losses of a student's images besides the distillation terms: the ground truth, and real images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from ..losses import pixel_loss
from ..processes import is_distributed
from .adapter_training import average_gradient

GanMode = Literal["lsgan", "vanilla"]
Batch = Mapping[str, torch.Tensor]


class Objective(Protocol):
    """A loss of the student's images.

    Attributes:
        name: of the loss.
        network: trained against the student by :meth:`after`, or None.
        optimizer: of that network, or None.
    """

    name: str
    network: nn.Module | None
    optimizer: torch.optim.Optimizer | None

    def loss(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the weighted loss, a scalar, of the student's images (B, C, H, W) in [-1, 1]."""
        ...

    def after(self) -> dict[str, torch.Tensor]:
        """Train its own network after the student's step; return losses to log."""
        ...


class GroundTruth:
    """The mean absolute difference from the ground truth, as pix2pix has it.

    Args:
        weight: of the loss; the hosts' ``--lambda_L1``.
    """

    name = "L1"
    network: nn.Module | None = None
    optimizer: torch.optim.Optimizer | None = None

    def __init__(self, weight: float = 100.0) -> None:
        self._weight = weight

    def loss(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the weighted loss against ``batch["truth"]``."""
        return self._weight * pixel_loss(output, batch["truth"])

    def after(self) -> dict[str, torch.Tensor]:
        """Return nothing: there is no network to train."""
        return {}


class Adversary:
    """The adversarial loss, with a discriminator that is trained on real images of the target domain.

    As in the hosts, the discriminator's loss is the mean of that of real and of generated images, and it has the
    student's optimizer.

    Args:
        discriminator: maps images (B, C, H, W) to scores (B, 1, H', W').
        weight: of the student's loss.
        mode: ``"lsgan"`` (mean squared error of the scores) or ``"vanilla"`` (cross entropy), as ``--gan_mode``.
        lr: learning rate.
        betas: coefficients of Adam.
    """

    name = "GAN"

    def __init__(
        self,
        discriminator: nn.Module,
        weight: float = 1.0,
        mode: GanMode = "lsgan",
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
    ) -> None:
        self.network: nn.Module | None = discriminator
        self._discriminator, self._weight, self._mode = discriminator.train(), weight, mode
        self._images: tuple[torch.Tensor, torch.Tensor] | None = None
        parameters = list(discriminator.requires_grad_(True).parameters())
        self.optimizer: torch.optim.Optimizer | None = torch.optim.Adam(parameters, lr=lr, betas=betas)
        if is_distributed():
            for parameter in parameters:
                parameter.register_post_accumulate_grad_hook(average_gradient)  # type: ignore[no-untyped-call]

    def loss(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the weighted loss; ``batch["real.input"]`` are the real images of :meth:`after`."""
        self._images = output.detach(), batch["real.input"]
        self._discriminator.requires_grad_(False)
        scores = self._discriminator(output)
        self._discriminator.requires_grad_(True)
        return self._weight * self._distance(scores, True)

    def after(self) -> dict[str, torch.Tensor]:
        """Train the discriminator on the images of the step."""
        assert self._images is not None and self.optimizer is not None
        fake, real = self._images
        self._images = None
        self.optimizer.zero_grad(set_to_none=True)
        values = self._distance(self._discriminator(fake), False), self._distance(self._discriminator(real), True)
        torch.autograd.backward((values[0] + values[1]) / 2)
        self.optimizer.step()
        return {"D_fake": values[0].detach(), "D_real": values[1].detach()}

    def _distance(self, scores: torch.Tensor, real: bool) -> torch.Tensor:
        wanted = torch.full_like(scores, float(real))
        if self._mode == "vanilla":
            return F.binary_cross_entropy_with_logits(scores, wanted)
        return F.mse_loss(scores, wanted)


def state_of(objective: Objective) -> dict[str, Any]:
    """Return the state of an objective's network and optimizer."""
    network, optimizer = objective.network, objective.optimizer
    return {"network": network.state_dict(), "optimizer": optimizer.state_dict()} if network and optimizer else {}


def load_state_of(objective: Objective, state: Mapping[str, Any]) -> None:
    """Load the result of :func:`state_of`."""
    if objective.network and objective.optimizer:
        objective.network.load_state_dict(state["network"])
        objective.optimizer.load_state_dict(state["optimizer"])
