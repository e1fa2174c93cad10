"""Follow a host that trains in mixed precision itself and scales its losses: the terms are scaled with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

from ..distillation.precision import autocast_dtype
from ..errors import HostError

__all__ = ["find_loss_scale", "scalers_of"]

# torch.amp.GradScaler is there since PyTorch 2.3; torch.cuda's is one of it.
_GradScaler: type = getattr(torch.amp, "GradScaler", torch.cuda.amp.GradScaler)
_GENERATOR = re.compile(r"(^|_)(netg|g|gen|generator)(_|$)", re.IGNORECASE)
_DISCRIMINATOR = re.compile(r"(^|_)(netd|d|dis|disc|discriminator)(_|$)", re.IGNORECASE)


def scalers_of(model: Any) -> dict[str, Any]:
    """Return the gradient scalers that a host's model holds, by attribute."""
    return {name: value for name, value in vars(model).items() if isinstance(value, _GradScaler)}


def find_loss_scale(model: Any, net: str, output: torch.Tensor) -> Callable[[], float] | None:
    """Return what tells by how much a host scales a generator's loss just now; None if it does not.

    Args:
        model: the host's; the scaler is the attribute that holds one and is not named for the discriminator, or of
            several the one named for the generator.
        net: the generator, "G_A".
        output: its images.

    Raises:
        HostError: it computes in float16 and no scaler is found, or several are: unscaled, the terms would be lost
            beside its losses.
    """
    found = {name: s for name, s in scalers_of(model).items() if s.is_enabled() and not _DISCRIMINATOR.search(name)}
    if len(found) > 1:
        own = {name: scaler for name, scaler in found.items() if name.lower().endswith(f"_{net.lower()}")}
        found = own or {name: scaler for name, scaler in found.items() if _GENERATOR.search(name)} or found
    if len(found) == 1:
        get_scale: Callable[[], float] = next(iter(found.values())).get_scale
        return get_scale
    if found:
        raise HostError(
            f"which of {', '.join(found)} of {type(model).__name__} scales the loss of net{net} is not told by their "
            f"names: call that one scaler_{net}"
        )
    if torch.float16 in (output.dtype, autocast_dtype(output.device.type)):
        raise HostError(
            f"this host trains in float16, and {type(model).__name__} has no GradScaler among its attributes that "
            f"tells by how much it scales the loss of net{net}: keep it as self.scaler_{net}, or train in bfloat16"
        )
    return None
