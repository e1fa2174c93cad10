"""Keep the state of a run with the host's saves, and bring it back with ``--continue_train``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import distributed, nn

from ..precision import HalfPrecision
from .contract import is_main_process, say, several_processes
from .options import experiment_folder, loaded_epoch
from .random_numbers import get_random_numbers, set_random_numbers
from .saving import clean, clear_save_errors, repair_checkpoints, saving_whole_files
from .state import RunState, capture, is_of, restore, state_file

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
        self.half: HalfPrecision | None = None  # that the networks run in, to be set when it is known
        self.stepped_once = False  # in this process
        self._epoch, self._iteration = 0, 0
        self._lr_first = False  # whether the host sets the learning rate before an epoch, not after it
        self._updated = False  # whether it has done so since the last step
        self._lr_epoch_count = 1
        self._saved_once = False
        self._written: bool | None = None  # since the last step: whether the state is of an epoch's end
        self._drawn: dict[str, Any] | None = None  # the random numbers, where they have gone on before the setup

    def before_data(self) -> None:
        """Bring the random numbers back at once, for a host that draws a batch before it sets its networks up."""
        if self._continues() and loaded_epoch(self._model.opt) == "latest" and not several_processes():
            self._state = RunState.read(self._folder)
            if self._state is not None and self._model.opt.epoch_count == self._state.next_epoch:
                set_random_numbers(self._state.random_numbers)
                self._drawn = get_random_numbers()

    @contextmanager
    def initialising(self) -> Iterator[None]:
        """Within the context, a host makes networks by a first batch; a continued run has done so before."""
        numbers = get_random_numbers()
        yield
        if self._drawn is not None:
            self._drawn = numbers

    def before_setup(self) -> None:
        """Look for a state before the host loads its networks, and mend what a cut save has left."""
        if is_main_process() and self._folder.is_dir():
            with clear_save_errors(self._folder, "latest"):
                clean(self._folder)
        if self._continues() and loaded_epoch(self._model.opt) == "latest":
            self._state = self._state or RunState.read(self._folder)
            if is_main_process():
                with clear_save_errors(self._folder, "latest"):
                    repaired = repair_checkpoints(self._folder, Path(self._model.save_dir), self._state)
                if repaired and self._state is not None:
                    epoch = self._state.epoch
                    say(f"the last save was cut short: latest is again that of epoch {epoch}, the last complete one")
        if several_processes():
            distributed.barrier()

    def after_setup(self, update_learning_rate: Callable[[], None], late: bool) -> bool:
        """Bring the state back, when networks, optimizers and adapters are there.

        Args:
            update_learning_rate: the host's, called if the run was stopped just before it.
            late: whether the host sets its networks up within the first epoch, after a first batch.

        Returns:
            Whether the host's next setting of the learning rate has been made already.

        Raises:
            CheckpointError: the state is of another model.
        """
        ahead = self._restore(late) if self._continues() else None
        if ahead is None:
            self._lr_epoch_count = getattr(self._model.opt, "epoch_count", 1)
        if ahead == -1:
            update_learning_rate()
        return ahead == 1

    def _restore(self, late: bool) -> int | None:
        """Bring the state back; return its ``lr_ahead``, or None if the learning rate is that of a fresh run."""
        state, opt = self._state, self._model.opt
        self._state = None
        if state is None:
            say(f"note: there is no saved state of {loaded_epoch(opt)}: optimizers and epochs start afresh")
            return None
        if not is_of(self._model, state):
            if opt.epoch_count == state.next_epoch and not late:
                opt.epoch_count = 1
            say("note: the saved state is of other weights than latest_net_*.pth: optimizers start afresh")
            return None
        exact = opt.epoch_count == state.next_epoch
        restore(self._model, state, self._adapters(), exact)
        if exact and not several_processes():  # they would all get those of the first, and cut and flip alike
            set_random_numbers(self._drawn or state.random_numbers)
        if self.half and self.half.scales and state.loss_scale:
            self.half.scale, self.half.growth = state.loss_scale
        if not exact:
            say(f"continuing at --epoch_count {opt.epoch_count} as asked, with the optimizers of epoch {state.epoch}")
            return None
        self._lr_epoch_count = state.lr_epoch_count
        where = "after" if state.complete else f"after {state.iteration} steps of"
        again = "" if state.complete else ", which is begun again"
        say(f"continuing {where} epoch {state.epoch}{again}")
        if late and self._drawn is None:
            say("note: this host draws its first pictures before, so they are not those of an unbroken run")
        last = getattr(opt, "n_epochs", 0) + getattr(opt, "n_epochs_decay", 0)
        if last and opt.epoch_count > last:
            say(f"note: all {last} epochs are trained: a larger --n_epochs trains on")
        return state.lr_ahead

    def stepped(self, epoch: int, iteration: int) -> None:
        """Take note of a training step."""
        self._epoch, self._iteration = epoch, iteration
        self.stepped_once = True
        self._updated = False
        self._written = None

    def lr_updated(self) -> None:
        """Take note that the host has set the learning rate: after an epoch, or before the next."""
        if not self.stepped_once:
            self._lr_first = True
            return
        self._updated = True
        if self._written is not None and not (self._lr_first and self._written):
            self._rewrite()

    def save(self, epoch: int | str, host_saves: Callable[[], None], more: Callable[[Path], None]) -> None:
        """Let the host save its networks, with the state of the run beside them.

        Args:
            epoch: as the host calls it.
            host_saves: its ``save_networks``.
            more: saves what else belongs to the networks, into a folder.

        Raises:
            HostError: the disk is full or read-only.
        """
        if not is_main_process() or not hasattr(self._model, "save_dir"):
            host_saves()
            if is_main_process():
                more(self._folder)
            return
        ended = self._updated or str(epoch).isdecimal()
        with clear_save_errors(self._folder, epoch):
            if not self._continues() and not self._saved_once:
                state_file(self._folder).unlink(missing_ok=True)  # of another run in the same folder
            self._saved_once = True
            with saving_whole_files(self._model, self._folder, epoch) as elsewhere:
                host_saves()
                more(elsewhere)
                if epoch == "latest" and self.stepped_once:
                    self._capture(ended).write(elsewhere)
        if epoch == "latest" and self.stepped_once:
            self._written = ended
        elif self._written is False and ended:
            self._rewrite()

    def _rewrite(self) -> None:
        """Write the state anew, when an epoch turns out to have ended with the last save."""
        if is_main_process():
            with clear_save_errors(self._folder, "latest"):
                self._capture(True).write(self._folder)
        self._written = True

    def _capture(self, complete: bool) -> RunState:
        if self.half:
            self.half.update()
        ahead = int(self._updated or not complete) if self._lr_first else -int(complete and not self._updated)
        return capture(
            self._model,
            self._adapters(),
            epoch=self._epoch,
            iteration=self._iteration,
            complete=complete,
            lr_ahead=ahead,
            lr_epoch_count=self._lr_epoch_count,
            lr=getattr(self._model.opt, "lr", 0.0),
            loss_scale=(self.half.scale, self.half.growth) if self.half and self.half.scales else None,
        )

    def _continues(self) -> bool:
        return bool(getattr(self._model.opt, "continue_train", False))
