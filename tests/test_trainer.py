"""``StudentTrainer``: the steps of a student trained on its teacher alone."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from helpers.tensors import flat
from torch import nn

from kd_plugin import Distiller, GeneratorSpec
from kd_plugin.distillation.teacher_pass import TeacherPass
from kd_plugin.errors import ArgumentError
from kd_plugin.networks.generator import build_generator
from kd_plugin.training.guard import TrainingError
from kd_plugin.training.trainer import StudentTrainer

TEACHER = GeneratorSpec("resnet", 3, 3, 6, 2, "instance", False, True)
TERMS = {"wavelet": 100.0, "pixel": 10.0, "srp": 1000.0, "feature": 1.0}  # feature has adapters


def network(spec: GeneratorSpec, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_generator(spec)


def teacher() -> nn.Module:
    return network(TEACHER, 0).requires_grad_(False).eval()


def trainer(taught_by: nn.Module, ngf: int = 3, steps: int = 6, **settings: object) -> StudentTrainer:
    spec = replace(TEACHER, ngf=ngf, norm="batch", bias=False)
    return StudentTrainer(Distiller(network(spec, ngf), taught_by, TERMS), steps, **settings)  # type: ignore[arg-type]


def batch(step: int) -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(step)) * 2 - 1


def weights(trained: StudentTrainer) -> list[torch.Tensor]:
    distiller = trained.distiller
    return flat([dict(distiller.student.state_dict()), dict(distiller.state_dict()), trained.average.weights])


def equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return len(ours) == len(theirs) > 0 and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_step_is_that_of_a_loop_by_hand() -> None:
    large = teacher()
    trained = trainer(large)
    student = copy.deepcopy(trained.distiller.student)
    distiller = Distiller(student, large, TERMS)
    optimizer = torch.optim.Adam(
        [*student.parameters(), *distiller.adapters.parameters()], lr=2e-4, betas=(0.5, 0.999)
    )
    rates = [1, 1, 1, 1, 2 / 3, 1 / 3]  # constant for half of the steps, then to 0 after the last
    for step, rate in enumerate(rates):
        assert trained.lr == pytest.approx(2e-4 * rate)
        optimizer.param_groups[0]["lr"] = trained.lr
        losses = trained.step(batch(step))
        optimizer.zero_grad()
        result = distiller(batch(step))
        result.total.backward()
        optimizer.step()
        assert losses == {name: value.detach() for name, value in result.losses.items()}
    assert trained.lr == 0
    assert equal(flat(trained.distiller.student.state_dict()), flat(student.state_dict()))


def test_students_that_share_the_teachers_pass_are_trained_as_alone() -> None:
    large = teacher()
    alone = [trainer(large, ngf) for ngf in (2, 3, 4)]
    together = [trainer(large, ngf) for ngf in (2, 3, 4)]
    passes: list[int] = []
    large.register_forward_hook(lambda *_: passes.append(1))
    for one in alone:
        for step in range(3):
            one.step(batch(step))
    assert len(passes) == 9
    teach = TeacherPass(large, set().union(*(one.distiller.teacher_taps for one in together)))
    for step in range(3):
        taught = teach(batch(step))
        for one in together:
            one.step(batch(step), taught)
    assert len(passes) == 9 + 3
    for ours, theirs in zip(together, alone, strict=True):
        assert equal(weights(ours), weights(theirs))


def test_a_training_continues_exactly() -> None:
    large = teacher()
    whole, first, second = (trainer(large) for _ in range(3))
    for step in range(6):
        whole.step(batch(step))
    for step in range(4):
        first.step(batch(step))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in range(4, 6):
        second.step(batch(step))
    assert second.done == whole.done == 6
    assert equal(weights(second), weights(whole))


def test_a_step_that_is_not_finite_is_skipped_and_too_many_end_the_training() -> None:
    trained = trainer(teacher(), max_bad_steps=2)
    before = copy.deepcopy(flat(trained.distiller.student.state_dict()))
    for _ in range(2):
        trained.step(torch.full((2, 3, 16, 16), torch.nan))
    counted = [t for t in flat(trained.distiller.student.state_dict()) if t.is_floating_point()]
    assert equal(counted, [t for t in before if t.is_floating_point()])
    with pytest.raises(TrainingError, match="as in the 2 steps before"):
        trained.step(torch.full((2, 3, 16, 16), torch.nan))


@pytest.mark.parametrize(
    ("steps", "decay_from", "message"),
    [(0, None, "0 steps: give 1 or more"), (4, 5, "decreases from step 5 of 4: give 0 to 4")],
)
def test_lengths_without_meaning_are_refused(steps: int, decay_from: int | None, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        trainer(teacher(), steps=steps, decay_from=decay_from)


def test_a_constant_learning_rate_stays() -> None:
    trained = trainer(teacher(), steps=2, decay_from=2)
    for step in range(3):  # one more than planned
        trained.step(batch(step))
    assert trained.lr == 2e-4
