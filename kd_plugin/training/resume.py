"""Keep the state of a run with the host's saves, and bring it back with ``--continue_train``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import distributed, nn

from ..distillation.distiller import Distiller
from ..distillation.precision import HalfPrecision
from ..processes import is_main_process, process_count, process_rank, say, several_processes
from .replay import Replay, fold
from .rng import get_random_numbers, set_random_numbers
from .saving import clear_save_errors, finish_save, saving_whole_files
from .state import RunState, capture, capture_process, is_of, restore, restore_pools
from .steps import Moment, Steps

__all__ = ["Checkpointer"]


class Checkpointer:
    """Saves the state of a training whenever its loop saves ``latest``, and restores it in a run that continues it.

    Args:
        model: the host's model.
        folder: of the experiment.
        loads: what the networks that the run continues are called by, such as ``latest``; "" if it continues none.
        record: name of the student's record.
        distillers: by generator; filled when the networks are set up.

    Attributes:
        steps: where the training is.
        half: the precision that the networks run in, to be set when it is known.
    """

    def __init__(
        self, model: Any, folder: Path, loads: str, record: str, distillers: Mapping[str, Distiller]
    ) -> None:
        self._model, self._folder, self._distillers = model, folder, distillers
        self._loads, self._record = loads, record
        self.steps = Steps()
        self.half: HalfPrecision | None = None
        self._state: RunState | None = None
        self._epoch_numbers: dict[str, Any] = {}  # the random numbers before the batches of the epoch were drawn
        self._batch: Any = None  # the one that is being trained
        # Those of the epoch: how many were trained, and a digest of their pictures' names.
        self._batches, self._seen, self._batches_epoch = 0, "", 0
        self._replay: Replay | None = None
        self._lr_epoch_count = 1
        self._drawn: dict[str, Any] | None = None  # the random numbers, where they have gone on before the setup

    def before_data(self) -> None:
        """Bring the random numbers back at once, for a host that draws a batch before it sets its networks up."""
        if self._loads == "latest" and process_count() == 1:
            self._state = RunState.read(self._folder)
            if self._state is not None and self._model.opt.epoch_count == self._state.next_epoch:
                set_random_numbers(_first_numbers(self._state))
                self._drawn = get_random_numbers()
        self._epoch_numbers = get_random_numbers()

    @contextmanager
    def initialising(self) -> Iterator[None]:
        """Within the context, a host makes networks by a first batch; a continued run has done so before."""
        numbers = get_random_numbers()
        yield
        if self._drawn is not None:
            self._drawn = numbers

    def before_setup(self) -> None:
        """Look for a state before the host loads its networks, and complete a save that was cut short."""
        if is_main_process() and self._folder.is_dir():
            with clear_save_errors(self._folder, "latest"):
                if finish_save(self._folder, Path(self._model.save_dir), self._record):
                    say("the last save was cut short while its files were moved into place; completed it")
        if several_processes():
            distributed.barrier()
        if self._loads == "latest":
            self._state = RunState.read(self._folder)

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
        ahead = self._restore(late) if self._loads else None
        if ahead is None:
            self._lr_epoch_count = getattr(self._model.opt, "epoch_count", 1)
        if ahead == -1:
            update_learning_rate()
        if not late:
            self._epoch_numbers = get_random_numbers()
        return ahead == 1

    def _restore(self, late: bool) -> int | None:
        """Bring the state back; return its ``lr_ahead``, or None if the learning rate is that of a fresh run."""
        state, opt = self._state, self._model.opt
        self._state = None
        if state is None:
            say(f"note: there is no saved state of {self._loads}: optimizers and epochs start afresh")
            return None
        if not is_of(self._model, state):
            if opt.epoch_count == state.next_epoch and not late:
                opt.epoch_count = 1
            say("note: the saved state is of other weights than latest_net_*.pth: optimizers start afresh")
            return None
        exact = opt.epoch_count == state.next_epoch
        restore(self._model, state, self.adapters, self._drawn_networks, exact)
        own = self._of_this_process(state)
        if own is not None:
            restore_pools(self._model, own)
        if self.half and self.half.scales and state.loss_scale:
            self.half.scale, self.half.growth = state.loss_scale
        if not exact:
            say(f"continuing at epoch {opt.epoch_count} as asked, with the optimizers of epoch {state.epoch}")
            return None
        self._lr_epoch_count = state.lr_epoch_count
        if own is not None:
            set_random_numbers(self._drawn or _first_numbers(own))
        if state.complete:
            say(f"continuing after epoch {state.epoch}")
        elif state.batches and state.processes == process_count():  # on all processes alike
            say(
                f"continuing after {state.iteration} steps of epoch {state.epoch}: its first {state.batches} batches "
                f"are loaded again, but not trained on"
            )
            self._state = own or replace(state, random_numbers={}, seen="")
            self._replay = Replay(opt, state.batches)
        else:
            say(f"continuing after {state.iteration} steps of epoch {state.epoch}, which is begun again")
        if late and self._drawn is None:
            say("note: this host draws its first pictures before, so they are not those of an unbroken run")
        last = getattr(opt, "n_epochs", 0) + getattr(opt, "n_epochs_decay", 0)
        if last and opt.epoch_count > last:
            say(f"note: all {last} epochs are trained: a larger n_epochs trains on")
        return state.lr_ahead

    def _of_this_process(self, state: RunState) -> RunState | None:
        """Return the state with this process's own image pools and random numbers; None if they were not saved."""
        others = [RunState.read(self._folder, rank) for rank in range(1, process_count())]
        for rank, other in enumerate(others, 1):
            if other is None or other.place != state.place:
                others[rank - 1] = None
                say(f"note: image pools and random numbers of process {rank} were not saved: they start afresh")
        return [state, *others][process_rank()]

    @property
    def replaying(self) -> bool:
        """Whether the next batch is one that was trained before the save."""
        return self._replay is not None and self._replay.left > 0

    @property
    def has_trained_nothing(self) -> bool:
        """Whether the last batch was passed over, so that the host has nothing to show of it."""
        return self._replay is not None

    def pass_over(self) -> bool:
        """Take note of a batch that was trained before the save and is not trained again.

        Returns:
            Whether it was the last of them.
        """
        assert self._replay is not None and self._state is not None
        self._count_batch(self._state.epoch)
        if not self._replay.pass_over():
            return False
        if self._state.seen not in ("", self._seen):
            say(
                "note: the data set gives other pictures than before the save, so the rest of the epoch is not that "
                "of the uninterrupted run"
            )
        if self._state.random_numbers:
            set_random_numbers(self._state.random_numbers)
        self.steps.resume(*self._state.place[:2])
        say(f"continuing with step {self.steps.iteration + 1} of epoch {self.steps.epoch}")
        return True

    def drew(self, batch: Any) -> None:
        """Take note of the batch that the host trains next."""
        self._batch = batch
        if self._replay is not None and not self._replay.left:
            self._end_replay()

    def _end_replay(self) -> None:
        assert self._replay is not None
        self._replay.end()
        self._replay = self._state = None  # the state is as large as networks and optimizers

    def trained(self) -> None:
        """Take note that the batch has been trained, in one step or several."""
        self._count_batch(self.steps.epoch)

    def _count_batch(self, epoch: int) -> None:
        if epoch != self._batches_epoch:
            self._batches_epoch, self._batches, self._seen = epoch, 0, ""
        self._batches += 1
        self._seen = fold(self._seen, self._batch)

    def set_learning_rate(self) -> None:
        """Take note that the host has set the learning rate: after an epoch, or before the next."""
        if self._replay is not None and self._state is not None and self._replay.begun and self._replay.left:
            self.steps.resume(*self._state.place[:2])
            self._end_replay()
            say("note: the data set has fewer batches than before the save: continuing with the next epoch")
        if not self.replaying:
            self._epoch_numbers = get_random_numbers()
        if self.steps.set_learning_rate():
            self._rewrite()

    def save(self, epoch: int | str, host_saves: Callable[[], Any], more: Callable[[Path], None]) -> Any:
        """Let the host save its networks, with the state of the run beside them.

        Nothing is saved before a continued run is where it was when it was saved last.

        Args:
            epoch: as the host calls it.
            host_saves: its ``save_networks``.
            more: saves what else belongs to the networks, into a folder.

        Returns:
            What ``host_saves`` does, if it was called.

        Raises:
            HostError: the disk is full or read-only.
        """
        if self.replaying:
            return None
        stateful = epoch == "latest" and self.steps.moment is not Moment.NOT_STARTED
        ended = self.steps.between_epochs
        if not is_main_process():
            returned = host_saves()
            if stateful:
                with clear_save_errors(self._folder, epoch):
                    self._folder.mkdir(parents=True, exist_ok=True)  # the first process may not have come so far
                    self._capture(ended).write(self._folder, process_rank())
        elif not hasattr(self._model, "save_dir"):
            returned = host_saves()
            more(self._folder)
            return returned
        else:
            whole = saving_whole_files(self._model, self._folder, epoch, self._record)
            with clear_save_errors(self._folder, epoch), whole as place:
                returned = host_saves()
                more(place)
                if stateful:
                    self._capture(ended).write(place)
        if stateful:
            self.steps.save()
        elif str(epoch).isdecimal() and self.steps.end_epoch():
            self._rewrite()
        return returned

    @property
    def adapters(self) -> dict[str, nn.ModuleDict]:
        """The learnt adapters by generator."""
        return {net: distiller.adapters for net, distiller in self._distillers.items() if len(distiller.adapters)}

    @property
    def _drawn_networks(self) -> dict[str, nn.Module]:
        return {
            f"{net}.{name}": network
            for net, distiller in self._distillers.items()
            for name, network in distiller.drawn_networks().items()
        }

    def _rewrite(self) -> None:
        """Write the state anew, when an epoch turns out to have ended with the last save."""
        with clear_save_errors(self._folder, "latest"):
            self._capture(True).write(self._folder, process_rank())

    def _capture(self, complete: bool) -> RunState:
        if self.half:
            self.half.update()
        steps, updated = self.steps, self.steps.between_epochs
        ahead = int(updated or not complete) if steps.lr_first else -int(complete and not updated)
        progress = {
            "epoch": steps.epoch,
            "iteration": steps.iteration,
            "complete": complete,
            "lr_ahead": ahead,
            "lr_epoch_count": self._lr_epoch_count,
            "lr": getattr(self._model.opt, "lr", 0.0),
            "epoch_random_numbers": {} if complete else self._epoch_numbers,
            "batches": self._batches if self._batches_epoch == steps.epoch else 0,
            "seen": self._seen,
            "processes": process_count(),
            "loss_scale": (self.half.scale, self.half.growth) if self.half and self.half.scales else None,
        }
        if is_main_process():
            return capture(self._model, self.adapters, self._drawn_networks, **progress)
        return capture_process(self._model, **progress)


def _first_numbers(state: RunState) -> Mapping[str, Any]:
    """Return the random numbers that a continued run begins with: an epoch that was not complete, from its start."""
    return state.random_numbers if state.complete or not state.epoch_random_numbers else state.epoch_random_numbers
