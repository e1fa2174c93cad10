"""Skip the batches of an interrupted epoch that were trained before its save.

The host's loop loads them again, which is the only way to restore the state of its sampler and worker processes. The
RNG state of the start of the epoch gives the same order; that of the save is restored after the last batch.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from .state import RunState


class Replay:
    """The batches that are still to skip.

    Meanwhile the host displays, prints and saves nothing: its options that end in ``_freq`` are raised, except
    ``--save_epoch_freq``, which is only used between epochs.
    """

    def __init__(self, opt: Any, state: RunState) -> None:
        self.state = state  # of the run at its save
        self.left = state.batches  # number of batches to skip
        self._opt = opt
        self._raised = {
            name: value
            for name, value in vars(opt).items()
            if name.endswith("_freq") and not name.endswith("save_epoch_freq") and isinstance(value, int)
        }
        for name in self._raised:
            setattr(opt, name, sys.maxsize)

    def end(self) -> None:
        """Restore the host's options."""
        for name, value in self._raised.items():
            setattr(self._opt, name, value)


def fold(seen: str, batch: Any) -> str:
    """Return the digest of the images seen so far and of those of a batch, a dictionary with ``A_paths``."""
    paths = batch.get("A_paths") if isinstance(batch, Mapping) else None
    listed = paths if isinstance(paths, (list, tuple)) else [paths]
    names = [os.path.basename(path) if isinstance(path, str) else str(path) for path in listed]
    return hashlib.sha256(f"{seen} {names}".encode()).hexdigest()
