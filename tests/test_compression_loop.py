"""Training several students without a host: exactly resumed, each as alone."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.images import paint
from helpers.tensors import flat

from kd_plugin import Distiller, GeneratorSpec
from kd_plugin.compression.loop import Outcome, Step, train_students
from kd_plugin.compression.samples import Samples
from kd_plugin.compression.state import Plan
from kd_plugin.distillation.teacher_pass import TeacherPass
from kd_plugin.errors import CheckpointError, KDError
from kd_plugin.networks.generator import Generator, build_generator
from kd_plugin.pictures import Preprocessing, find_images
from kd_plugin.report.inputs import Item
from kd_plugin.training.trainer import StudentTrainer

TEACHER = GeneratorSpec("resnet", 3, 3, 4, 1, "instance", False, True)
STEPS = 7


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    for i in range(3):
        paint(tmp_path / "images" / f"{i}.png", 24, 20, i)
    items = [Item(file.name, file) for file in find_images(tmp_path / "images")]
    return Samples(items, Preprocessing("crop", crop_size=16), seed=4)


def network(spec: GeneratorSpec, seed: int) -> Generator:
    torch.manual_seed(seed)
    return build_generator(spec)


TAUGHT = network(TEACHER, 0)
TAUGHT.requires_grad_(False).eval()


def trainers(*widths: int, most: int = 10) -> dict[str, StudentTrainer]:
    """Students with dropout, whose masks are drawn in every step."""
    made = {}
    for ngf in widths:
        student = network(replace(TEACHER, ngf=ngf, dropout=True), ngf)
        made[str(ngf)] = StudentTrainer(
            Distiller(student, TAUGHT, {"wavelet": 1.0, "srp": 1.0}), STEPS, max_bad_steps=most
        )
    return made


def run(
    folder: Path,
    samples: Samples,
    students: Mapping[str, StudentTrainer],
    report: Callable[[Step], None] = lambda step: None,
    save_every: int = 2,
    parts: Mapping[str, Any] | None = None,
    stop_after: float = math.inf,
    **changes: object,
) -> Outcome:
    folder.mkdir(exist_ok=True)
    plan = replace(Plan(STEPS, batch=2, settings={"teacher": "a"}), **changes)  # type: ignore[arg-type]
    taps = set().union(*(trainer.distiller.teacher_taps for trainer in students.values()))
    teach = TeacherPass(TAUGHT, taps)
    return train_students(
        students,
        lambda batch: teach(batch["input"]),
        samples,
        plan,
        folder,
        save_every=save_every,
        report=report,
        parts=parts,
        stop_after=stop_after,
    )


def weights(trainer: StudentTrainer) -> list[torch.Tensor]:
    return flat([dict(trainer.distiller.student.state_dict()), trainer.average.weights])


def equal(ours: StudentTrainer, theirs: StudentTrainer) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(ours), weights(theirs), strict=True))


def test_together_and_alone_are_equal(samples: Samples, tmp_path: Path) -> None:
    together = trainers(2, 3)
    assert run(tmp_path / "both", samples, together) == Outcome(STEPS, STEPS, {})
    for name in together:
        alone = trainers(int(name))
        run(tmp_path / name, samples, alone)
        assert equal(together[name], alone[name])


class Killed(Exception):
    """Stands for a process that is killed."""


@pytest.mark.parametrize("stop", [1, 4, 6])
def test_killed_and_continued_equals_uninterrupted(samples: Samples, tmp_path: Path, stop: int) -> None:
    whole = trainers(2)
    run(tmp_path / "whole", samples, whole)

    def kill(step: Step) -> None:
        if step.number == stop:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "parts", samples, trainers(2), kill)
    torch.manual_seed(99)  # of another process
    steps: list[int] = []
    parts = trainers(2)
    assert run(tmp_path / "parts", samples, parts, lambda step: steps.append(step.number)).done == STEPS
    last_save = (stop - 1) // 2 * 2
    assert steps == list(range(last_save + 1, STEPS + 1))
    assert equal(parts["2"], whole["2"])


def test_a_signal_ends_it_after_the_step_and_saves(samples: Samples, tmp_path: Path) -> None:
    whole, first, second = trainers(2), trainers(2), trainers(2)
    run(tmp_path / "whole", samples, whole)
    handler = signal.getsignal(signal.SIGTERM)
    outcome = run(
        tmp_path / "parts",
        samples,
        first,
        lambda step: os.kill(os.getpid(), signal.SIGTERM) if step.number == 3 else None,
        save_every=100,
    )
    assert outcome == Outcome(3, STEPS, {}, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == handler
    assert run(tmp_path / "parts", samples, second) == Outcome(STEPS, STEPS, {})
    assert equal(second["2"], whole["2"])


def test_a_student_that_fails_is_dropped_and_the_others_go_on(samples: Samples, tmp_path: Path) -> None:
    alone, students = trainers(3), trainers(2, 3, most=1)
    run(tmp_path / "alone", samples, alone)
    next(students["2"].distiller.student.parameters()).data.fill_(torch.nan)
    outcome = run(tmp_path / "both", samples, students)
    assert outcome.done == STEPS
    assert "not finite" in outcome.failed["2"] or "is nan" in outcome.failed["2"]
    assert equal(students["3"], alone["3"])
    assert run(tmp_path / "both", samples, trainers(2, 3)).failed == outcome.failed  # remembered


def test_no_student_left_is_an_error(samples: Samples, tmp_path: Path) -> None:
    students = trainers(2, most=0)
    next(students["2"].distiller.student.parameters()).data.fill_(torch.nan)
    with pytest.raises(KDError, match="no student is left: "):
        run(tmp_path / "out", samples, students)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 9}, "with steps 7, not 9"),
        ({"seed": 1}, "with seed 0, not 1"),
        ({"settings": {"teacher": "b"}}, "with teacher a, not b"),
        ({"settings": {"teacher": "a", "terms": "srp"}}, "with terms None, not srp"),
    ],
)
def test_other_settings_are_refused(
    samples: Samples, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    run(tmp_path / "out", samples, trainers(2))
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path / "out", samples, trainers(2), **changes)


def test_a_damaged_state_says_what_to_do(samples: Samples, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "compress_state.pth").write_bytes(b"no state")
    with pytest.raises(CheckpointError, match="delete it to begin again"):
        run(tmp_path / "out", samples, trainers(2))
