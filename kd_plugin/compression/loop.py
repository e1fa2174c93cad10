"""Train several students of one teacher on a sequence of images, resumed exactly wherever it was stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ..distillation.distiller import Taught
from ..distillation.shares import GradientShares
from ..errors import KDError
from ..processes import is_distributed, is_main_process, process_count, process_rank
from ..training.guard import TrainingError
from ..training.interrupt import Interruption
from ..training.state import Stateful
from ..training.trainer import StudentTrainer
from .pace import PACED, Pace
from .samples import Samples, check_unusable, load_batches
from .state import Plan, read_state, write_state

Batch = Mapping[str, torch.Tensor]


@dataclass
class Step:
    """A completed step.

    Attributes:
        number: from 1.
        steps: number of steps of the training; None while it is not known.
        images: number of images so far.
        losses: the weighted losses by student.
        shares: the share of each loss in the gradient by student, in the steps that measure it.
        seconds: duration of the step.
        waited: the part of it in which no image was there.
    """

    number: int
    steps: int | None
    images: int
    losses: Mapping[str, Mapping[str, torch.Tensor]]
    shares: dict[str, dict[str, float]]
    seconds: float
    waited: float


@dataclass
class Outcome:
    """How a call of :func:`train_students` ended.

    Attributes:
        done: number of completed steps.
        steps: number of steps of the training; None if it is not known yet.
        failed: why students were dropped, by name.
        signal: number of the signal that interrupted the training, or None.
        unusable: numbers of the items that could not be used, by name of the sequence; "" for the first.
    """

    done: int
    steps: int | None
    failed: dict[str, str]
    signal: int | None = None
    unusable: dict[str, set[int]] = field(default_factory=dict)


def train_students(
    trainers: Mapping[str, StudentTrainer],
    teach: Callable[[Batch], Taught],
    samples: Samples,
    plan: Plan,
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    others: Mapping[str, Samples] | None = None,
    parts: Mapping[str, Stateful] | None = None,
    workers: int = 0,
    save_every: int = 500,
    shares_every: int = 0,
    stop_after: float = math.inf,
    fresh: bool = False,
    begin: Callable[[int, int | None], None] = lambda done, steps: None,
    report: Callable[[Step], None] = lambda step: None,
) -> Outcome:
    """Train students on the samples, and save their state in a folder; continue from the state that is there.

    Every student is trained bit for bit as it would be alone. One that fails, since its values are no longer finite,
    is dropped, and the others go on. Ctrl-C and SIGTERM end the training after the step, saved.

    Args:
        trainers: by name of the student, on one device, with the plan's number of steps.
        teach: returns the teacher's images and features for a batch.
        samples: the images.
        plan: the settings.
        folder: an existing folder.
        device: the device of the trainers.
        others: further images of the batches, for the trainers' objectives.
        parts: saved with the trainers.
        workers: number of processes that load images.
        save_every: number of steps between two saves.
        shares_every: number of steps between two measurements of the shares, after the first step; 0 for none.
        stop_after: seconds after which the training ends, saved.
        fresh: whether to begin again where the folder has a state, and replace it.
        begin: called once the state is saved, before the first step of this call, with the completed
            steps and all, if known.
        report: called after every step.

    Raises:
        CheckpointError: If the folder has the state of a training with other settings, or it cannot be read.
        HostError: If the disk is full or read-only.
        KDError: If all students have failed, or too many images cannot be used.
    """
    device, others = torch.device(device), others or {}
    state = None if fresh else read_state(folder, plan)
    students = _Students(trainers, plan, folder, parts or {}, state)
    outcome, pace = students.outcome, students.pace
    interruption = Interruption()
    interruption.watch(interruption, distributed=True)
    whole = plan.batch * process_count()
    begun = time.monotonic()
    try:
        if state is None:
            students.save()  # whatever is written later, the folder is known to be of this training
        begin(outcome.done, outcome.steps)
        most = 2**40 if outcome.steps is None else outcome.steps * whole
        moment = time.monotonic()
        for loaded in load_batches(samples, outcome.done * whole, most, plan.batch, workers, others):
            waited = time.monotonic() - moment
            _note_unusable(loaded, outcome.unusable, {"": samples, **others})
            batch = {key: images.to(device, non_blocking=True) for key, images in loaded.items()}
            epoch = 1 + outcome.done * whole / samples.epoch_length
            losses, shares = students.step(batch, teach, epoch, device, _measures_shares(outcome.done, shares_every))
            seconds = time.monotonic() - moment
            report(Step(outcome.done, outcome.steps, outcome.done * whole, losses, shares, seconds, waited))
            pace.add(outcome.done, seconds)
            fixed = outcome.steps is None and outcome.done >= PACED
            if fixed:
                students.fix_steps(_agreed(outcome.done + pace.steps_left(outcome.done)))
            outcome.signal = _agreed_signal(interruption.asked)
            late = _agreed(time.monotonic() - begun > stop_after) if stop_after < math.inf else False
            ends = outcome.done == outcome.steps or late or outcome.signal is not None
            if ends or fixed or outcome.done % save_every == 0:
                students.save()
            if ends:
                break
            moment = time.monotonic()
    finally:
        interruption.end()
    return outcome


class _Students:
    """The students in training, and the file of their state.

    Args:
        trainers: by name.
        plan: the settings.
        folder: of the state.
        parts: saved with the trainers.
        state: to continue from; None at the beginning.

    Attributes:
        outcome: of the training so far.
        pace: of its steps.
    """

    def __init__(
        self,
        trainers: Mapping[str, StudentTrainer],
        plan: Plan,
        folder: Path,
        parts: Mapping[str, Stateful],
        state: Mapping[str, Any] | None,
    ) -> None:
        self._active = dict(trainers)
        self._plan, self._folder, self._parts = plan, folder, parts
        self.outcome = Outcome(0, plan.steps, {})
        self.pace = Pace(plan.seconds, state["pace"] if state else None)
        if state:
            self._restore(state)

    def _restore(self, state: Mapping[str, Any]) -> None:
        outcome = self.outcome
        outcome.done, outcome.steps = int(state["done"]), state["steps"]
        outcome.failed.update(state["failed"])
        outcome.unusable.update({name: set(numbers) for name, numbers in state["unusable"].items()})
        for name in outcome.failed:
            self._active.pop(name, None)
        for name, trainer in self._active.items():
            trainer.load_state_dict(state["students"][name])
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])

    def save(self) -> None:
        """Write the state, in the main process."""
        outcome = self.outcome
        _gather(outcome.unusable)
        if not is_main_process():
            return
        write_state(
            self._folder,
            self._plan,
            {
                "done": outcome.done,
                "steps": outcome.steps,
                "pace": self.pace.state(),
                "failed": outcome.failed,
                "unusable": {name: sorted(numbers) for name, numbers in outcome.unusable.items()},
                "students": {name: trainer.state_dict() for name, trainer in self._active.items()},
                "parts": {name: part.state_dict() for name, part in self._parts.items()},
            },
        )

    def step(
        self, batch: Batch, teach: Callable[[Batch], Taught], epoch: float, device: torch.device, measures: bool
    ) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, dict[str, float]]]:
        """Train all students on a batch, and drop those that fail; return losses and measured shares by name.

        Raises:
            KDError: If none is left.
        """
        losses, shares = {}, {}
        seed = (self._plan.seed * 1_000_003 + self.outcome.done) * process_count() + process_rank()
        with _seeded(device, seed):
            taught = teach(batch)
        for name, trainer in list(self._active.items()):
            measured = GradientShares() if measures else None
            try:
                with _seeded(device, seed):  # its dropout depends on the step alone
                    losses[name] = trainer.step(batch["input"], taught, epoch, batch, measured)
            except TrainingError as error:
                self.outcome.failed[name] = str(error)
                del self._active[name]
                continue
            if measured:
                shares[name] = measured.last
        if not self._active:
            raise KDError(f"no student is left: {'; '.join(self.outcome.failed.values())}")
        self.outcome.done += 1
        return losses, shares

    def fix_steps(self, steps: int) -> None:
        """Set the number of steps of a training of a given duration."""
        self.outcome.steps = steps
        for trainer in self._active.values():
            trainer.set_steps(steps)


def _measures_shares(done: int, every: int) -> bool:
    """Return whether the next step measures shares: the first, and the last before each multiple of ``every``."""
    return every > 0 and (done == 0 or (done + 1) % every == 0)


@contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Context manager with random numbers of a seed."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _note_unusable(
    loaded: dict[str, torch.Tensor], unusable: dict[str, set[int]], sequences: Mapping[str, Samples]
) -> None:
    """Move the numbers of items that could not be used from a batch to ``unusable``."""
    for name, samples in sequences.items():
        numbers = loaded.pop(f"{name}.unusable" if name else "unusable")
        found = set(numbers[numbers >= 0].tolist())
        if found - unusable.get(name, set()):
            unusable[name] = unusable.get(name, set()) | found
            names = [samples.items[number].name for number in sorted(unusable[name])]
            check_unusable(names, len(samples.items), samples.problem(min(found)))


def _gather(unusable: dict[str, set[int]]) -> None:
    """Add the numbers that the other processes found."""
    if not is_distributed():
        return
    found: list[dict[str, set[int]] | None] = [None] * process_count()
    distributed.all_gather_object(found, unusable)
    for other in found:
        for name, numbers in (other or {}).items():
            unusable[name] = unusable.get(name, set()) | numbers


def _agreed(value: int) -> int:
    """Return the first process's value on all processes."""
    if not is_distributed():
        return value
    shared = torch.tensor([value], device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    distributed.broadcast(shared, 0)
    return int(shared.item())


def _agreed_signal(asked: int | None) -> int | None:
    """Return the signal that any process received, or None."""
    if not is_distributed():
        return asked
    shared = torch.tensor([asked or 0], device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    distributed.all_reduce(shared, distributed.ReduceOp.MAX)
    return int(shared.item()) or None
