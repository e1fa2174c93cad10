"""Gradients laid out in memory as the tensors they are for.

PyTorch's instance norm computes a wrong gradient on CPUs for a single picture whose incoming gradient is laid out in
channels_last while the picture is not (seen in 2.2 and in 2.13). Hosts train single pictures through instance norms,
and terms that set pixels against each other give such gradients, so what a term takes in passes through here.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["keep_layout"]


class _KeepLayout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        last = tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.contiguous(memory_format=ctx.layout)


def keep_layout(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor; if it is (B, C, H, W), its gradient arrives in its own layout. Nothing else changes."""
    if tensor.ndim != 4:
        return tensor
    kept: torch.Tensor = _KeepLayout.apply(tensor)  # type: ignore[no-untyped-call]
    return kept
