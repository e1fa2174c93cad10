"""Find the gradient scaler of a host that trains in mixed precision, so that the terms are scaled like its losses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

from ..distillation.precision import autocast_dtype
from ..errors import HostError

# torch.amp.GradScaler is new in PyTorch 2.3 and is the base class of torch.cuda's.
_GradScaler: type = getattr(torch.amp, "GradScaler", torch.cuda.amp.GradScaler)
_GENERATOR = re.compile(r"(^|_)(netg|g|gen|generator)(_|$)", re.IGNORECASE)
_DISCRIMINATOR = re.compile(r"(^|_)(netd|d|dis|disc|discriminator)(_|$)", re.IGNORECASE)


def scalers_of(model: Any) -> dict[str, Any]:
    """Return the gradient scalers of a host's model, by attribute."""
    return {name: value for name, value in vars(model).items() if isinstance(value, _GradScaler)}


def find_loss_scale(model: Any, net: str, output: torch.Tensor) -> Callable[[], float] | None:
    """Return a function for the current scale of a generator's loss in the host; None if it is not scaled.

    The scaler is an attribute of the model not named after the discriminator or, of several, the one named after the
    generator ``net``, such as "G_A".

    Raises:
        HostError: If several scalers are found, or none in a host that computes in float16, where unscaled terms
            would be negligible.
    """
    found = {name: s for name, s in scalers_of(model).items() if s.is_enabled() and not _DISCRIMINATOR.search(name)}
    if len(found) > 1:
        named = {name: scaler for name, scaler in found.items() if name.lower().endswith(f"_{net.lower()}")}
        found = named or {name: scaler for name, scaler in found.items() if _GENERATOR.search(name)} or found
    if len(found) == 1:
        get_scale: Callable[[], float] = next(iter(found.values())).get_scale
        return get_scale
    if found:
        raise HostError(
            f"the names {', '.join(found)} in {type(model).__name__} do not show which scaler is for net{net}: "
            f"rename it to scaler_{net}"
        )
    if torch.float16 in (output.dtype, autocast_dtype(output.device.type)):
        raise HostError(
            f"the host trains in float16, but {type(model).__name__} has no GradScaler attribute for the loss of "
            f"net{net}: store it as self.scaler_{net}, or train in bfloat16"
        )
    return None
