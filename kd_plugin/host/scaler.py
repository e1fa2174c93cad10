"""Follow a host that trains in mixed precision itself and scales its losses: the terms are scaled with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..errors import HostError

__all__ = ["find_loss_scale"]

# torch.amp.GradScaler is there since PyTorch 2.3; torch.cuda's is one of it.
_GradScaler: type = getattr(torch.amp, "GradScaler", torch.cuda.amp.GradScaler)


def find_loss_scale(model: Any, device: torch.device) -> Callable[[], float] | None:
    """Return what tells by how much a host scales its generator's loss just now; None if it does not.

    Args:
        model: the host's; its scaler is the attribute that holds one, or if there are more, the one named for G.
        device: where it trains.

    Raises:
        HostError: it computes in float16, and no scaler is found, so that the terms would be lost beside its losses.
    """
    held: dict[str, Any] = {name: value for name, value in vars(model).items() if isinstance(value, _GradScaler)}
    scalers = {name: scaler for name, scaler in held.items() if scaler.is_enabled()}
    if len(scalers) > 1:
        scalers = {name: scaler for name, scaler in scalers.items() if name.endswith("G")}
    if len(scalers) == 1:
        get_scale: Callable[[], float] = next(iter(scalers.values())).get_scale
        return get_scale
    if _autocast_dtype(device.type) == torch.float16:
        raise HostError(
            f"this host trains in float16, and {type(model).__name__} has no GradScaler among its attributes that "
            f"tells by how much it scales its losses: keep it as self.scaler_G, or let the host train in bfloat16"
        )
    return None


def _autocast_dtype(kind: str) -> torch.dtype | None:
    """Return what autocast computes in on a kind of device; None if it is off."""
    try:
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    except (TypeError, AttributeError):  # before PyTorch 2.4
        if kind == "cpu":
            return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
        return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
