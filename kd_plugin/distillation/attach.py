"""Let a loss ride on a tensor, so that the one backward pass of whoever uses the tensor carries it.

Hosts compute and backpropagate their generator loss in methods of their own. Instead of copying those, the
plugin attaches its loss to the student's output: forward changes nothing, backward passes the output's
gradient through and starts the attached loss with a gradient of one. The gradient that reaches the student is
exactly that of the explicit sum of both losses, in one traversal of the generator. Mixture-of-experts code
joins its balancing losses the same way.

The gradient of one is not scaled by what the host multiplies its own loss with before the backward pass: with
``(loss / steps).backward()``, the weights must be scaled alike. A loss scaler can be followed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["Attachment", "attach"]


class Attachment:
    """Tells whether an attached loss has been reached by a backward pass yet, and how often."""

    def __init__(self) -> None:
        self.passes = 0

    def count(self) -> None:
        self.passes += 1
        if self.passes == 2:
            warnings.warn(
                "the student's output took part in two backward passes of one step, so the distillation terms "
                "count twice: halve their weights, or sum the losses before a single backward()",
                stacklevel=2,
            )


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, loss: torch.Tensor, attachment: Attachment, scale: Callable[[], float] | None
    ) -> torch.Tensor:
        ctx.attachment, ctx.scale = attachment, scale
        ctx.loss_like = loss.new_ones(())
        return output.clone()  # not a view, which a host could not modify in place

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        ctx.attachment.count()
        return gradient, ctx.loss_like * ctx.scale() if ctx.scale else ctx.loss_like, None, None


def attach(
    output: torch.Tensor, loss: torch.Tensor, scale: Callable[[], float] | None = None
) -> tuple[torch.Tensor, Attachment]:
    """Return ``output``, carrying ``loss``.

    Args:
        output: any tensor that a later loss is computed from.
        loss: a scalar; gets a gradient of one in each backward pass that reaches the returned tensor.
        scale: asked in a backward pass, gives what the later loss was multiplied with before it; so is the gradient
            of one then.

    Returns:
        A tensor equal to ``output``, to be used in its place, and the record of the passes that reached it.
    """
    attachment = Attachment()
    carrying: torch.Tensor = _Attach.apply(output, loss, attachment, scale)  # type: ignore[no-untyped-call]
    return carrying, attachment
