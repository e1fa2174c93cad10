"""Attach a loss to a tensor, so that the backward pass of any later loss of the tensor includes it.

Hosts compute and backpropagate their generator loss in their own methods. Instead of copying those, the plugin
attaches its loss to the student's output: forward changes nothing, backward passes the output's gradient through and
starts the attached loss with a gradient of one. The student receives exactly the gradient of the explicit sum of both
losses, in one traversal of the generator. Mixture-of-experts code adds its balancing losses in the same way.

The gradient of one does not include a factor of the host's loss: with ``(loss / steps).backward()``, scale the
weights accordingly. The factor of a loss scaler is included through ``scale``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch


class Attachment:
    """Counts the backward passes that have reached an attached loss."""

    def __init__(self) -> None:
        self.passes = 0

    def count(self) -> None:
        self.passes += 1
        if self.passes == 2:
            warnings.warn(
                "the student's output was in two backward passes of one step, so the distillation terms count "
                "twice: halve their weights, or sum the losses before a single backward()",
                stacklevel=2,
            )


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, loss: torch.Tensor, attachment: Attachment, scale: Callable[[], float] | None
    ) -> torch.Tensor:
        ctx.attachment, ctx.scale = attachment, scale
        ctx.loss_like = loss.new_ones(())
        return output.clone()  # not a view, which could not be modified in place

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        ctx.attachment.count()
        return gradient, ctx.loss_like * ctx.scale() if ctx.scale else ctx.loss_like, None, None


def attach(
    output: torch.Tensor, loss: torch.Tensor, scale: Callable[[], float] | None = None
) -> tuple[torch.Tensor, Attachment]:
    """Return ``output`` with ``loss`` attached.

    Args:
        output: any tensor that a later loss is computed from.
        loss: a scalar; gets a gradient of one in each backward pass that reaches the returned tensor.
        scale: called in the backward pass, returns the factor of the later loss, which then also scales the gradient
            of one.

    Returns:
        A tensor equal to ``output``, to use in its place, and the counter of the passes that reach it.
    """
    attachment = Attachment()
    attached: torch.Tensor = _Attach.apply(output, loss, attachment, scale)  # type: ignore[no-untyped-call]
    return attached, attachment
