"""Get and set the RNG states of Python, NumPy and PyTorch, in a form that can be saved."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def get_rng_state() -> dict[str, Any]:
    """Return the RNG states of Python, NumPy and PyTorch."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def set_rng_state(numbers: Mapping[str, Any]) -> None:
    """Set the RNG states to those of :func:`get_rng_state`."""
    version, internal, gauss = numbers["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = numbers["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(numbers["torch"])
    if torch.cuda.is_available() and len(numbers["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(numbers["cuda"])


@contextmanager
def kept_rng_state() -> Iterator[None]:
    """Context manager that restores the RNG states of Python, NumPy and PyTorch on exit."""
    numbers = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(numbers)
