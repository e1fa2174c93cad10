"""Keep the state of a run with the host's saves, and bring it back with ``--continue_train``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import distributed, nn

from .contract import is_main_process, say, several_processes
from .options import experiment_folder, loaded_epoch
from .state import RunState, capture, finish_saving, is_of, repair_checkpoints, restore, saving_whole_files

__all__ = ["Keeper", "continue_epochs"]


def continue_epochs(parser: ArgumentParser) -> None:
    """Make the epoch a continued run goes on with the default of the host's ``--epoch_count``.

    Raises:
        CheckpointError: the state of the run cannot be read.
    """
    opt = parser.parse_known_args()[0]
    state = RunState.read(experiment_folder(opt)) if loaded_epoch(opt) == "latest" else None
    if state is not None and hasattr(opt, "epoch_count"):
        parser.set_defaults(epoch_count=state.next_epoch)


class Keeper:
    """Watches a training go by, and saves its state whenever the host saves ``latest``.

    Args:
        model: the host's model.
        folder: of the experiment.
        adapters: gives the learnt adapters by generator, once there are any.
    """

    def __init__(self, model: Any, folder: Path, adapters: Callable[[], Mapping[str, nn.Module]]) -> None:
        self._model, self._folder, self._adapters = model, folder, adapters
        self._state: RunState | None = None
        self._epoch, self._iteration = 0, 0
        self._lr_first = False
        self._lr_updated = False  # for the next epoch, after the last step
        self._lr_epoch_count = getattr(model.opt, "epoch_count", 1)
        self._saved = False  # since the last step

    def before_setup(self) -> None:
        """Look for a state before the host loads its networks, and mend what a cut save has left."""
        if not self._continues():
            return
        self._state = RunState.read(self._folder) if loaded_epoch(self._model.opt) == "latest" else None
        if is_main_process() and repair_checkpoints(self._folder, self._state) and self._state is not None:
            epoch = self._state.epoch
            say(f"the last save was cut short: latest is again that of epoch {epoch}, the last complete one")
        if several_processes():
            distributed.barrier()

    def after_setup(self, update_learning_rate: Callable[[], None]) -> None:
        """Bring the state back, when networks, optimizers and adapters are there.

        Args:
            update_learning_rate: the host's, called if the run was stopped just before it.

        Raises:
            CheckpointError: the state is of another model.
        """
        state, opt = self._state, self._model.opt
        self._state = None
        if not self._continues():
            return
        if state is None:
            say(f"note: there is no saved state of {loaded_epoch(opt)}: optimizers and epochs start afresh")
            return
        if not is_of(self._model, state):
            if opt.epoch_count == state.next_epoch:
                opt.epoch_count = 1
            say("note: the saved state is of other weights than latest_net_*.pth: optimizers and epochs start afresh")
            return
        exact = opt.epoch_count == state.next_epoch
        restore(self._model, state, self._adapters(), exact)
        if not exact:
            say(f"continuing at --epoch_count {opt.epoch_count} as asked, with the optimizers of epoch {state.epoch}")
            return
        self._lr_first, self._lr_epoch_count = state.lr_first, state.lr_epoch_count
        if state.complete and not state.lr_updated and not state.lr_first:
            update_learning_rate()
        where = "after" if state.complete else f"after {state.iteration} steps of"
        again = "" if state.complete else ", which is begun again"
        say(f"continuing {where} epoch {state.epoch}{again}")
        last = getattr(opt, "n_epochs", 0) + getattr(opt, "n_epochs_decay", 0)
        if last and opt.epoch_count > last:
            say(f"note: all {last} epochs are trained: a larger --n_epochs trains on")

    def stepped(self, epoch: int, iteration: int) -> None:
        """Take note of a training step."""
        self._epoch, self._iteration = epoch, iteration
        self._lr_updated = self._saved = False

    def lr_updated(self) -> None:
        """Take note that the host has set the learning rate for an epoch."""
        if self._epoch == 0:
            self._lr_first = True
        self._lr_updated = not self._lr_first
        if self._saved and not self._lr_first:
            self._write(complete=True)

    def saving(self, epoch: int | str) -> Any:
        """Return a context in which the host saves its networks."""
        if not is_main_process() or not hasattr(self._model, "save_dir"):
            return nullcontext()
        return saving_whole_files(self._model, self._folder, epoch)

    def saved(self, epoch: int | str) -> None:
        """Save the state, when the host has saved its networks."""
        if not is_main_process() or not hasattr(self._model, "save_dir"):
            return
        ended = self._lr_updated or str(epoch).isdecimal()
        if epoch == "latest":
            self._write(complete=ended)
        elif self._saved and ended:
            self._write(complete=True)

    def _write(self, complete: bool) -> None:
        progress = {
            "epoch": self._epoch,
            "iteration": self._iteration,
            "complete": complete,
            "lr_updated": self._lr_updated,
            "lr_first": self._lr_first,
            "lr_epoch_count": self._lr_epoch_count,
            "lr": getattr(self._model.opt, "lr", 0.0),
        }
        capture(self._model, self._adapters(), **progress).write(self._folder)
        finish_saving(self._folder)
        self._saved = True

    def _continues(self) -> bool:
        opt = self._model.opt
        return bool(getattr(opt, "continue_train", False))
