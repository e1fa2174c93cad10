"""The wavelet loss for the Haar wavelet, as in the papers: sums and differences of neighbours, computed in place.

At these sizes memory allocation dominates, so every level writes its bands, and later its gradient, into the memory
of its input. The filters (1, 1) and (1, -1) scale level *l* by :math:`2^l`, which is divided out of the sums; signs
do not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .wavelet_transform import phases_of, wavelet_filters


def is_haar(shape: Sequence[int], levels: int, wavelet: str) -> bool:
    """Return whether the wavelet is Haar (also db1, bior1.1, rbio1.1) and the sides need no extension."""
    low, _ = wavelet_filters(wavelet)
    return len(low) == 2 and all(side % 2**levels == 0 for side in shape[-2:])


def haar_value_and_gradient(difference: torch.Tensor, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of a difference of two images over the detail bands, and its gradient.

    Args:
        difference: (B, C, H, W), contiguous. It is overwritten with the gradient.
        levels: number of levels.
    """
    low, value = difference, difference.new_zeros(())
    passed: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for level in range(1, levels + 1):
        even, odd = phases_of(low, -1)
        left, right = even + odd, even - odd  # (B, C, 2h, w)
        passed.append((low, left, right))
        (above, below), (horizontal, vertical, diagonal, scratch) = phases_of(left, -2), _bands(left, right)
        low = above + below  # (B, C, h, w)
        torch.sub(above, below, out=horizontal)
        above, below = phases_of(right, -2)
        torch.add(above, below, out=vertical)
        torch.sub(above, below, out=diagonal)
        scale = 0.5**level / (3 * low.numel())
        for band in (horizontal, vertical, diagonal):
            value += torch.abs(band, out=scratch).sum() * scale
            band.sign_().mul_(scale)
    gradient: torch.Tensor | None = None
    for target, left, right in reversed(passed):
        horizontal, vertical, diagonal, scratch = _bands(left, right)
        torch.sub(vertical, diagonal, out=scratch)
        diagonal.add_(vertical)
        if gradient is None:
            torch.neg(horizontal, out=vertical)
        else:
            torch.sub(gradient, horizontal, out=vertical)
            horizontal.add_(gradient)
        gradient = target
        even, odd = phases_of(gradient, -1)
        torch.add(left, right, out=even)
        torch.sub(left, right, out=odd)
    assert gradient is not None
    return value, gradient


def _bands(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return views for the three bands and a scratch buffer in the memory of the two halves.

    In the order of the steps above, each is written after its old content was last read.
    """
    return (*phases_of(left, -2), *phases_of(right, -2))
