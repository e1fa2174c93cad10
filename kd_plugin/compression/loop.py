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
from .samples import Samples, check_unusable, load_batches
from .state import Plan, read_state, write_state

_FIRST, _PACED = 10, 50  # steps: the pace is that of those between the two
_TRAINING = 0.92  # share of the time that is for steps; the rest is for validation

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
    device, parts, others = torch.device(device), parts or {}, others or {}
    outcome = Outcome(0, plan.steps, {})
    active = dict(trainers)
    state = None if fresh else read_state(folder, plan)
    pace = _Pace(plan.seconds, state["pace"] if state else None)
    if state:
        outcome = Outcome(
            int(state["done"]),
            state["steps"],
            dict(state["failed"]),
            unusable={name: set(numbers) for name, numbers in state["unusable"].items()},
        )
        active = {name: trainer for name, trainer in trainers.items() if name not in outcome.failed}
        for name, trainer in active.items():
            trainer.load_state_dict(state["students"][name])
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])

    def save() -> None:
        _gather(outcome.unusable)
        if not is_main_process():
            return
        write_state(
            folder,
            plan,
            {
                "done": outcome.done,
                "steps": outcome.steps,
                "pace": pace.state(),
                "failed": outcome.failed,
                "unusable": {name: sorted(numbers) for name, numbers in outcome.unusable.items()},
                "students": {name: trainer.state_dict() for name, trainer in active.items()},
                "parts": {name: part.state_dict() for name, part in parts.items()},
            },
        )

    interruption = Interruption()
    interruption.watch(interruption, distributed=True)
    whole = plan.batch * process_count()
    first = outcome.done
    begun = time.monotonic()
    try:
        if state is None:
            save()  # whatever is written later, the folder is known to be of this training
        begin(outcome.done, outcome.steps)
        most = 2**40 if outcome.steps is None else outcome.steps * whole
        moment = time.monotonic()
        for loaded in load_batches(samples, first * whole, most, plan.batch, workers, others):
            waited = time.monotonic() - moment
            _note_unusable(loaded, outcome.unusable, {"": samples, **others})
            batch = {key: images.to(device, non_blocking=True) for key, images in loaded.items()}
            epoch = 1 + outcome.done * whole / samples.epoch_length
            losses, shares = {}, {}
            seed = (plan.seed * 1_000_003 + outcome.done) * process_count() + process_rank()
            with _seeded(device, seed):
                taught = teach(batch)
            for name, trainer in list(active.items()):
                measured = GradientShares() if _measures_shares(outcome.done, shares_every) else None
                try:
                    with _seeded(device, seed):  # its dropout depends on the step alone
                        losses[name] = trainer.step(batch["input"], taught, epoch, batch, measured)
                except TrainingError as error:
                    outcome.failed[name] = str(error)
                    del active[name]
                    continue
                if measured:
                    shares[name] = measured.last
            if not active:
                raise KDError(f"no student is left: {'; '.join(outcome.failed.values())}")
            outcome.done += 1
            now = time.monotonic()
            report(Step(outcome.done, outcome.steps, outcome.done * whole, losses, shares, now - moment, waited))
            pace.add(outcome.done, now - moment)
            fixed = outcome.steps is None and outcome.done >= _PACED
            if fixed:
                outcome.steps = _agreed(outcome.done + pace.steps_left(outcome.done))
                for trainer in active.values():
                    trainer.set_steps(outcome.steps)
            outcome.signal = _agreed_signal(interruption.asked)
            late = _agreed(time.monotonic() - begun > stop_after) if stop_after < math.inf else False
            ends = outcome.done == outcome.steps or late or outcome.signal is not None
            if ends or fixed or outcome.done % save_every == 0:
                save()
            if ends:
                break
            moment = time.monotonic()
    finally:
        interruption.end()
    return outcome


class _Pace:
    """Measures the duration of steps, to fix their number for a training of a given duration.

    Args:
        seconds: of the training; None if its number of steps is given.
        state: of an interrupted training.
    """

    def __init__(self, seconds: float | None, state: Mapping[str, Any] | None) -> None:
        self._seconds = seconds
        self._earlier, self._steps, self._duration = 0.0, 0, 0.0  # the seconds of earlier calls; the measured steps
        if state:
            self._earlier, self._steps = float(state["elapsed"]), int(state["steps"])
            self._duration = float(state["duration"])
        self._begun = time.monotonic()
        self._warm = False

    @property
    def _elapsed(self) -> float:
        return self._earlier + time.monotonic() - self._begun

    def add(self, done: int, seconds: float) -> None:
        """Add the step with a number and duration."""
        if self._warm and done > _FIRST:  # the first step of a call takes longer
            self._steps, self._duration = self._steps + 1, self._duration + seconds
        self._warm = True

    def steps_left(self, done: int) -> int:
        """Return the number of steps that fit into the rest of the time, given that of the completed ones."""
        assert self._seconds is not None
        pace = self._duration / self._steps if self._steps else self._elapsed / done
        return max(int((self._seconds - self._elapsed) * _TRAINING / pace), 0)

    def state(self) -> dict[str, float]:
        """Return the state, from which the measurement continues."""
        return {"elapsed": self._elapsed, "steps": self._steps, "duration": self._duration}


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
