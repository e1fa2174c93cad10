"""Train several students of one teacher on a sequence of images, resumed exactly wherever it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..distillation.teacher_pass import TeacherPass
from ..errors import CheckpointError, KDError, first_line
from ..files import write_atomically
from ..training.guard import TrainingError
from ..training.interrupt import Interruption
from ..training.trainer import StudentTrainer
from .samples import Samples, load_batches

_STATE = "compress_state.pth"
_FORMAT = 1

Report = Callable[[int, Mapping[str, Mapping[str, torch.Tensor]]], None]


@dataclass(frozen=True)
class Plan:
    """The settings of a training, which a resumed one must share.

    Attributes:
        steps: number of steps.
        batch: number of images of a step.
        seed: of the students' dropout; that of the images is the samples'.
        settings: everything else that determines the result, by name, such as the teacher's digest and the terms.
    """

    steps: int
    batch: int = 1
    seed: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """How a call of :func:`train_students` ended.

    Attributes:
        done: number of completed steps.
        failed: why students were dropped, by name.
        signal: number of the signal that interrupted the training, or None.
    """

    done: int
    failed: dict[str, str]
    signal: int | None = None


def train_students(
    trainers: Mapping[str, StudentTrainer],
    teacher: nn.Module,
    samples: Samples,
    plan: Plan,
    folder: Path,
    *,
    workers: int = 0,
    save_every: int = 500,
    report: Report = lambda step, losses: None,
) -> Outcome:
    """Train students on the samples, and save their state in a folder; continue from the state that is there.

    Every student is trained bit for bit as it would be alone. One that fails, since its values are no longer finite,
    is dropped, and the others go on. Ctrl-C and SIGTERM end the training after the step, saved.

    Args:
        trainers: by name of the student, on one device, with the plan's number of steps.
        teacher: the frozen teacher of all of them.
        samples: the images.
        plan: the settings.
        folder: an existing folder.
        workers: number of processes that load images.
        save_every: number of steps between two saves.
        report: called after every step with its number, from 1, and the losses by student.

    Raises:
        CheckpointError: If the folder has the state of a training with other settings, or it cannot be read.
        KDError: If all students have failed.
    """
    outcome = Outcome(0, {})
    active = dict(trainers)
    if state := _read(folder / _STATE):
        _check(state["plan"], plan, folder)
        outcome = Outcome(int(state["done"]), dict(state["failed"]))
        active = {name: trainer for name, trainer in trainers.items() if name not in outcome.failed}
        for name, trainer in active.items():
            trainer.load_state_dict(state["students"][name])
    teach = TeacherPass(teacher, set().union(*(trainer.distiller.teacher_taps for trainer in trainers.values())))
    device = next(teacher.parameters()).device
    devices = [device] if device.type == "cuda" else []
    interruption = Interruption()
    interruption.watch(interruption)

    def save() -> None:
        students = {name: trainer.state_dict() for name, trainer in active.items()}
        plain = {**asdict(plan), "settings": dict(plan.settings)}
        content = {"format": _FORMAT, "plan": plain, "done": outcome.done, "failed": outcome.failed}
        write_atomically(folder / _STATE, lambda file: torch.save({**content, "students": students}, file))

    try:
        numbers = outcome.done * plan.batch, plan.steps * plan.batch
        for images in load_batches(samples, *numbers, plan.batch, workers):
            taught = teach(images.to(device))
            epoch = 1 + outcome.done * plan.batch / samples.epoch_length
            losses: dict[str, Mapping[str, torch.Tensor]] = {}
            for name, trainer in list(active.items()):
                try:
                    with torch.random.fork_rng(devices):  # its dropout depends on the step alone
                        torch.manual_seed(plan.seed * 1_000_003 + outcome.done)
                        losses[name] = trainer.step(images.to(device), taught, epoch)
                except TrainingError as error:
                    outcome.failed[name] = str(error)
                    del active[name]
            if not active:
                raise KDError(f"no student is left: {'; '.join(outcome.failed.values())}")
            outcome.done += 1
            report(outcome.done, losses)
            outcome.signal = interruption.asked
            if outcome.done % save_every == 0 or outcome.done == plan.steps or outcome.signal is not None:
                save()
            if outcome.signal is not None:
                break
    finally:
        interruption.end()
    return outcome


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


def _check(saved: Mapping[str, Any], plan: Plan, folder: Path) -> None:
    """Raise a :class:`CheckpointError` that names the first setting in which two plans differ."""
    before = {**saved, **saved["settings"]}
    now = {**asdict(plan), **plan.settings}
    for name in [name for name in {**before, **now} if name != "settings"]:
        if before.get(name) != now.get(name):
            raise CheckpointError(
                f"{folder} has a training with {name} {before.get(name)}, not {now.get(name)}: continue it with the "
                "same settings, or begin again in another folder"
            )
