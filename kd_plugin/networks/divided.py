"""ResNet generators whose layers are divided between an encoder and a decoder, as in joliGEN.

Their layers are those of the family, called ``encoder.model.N`` up to the last residual block, and
``decoder.model.N`` from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

_NAME = re.compile(r"(encoder|decoder)\.model\.(\d+)(.*)", re.DOTALL)
_T = TypeVar("_T")


def family_keys(state: Mapping[str, _T]) -> Mapping[str, _T]:
    """Return a state dict with the family's keys, ``model.N``; itself, unless all its layers are divided."""
    parts = [_NAME.fullmatch(key) for key in state]
    if not all(parts) or not {"encoder", "decoder"} <= {part[1] for part in parts if part}:
        return state
    first = 1 + max(int(part[2]) for part in parts if part and part[1] == "encoder")
    indices = ((part, int(part[2]) + (first if part[1] == "decoder" else 0)) for part in parts if part)
    return {f"model.{index}{part[3]}": state[part[0]] for part, index in indices}


def divided_name(name: str, modules: Iterable[str]) -> str:
    """Return what a network of these modules calls a module of the family; the same name if it is not divided.

    ``model.12`` is ``decoder.model.2`` in a network with ``encoder.model.9``, the last of its encoder.
    """
    found = re.fullmatch(r"model\.(\d+)", name)
    encoder = [int(part[2]) for each in modules if (part := _NAME.fullmatch(each)) and part[1] == "encoder"]
    if not found or not encoder:
        return name
    index, first = int(found[1]), 1 + max(encoder)
    return f"decoder.model.{index - first}" if index >= first else f"encoder.model.{index}"
