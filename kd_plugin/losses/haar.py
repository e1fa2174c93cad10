"""The wavelet loss under Haar, the papers' case: sums and differences of neighbours, written for memory traffic.

At these sizes memory is what costs: every level keeps to the buffers it has. Filtering by (1, 1) and (1, -1) leaves a
level *l* larger by :math:`2^l`, which is divided out of the sums; the signs do not mind.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .wavelet_transform import wavelet_filters

__all__ = ["haar_value_and_gradient", "is_haar"]


def is_haar(shape: Sequence[int], levels: int, wavelet: str) -> bool:
    """Return whether a wavelet is Haar (also called db1, bior1.1, rbio1.1) and no border needs an extension."""
    low, _ = wavelet_filters(wavelet)
    return len(low) == 2 and all(side % 2**levels == 0 for side in shape[-2:])


def haar_value_and_gradient(difference: torch.Tensor, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of a difference of two images (B, C, H, W) over the detail bands, and its gradient."""
    low, value = difference, difference.new_zeros(())
    kept: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for level in range(1, levels + 1):
        even, odd = low[..., 0::2], low[..., 1::2]
        left, right = even + odd, even - odd  # (B, C, 2h, w)
        upper, lower = left[..., 0::2, :], left[..., 1::2, :]
        low = upper + lower  # (B, C, h, w)
        details = low.new_empty(3, *low.shape)
        torch.sub(upper, lower, out=details[0])
        upper, lower = right[..., 0::2, :], right[..., 1::2, :]
        torch.add(upper, lower, out=details[1])
        torch.sub(upper, lower, out=details[2])
        scale = 0.5**level / details.numel()
        scratch = left.view(-1)[: low.numel()].view_as(low)
        value += torch.stack([torch.abs(band, out=scratch).sum() for band in details]).sum() * scale
        kept.append((left, right, details.sign_().mul_(scale)))
    gradient: torch.Tensor | None = None
    for left, right, (horizontal, vertical, diagonal) in reversed(kept):
        upper, lower = left[..., 0::2, :], left[..., 1::2, :]
        if gradient is None:
            upper.copy_(horizontal)
            torch.neg(horizontal, out=lower)
        else:
            torch.add(gradient, horizontal, out=upper)
            torch.sub(gradient, horizontal, out=lower)
        torch.add(vertical, diagonal, out=right[..., 0::2, :])
        torch.sub(vertical, diagonal, out=right[..., 1::2, :])
        gradient = left.new_empty(*left.shape[:-1], 2 * left.shape[-1])
        torch.add(left, right, out=gradient[..., 0::2])
        torch.sub(left, right, out=gradient[..., 1::2])
    assert gradient is not None
    return value, gradient
