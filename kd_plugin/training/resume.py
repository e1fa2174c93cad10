"""Save the state of a run with the host's saves, and restore it with ``--continue_train``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import distributed, nn

from ..distillation.distiller import Distiller
from ..distillation.precision import HalfPrecision
from ..processes import is_distributed, is_main_process, process_count, process_rank, say
from .average import WeightAverage
from .replay import EpochBatches
from .rng import get_rng_state, set_rng_state
from .saving import clear_save_errors, finish_save, saving_whole_files
from .state import RunState, Stateful, capture, capture_pools, is_of, restore, restore_pools
from .steps import Moment, Steps


class Checkpointer:
    """Saves the state of a training whenever its loop saves ``latest``, and restores it in a resumed run.

    Args:
        model: the host's model.
        opt: its options, under their usual names.
        folder: the experiment's folder.
        loads: the epoch of the networks that the run resumes, such as ``latest``; "" for a new run.
        record: name of the student's record.
        distillers: by generator; filled when the networks are set up.
    """

    def __init__(
        self, model: Any, opt: Any, folder: Path, loads: str, record: str, distillers: Mapping[str, Distiller]
    ) -> None:
        self._model, self._opt, self._folder, self._distillers = model, opt, folder, distillers
        self._loads, self._record = loads, record
        self.steps = Steps()
        self.half: HalfPrecision | None = None  # the mixed precision of the networks, set when it is known
        self.averages: dict[str, WeightAverage] = {}  # of the weights, by generator, likewise
        self.bests: Mapping[str, Stateful] = {}  # weights of a validation, by generator, likewise
        self._state: RunState | None = None
        self._epoch_numbers: dict[str, Any] = {}  # the RNG state before the batches of the epoch were drawn
        self._batches = EpochBatches()
        self._lr_epoch_count = 1
        self._drawn: dict[str, Any] | None = None  # the RNG state, if numbers are drawn before the setup

    def before_data(self) -> None:
        """Restore the RNG state early, for a host that draws a batch before it sets up its networks."""
        if self._loads == "latest" and process_count() == 1:
            self._state = RunState.read(self._folder)
            if self._state is not None and self._opt.epoch_count == self._state.next_epoch:
                set_rng_state(_first_numbers(self._state))
                self._drawn = get_rng_state()
        self._epoch_numbers = get_rng_state()

    @contextmanager
    def initialising(self) -> Iterator[None]:
        """Context in which a host creates networks from a first batch, as the original run did before."""
        numbers = get_rng_state()
        yield
        if self._drawn is not None:
            self._drawn = numbers

    def before_setup(self) -> None:
        """Read the state before the host loads its networks, and complete an interrupted save."""
        if is_main_process() and self._folder.is_dir():
            with clear_save_errors(self._folder, "latest"):
                if finish_save(self._folder, Path(self._model.save_dir), self._record):
                    say("completed the last save, which was interrupted while its files were moved into place")
        if is_distributed():
            distributed.barrier()
        if self._loads == "latest":
            self._state = RunState.read(self._folder)

    def after_setup(self, update_learning_rate: Callable[[], None], late: bool) -> bool:
        """Restore the state once networks, optimizers and adapters exist.

        Args:
            update_learning_rate: the host's method, called if the run was stopped just before it.
            late: whether the host sets up its networks within the first epoch, after a first batch.

        Returns:
            Whether to skip the host's next update of the learning rate, which the state includes.

        Raises:
            CheckpointError: If the state is of a different model.
        """
        ahead = self._restore(late) if self._loads else None
        if ahead is None:
            self._lr_epoch_count = getattr(self._opt, "epoch_count", 1)
        if ahead == -1:
            update_learning_rate()
        if not late:
            self._epoch_numbers = get_rng_state()
        return ahead == 1

    def _restore(self, late: bool) -> int | None:
        """Restore the state; return its ``lr_ahead``, or None if the learning rate is that of a new run."""
        state, opt = self._state, self._opt
        self._state = None
        if state is None:
            say(f"note: there is no saved state of {self._loads}: optimizers and epochs are reset")
            return None
        if not is_of(self._model, state):
            if opt.epoch_count == state.next_epoch and not late:
                opt.epoch_count = 1
            say("note: the saved state has other weights than latest_net_*.pth: optimizers are reset")
            return None
        exact = opt.epoch_count == state.next_epoch
        restore(self._model, self._opt, state, self.adapters, self._stateful, exact)
        for net, average in self.averages.items():
            if net in state.averages:
                average.load_state_dict(state.averages[net])
            else:
                say(f"note: there is no saved average of the weights of {net}: it begins with the present ones")
        for net, best in self.bests.items():
            if net in state.bests:
                best.load_state_dict(state.bests[net])
            else:
                say(f"note: there is no saved validation of {net}: it begins with this run")
        local = self._of_this_process(state)
        if local is not None:
            restore_pools(self._model, local)
        if self.half and self.half.scales and state.loss_scale:
            self.half.scale, self.half.growth = state.loss_scale
        if not exact:
            say(f"continuing at epoch {opt.epoch_count}, as set, with the optimizers of epoch {state.epoch}")
            return None
        self._lr_epoch_count = state.lr_epoch_count
        if local is not None:
            set_rng_state(self._drawn or _first_numbers(local))
        if state.complete:
            say(f"continuing after epoch {state.epoch}")
        elif state.batches and state.processes == process_count():  # the same on all processes
            say(
                f"continuing after {state.iteration} steps of epoch {state.epoch}: its first {state.batches} batches "
                f"are loaded again, but not trained on"
            )
            self._batches.replay(self._model.opt, local or replace(state, random_numbers={}, seen=""))
        else:
            say(f"continuing after {state.iteration} steps of epoch {state.epoch}, which starts again")
        if late and self._drawn is None:
            say("note: this host draws its first images earlier, so they differ from those of an uninterrupted run")
        last = getattr(opt, "n_epochs", 0) + getattr(opt, "n_epochs_decay", 0)
        if last and opt.epoch_count > last:
            say(f"note: all {last} epochs are trained: increase n_epochs to continue")
        return state.lr_ahead

    def _of_this_process(self, state: RunState) -> RunState | None:
        """Return the state with the image pools and RNG state of this process; None if they were not saved."""
        others = [RunState.read(self._folder, rank) for rank in range(1, process_count())]
        for rank, other in enumerate(others, 1):
            if other is None or other.place != state.place:
                others[rank - 1] = None
                say(f"note: image pools and random numbers of process {rank} were not saved: they are reset")
        return [state, *others][process_rank()]

    @property
    def replaying(self) -> bool:
        """Whether the next batch is one that was trained before the save."""
        return self._batches.replaying

    @property
    def has_trained_nothing(self) -> bool:
        """Whether the last batch was skipped, so that the host has no results of it."""
        return self._batches.trained_nothing

    def skip_batch(self) -> bool:
        """Count a batch that was trained before the save and is skipped; return whether it was the last of them."""
        state = self._batches.skip()
        if state is None:
            return False
        if state.random_numbers:
            set_rng_state(state.random_numbers)
        self.steps.resume(state.epoch, state.iteration)
        say(f"continuing with step {self.steps.iteration + 1} of epoch {self.steps.epoch}")
        return True

    def drew(self, batch: Any) -> None:
        """Record the next batch of the host."""
        self._batches.take(batch)

    def trained(self) -> None:
        """Count the batch as trained, in one or more steps."""
        self._batches.count(self.steps.epoch)

    def set_learning_rate(self) -> None:
        """Record that the host has set the learning rate: after an epoch, or before the next."""
        if state := self._batches.end_epoch():
            self.steps.resume(state.epoch, state.iteration)
        if not self.replaying:
            self._epoch_numbers = get_rng_state()
        if self.steps.set_learning_rate():
            self._rewrite()

    def save(self, epoch: int | str, host_saves: Callable[[], Any], more: Callable[[Path], None]) -> Any:
        """Let the host save its networks, together with the state of the run.

        Nothing is saved until a resumed run has reached the step of its last save.

        Args:
            epoch: the host's name of the epoch.
            host_saves: its ``save_networks``, whose result is returned.
            more: saves the other files of the networks to a folder.

        Raises:
            HostError: If the disk is full or read-only.
        """
        if self.replaying:
            return None
        stateful = epoch == "latest" and self.steps.moment is not Moment.NOT_STARTED
        ended = self.steps.between_epochs
        if not is_main_process():
            returned = host_saves()
            if stateful:
                with clear_save_errors(self._folder, epoch):
                    self._folder.mkdir(parents=True, exist_ok=True)  # the first process may not be done
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
    def _stateful(self) -> dict[str, nn.Module]:
        """What else the terms of generators have a state in: networks that they have drawn, balances of weights."""
        found: dict[str, nn.Module] = {}
        for net, distiller in self._distillers.items():
            found |= {f"{net}.{name}": network for name, network in distiller.drawn_networks().items()}
            if distiller.balance:
                found[f"{net}.balance"] = distiller.balance
        return found

    def _rewrite(self) -> None:
        """Write the state again as that of a complete epoch, once the last save proves to be its end."""
        with clear_save_errors(self._folder, "latest"):
            self._capture(True).write(self._folder, process_rank())

    def _capture(self, complete: bool) -> RunState:
        if self.half:
            self.half.update()
        steps, updated = self.steps, self.steps.between_epochs
        ahead = int(updated or not complete) if steps.lr_first else -int(complete and not updated)
        state = RunState(
            epoch=steps.epoch,
            iteration=steps.iteration,
            complete=complete,
            lr_ahead=ahead,
            lr_epoch_count=self._lr_epoch_count,
            lr=getattr(self._opt, "lr", 0.0),
            pools=capture_pools(self._model),
            random_numbers=get_rng_state(),
            epoch_random_numbers={} if complete else self._epoch_numbers,
            batches=self._batches.trained(steps.epoch),
            seen=self._batches.seen,
            processes=process_count(),
            loss_scale=(self.half.scale, self.half.growth) if self.half and self.half.scales else None,
        )
        if not is_main_process():
            return state
        state.averages = {net: average.state_dict() for net, average in self.averages.items()}
        state.bests = {net: best.state_dict() for net, best in self.bests.items()}
        return capture(state, self._model, self.adapters, self._stateful)


def _first_numbers(state: RunState) -> Mapping[str, Any]:
    """Return the RNG state to resume with: for an incomplete epoch, that of its start."""
    return state.random_numbers if state.complete or not state.epoch_random_numbers else state.epoch_random_numbers
