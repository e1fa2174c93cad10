"""The states of the random generators of Python, NumPy and PyTorch, as what a file may hold."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["get_random_numbers", "set_random_numbers"]


def get_random_numbers() -> dict[str, Any]:
    """Return the states of the random generators of Python, NumPy and PyTorch."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def set_random_numbers(numbers: Mapping[str, Any]) -> None:
    """Bring the random generators to states that :func:`get_random_numbers` gave."""
    version, internal, gauss = numbers["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = numbers["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(numbers["torch"])
    if torch.cuda.is_available() and len(numbers["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(numbers["cuda"])
