"""Go over the batches of an interrupted epoch that were trained before its save, without training on them.

The host's own loop draws them once more, since that alone brings its sampler and its loading processes to where they
were. The random numbers of the epoch's beginning make the order the same; those of the save are brought back after
the last batch.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["Replay", "fold"]


class Replay:
    """The batches that are left to be passed over.

    Meanwhile the host displays, prints and saves nothing: its options that end in ``_freq`` are raised, but for
    ``--save_epoch_freq``, which is looked at between epochs.

    Args:
        opt: the host's options.
        batches: how many were trained.

    Attributes:
        left: how many are left.
        begun: whether one has been passed over.
    """

    def __init__(self, opt: Any, batches: int) -> None:
        self.left = batches
        self.begun = False
        self._opt = opt
        self._raised = {
            name: value
            for name, value in vars(opt).items()
            if name.endswith("_freq") and name != "save_epoch_freq" and isinstance(value, int)
        }
        for name in self._raised:
            setattr(opt, name, sys.maxsize)

    def pass_over(self) -> bool:
        """Take note of a batch; return whether it was the last."""
        self.begun = True
        self.left -= 1
        return not self.left

    def end(self) -> None:
        """Give the host's options their values back."""
        for name, value in self._raised.items():
            setattr(self._opt, name, value)


def fold(seen: str, batch: Any) -> str:
    """Return the digest of the pictures seen so far and those of a batch, a dictionary with ``A_paths``."""
    paths = batch.get("A_paths") if isinstance(batch, Mapping) else None
    listed = paths if isinstance(paths, (list, tuple)) else [paths]
    names = [os.path.basename(path) if isinstance(path, str) else str(path) for path in listed]
    return hashlib.sha256(f"{seen} {names}".encode()).hexdigest()
