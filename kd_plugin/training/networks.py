"""Find the networks of a model by their names in ``model_names``."""

from __future__ import annotations

from typing import Any

from torch import nn


def find_network(model: Any, name: str) -> nn.Module | None:
    """Return the network of a name, wrapped or not; None if there is none.

    It is the attribute ``netNAME``, or of ``G_1`` the first of the list ``netG``.
    """
    network = getattr(model, f"net{name}", None)
    stem, _, number = name.rpartition("_")
    if network is None and stem and number.isdecimal():
        several = getattr(model, f"net{stem}", None)
        if isinstance(several, (list, tuple, nn.ModuleList)) and 1 <= int(number) <= len(several):
            network = several[int(number) - 1]
    return network if isinstance(network, nn.Module) else None
