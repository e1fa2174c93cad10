"""Gradients in the memory format of their tensors.

On CPUs, PyTorch's instance norm computes a wrong gradient for a single image whose incoming gradient is in
channels_last while the image is not (seen in 2.2 and 2.13). Hosts train on single images with instance norm, and
terms on pairs of pixels give such gradients, so the inputs of the feature terms pass through here.
"""

from __future__ import annotations

from typing import Any

import torch


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
    """Return the tensor unchanged; the gradient of a (B, C, H, W) tensor gets the tensor's memory format."""
    if tensor.ndim != 4:
        return tensor
    kept: torch.Tensor = _KeepLayout.apply(tensor)  # type: ignore[no-untyped-call]
    return kept
