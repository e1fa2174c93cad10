"""Count the batches of an epoch, and skip those of an interrupted one that were trained before its save.

The host's loop loads them again, which is the only way to restore the state of its sampler and worker processes. The
RNG state of the start of the epoch gives the same order; that of the save is restored after the last batch.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from ..processes import say
from .state import RunState


class EpochBatches:
    """The batches of the current epoch: which are trained, and in a resumed run which are still to skip.

    Attributes:
        seen: digest of the names of the images of the trained batches.
    """

    def __init__(self) -> None:
        self.seen = ""
        self._count, self._epoch = 0, 0  # trained batches, and the epoch that they are of
        self._batch: Any = None  # the current one
        self._replay: _Replay | None = None

    def replay(self, opt: Any, state: RunState) -> None:
        """Skip the batches that were trained before a save.

        Args:
            opt: options of the host.
            state: of the run at its save.
        """
        self._replay = _Replay(opt, state)

    @property
    def replaying(self) -> bool:
        """Whether the next batch is one that was trained before the save."""
        return self._replay is not None and self._replay.left > 0

    @property
    def trained_nothing(self) -> bool:
        """Whether the last batch was skipped, so that the host has no results of it."""
        return self._replay is not None

    def take(self, batch: Any) -> None:
        """Register the next batch of the host."""
        self._batch = batch
        if self._replay is not None and not self._replay.left:
            self._end_replay()

    def count(self, epoch: int) -> None:
        """Count the batch as trained."""
        if epoch != self._epoch:
            self._epoch, self._count, self.seen = epoch, 0, ""
        self._count += 1
        self.seen = fold(self.seen, self._batch)

    def trained(self, epoch: int) -> int:
        """Return the number of trained batches of an epoch."""
        return self._count if epoch == self._epoch else 0

    def skip(self) -> RunState | None:
        """Count the batch as one that was trained before the save; return the state at the save after the last."""
        assert self._replay is not None
        state = self._replay.state
        self.count(state.epoch)
        self._replay.left -= 1
        if self._replay.left:
            return None
        if state.seen not in ("", self.seen):
            say(
                "note: the dataset returns other images than before the save, so the rest of the epoch differs from "
                "that of the uninterrupted run"
            )
        return state

    def end_epoch(self) -> RunState | None:
        """Register the end of an epoch; return the state at the save if the epoch ended before that."""
        replay = self._replay
        if replay is None or not 0 < replay.left < replay.state.batches:
            return None
        self._end_replay()
        say("note: the dataset has fewer batches than before the save: continuing with the next epoch")
        return replay.state

    def _end_replay(self) -> None:
        assert self._replay is not None
        self._replay.end()
        self._replay = None  # its state is as large as networks and optimizers


class _Replay:
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
