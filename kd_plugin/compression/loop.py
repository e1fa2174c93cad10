"""Train several students of one teacher on a sequence of images, resumed exactly wherever it was stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ..distillation.distiller import Taught
from ..distillation.shares import GradientShares
from ..errors import CheckpointError, KDError, first_line
from ..files import write_atomically
from ..processes import is_distributed, is_main_process, process_count, process_rank
from ..training.guard import TrainingError
from ..training.interrupt import Interruption
from ..training.saving import clear_save_errors
from ..training.state import Stateful
from ..training.trainer import StudentTrainer
from .samples import Samples, load_batches

STATE = "compress_state.pth"
_FORMAT = 2
_MOST_UNUSABLE = 0.01  # share of the images
_FIRST, _PACED = 10, 50  # steps: the pace is measured from the one to the other
_TRAINING = 0.92  # share of the time that is for steps; the rest is for validation

Batch = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Plan:
    """The settings of a training, which a resumed one must share.

    Attributes:
        steps: number of steps; None for as many as fit in ``seconds``.
        seconds: duration of the training, if it determines the number of steps.
        batch: number of images of a step and process.
        seed: of the networks' dropout; that of the images is the samples'.
        settings: everything else that determines the result, by name, such as the teacher's digest and the terms.
    """

    steps: int | None
    seconds: float | None = None
    batch: int = 1
    seed: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)


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
        unusable: numbers of the items that could not be used.
    """

    done: int
    steps: int | None
    failed: dict[str, str]
    signal: int | None = None
    unusable: set[int] = field(default_factory=set)


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
        report: called after every step.

    Raises:
        CheckpointError: If the folder has the state of a training with other settings, or it cannot be read.
        HostError: If the disk is full or read-only.
        KDError: If all students have failed, or too many images cannot be used.
    """
    begun = time.monotonic()
    device, parts = torch.device(device), parts or {}
    outcome = Outcome(0, plan.steps, {})
    active = dict(trainers)
    if state := _read(folder / STATE):
        check_plan(state["plan"], plan, folder)
        outcome = Outcome(int(state["done"]), state["steps"], dict(state["failed"]), unusable=set(state["unusable"]))
        active = {name: trainer for name, trainer in trainers.items() if name not in outcome.failed}
        for name, trainer in active.items():
            trainer.load_state_dict(state["students"][name])
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
    interruption = Interruption()
    interruption.watch(interruption)

    def save() -> None:
        if not is_main_process():
            return
        content = {
            "format": _FORMAT,
            "plan": {**asdict(plan), "settings": dict(plan.settings)},
            "done": outcome.done,
            "steps": outcome.steps,
            "failed": outcome.failed,
            "unusable": sorted(outcome.unusable),
            "students": {name: trainer.state_dict() for name, trainer in active.items()},
            "parts": {name: part.state_dict() for name, part in parts.items()},
        }
        with clear_save_errors(folder, "the training"):
            write_atomically(folder / STATE, lambda file: torch.save(content, file))

    whole = plan.batch * process_count()
    first = outcome.done
    try:
        most = 2**40 if outcome.steps is None else outcome.steps * whole
        moment = paced = time.monotonic()
        for loaded in load_batches(samples, first * whole, most, plan.batch, workers, others):
            waited = time.monotonic() - moment
            _note_unusable(loaded.pop("unusable"), outcome, samples)
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
            here = outcome.done - first
            if here == _FIRST:
                paced = time.monotonic()
            if outcome.steps is None and here == _PACED:
                assert plan.seconds is not None
                pace = (time.monotonic() - paced) / (_PACED - _FIRST)
                left = (plan.seconds - (time.monotonic() - begun)) * _TRAINING
                outcome.steps = _agreed(outcome.done + max(int(left / pace), 0))
                for trainer in active.values():
                    trainer.set_steps(outcome.steps)
            outcome.signal = interruption.asked
            late = _agreed(time.monotonic() - begun > stop_after) if stop_after < math.inf else False
            complete = outcome.done == outcome.steps
            if outcome.done % save_every == 0 or complete or late or outcome.signal is not None:
                save()
            if complete or late or outcome.signal is not None:
                break
            moment = time.monotonic()
    finally:
        interruption.end()
    return outcome


def _measures_shares(done: int, every: int) -> bool:
    """Return whether the next step measures shares: the first, and the last before each multiple of ``every``."""
    return every > 0 and (done == 0 or (done + 1) % every == 0)


@contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Context manager with random numbers of a seed."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _note_unusable(numbers: torch.Tensor, outcome: Outcome, samples: Samples) -> None:
    outcome.unusable |= set(numbers[numbers >= 0].tolist())
    check_unusable([samples.items[i].name for i in sorted(outcome.unusable)], len(samples.items))


def check_unusable(names: list[str], count: int, reason: str = "") -> None:
    """Raise a :class:`KDError` if more than one in a hundred images cannot be used."""
    if len(names) > _MOST_UNUSABLE * count:
        why = f" ({reason})" if reason else ""
        raise KDError(
            f"{len(names)} of {count} images cannot be used, more than one in a hundred: {', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''}{why}: remove or convert them"
        )


def _agreed(value: int) -> int:
    """Return the first process's value on all processes."""
    if not is_distributed():
        return value
    shared = torch.tensor([value], device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    distributed.broadcast(shared, 0)
    return int(shared.item())


def _read(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if state.pop("format") != _FORMAT:
            raise ValueError("written by another version of kd_plugin")
        return state
    except Exception as error:  # damaged bytes raise anything
        raise CheckpointError(
            f"{file}: cannot be read ({first_line(error, 100)}); delete it to begin again"
        ) from error


def check_plan(saved: Mapping[str, Any], plan: Plan, folder: Path) -> None:
    """Raise a :class:`CheckpointError` that names the first setting in which two plans differ."""
    before = {**saved, **saved["settings"]}
    now = {**asdict(plan), **plan.settings}
    for name in [name for name in {**before, **now} if name != "settings"]:
        if before.get(name) != now.get(name):
            raise CheckpointError(
                f"{folder} has a training with {name} {before.get(name)}, not {now.get(name)}: continue it with the "
                "same settings, or begin again in another folder"
            )
