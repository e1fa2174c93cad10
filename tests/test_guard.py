"""The guard: steps that are not finite are skipped and reported; terms without gradient give one note."""

from __future__ import annotations

import copy
import warnings
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.models import distil_options, distilling, host_batch, set_up, train_step
from helpers.tensors import flat
from torch import nn

from kd_plugin import KDError
from kd_plugin.training import guard as guards
from kd_plugin.training.guard import Guard

GENERATORS = {"pix2pix": ["G"], "cycle_gan": ["G_A", "G_B"]}


def options(teachers: Path, model: str, **changes: object) -> Namespace:
    return distil_options(teachers, model=model, **{"distill": "pixel,wavelet", "wavelet_levels": 2, **changes})


def build(models: ModuleType, opt: Namespace):  # type: ignore[no-untyped-def]
    return set_up(distilling(models.find_model_using_name(opt.model)), opt)


def spoil(model, value: float = float("nan")) -> None:  # type: ignore[no-untyped-def]
    """Let the last teacher give what is not finite."""
    last = model._run.pairs[-1].teacher.model[-2]
    model._kept = copy.deepcopy(last.state_dict())
    last.bias.data.fill_(value)


def mend(model) -> None:  # type: ignore[no-untyped-def]
    model._run.pairs[-1].teacher.model[-2].load_state_dict(model._kept)


def state(model):  # type: ignore[no-untyped-def]
    nets = [getattr(model, f"net{net}").state_dict() for net in GENERATORS[model.opt.model]]
    return copy.deepcopy((nets, model.optimizer_G.state_dict()["state"]))


@pytest.mark.parametrize("name", GENERATORS)
class TestSteps:
    def test_are_skipped_counted_and_named(
        self, models: ModuleType, teachers: Path, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = build(models, options(teachers, name))
        train_step(model)
        before = state(model)
        spoil(model)
        for count in (1, 2):
            train_step(model)
            said = capsys.readouterr().out
            suffix = "" if name == "pix2pix" else "_B"
            assert f"epoch 1, iteration {1 + count}: pixel{suffix} is nan and wavelet{suffix} is nan" in said
            assert f"step skipped ({count} of at most 10 consecutive steps)" in said
        assert all(torch.equal(a, b) for a, b in zip(flat(before), flat(state(model)), strict=True))
        mend(model)
        train_step(model)
        after = flat(state(model))
        assert not all(torch.equal(a, b) for a, b in zip(flat(before), after, strict=True))
        assert all(tensor.isfinite().all() for tensor in after)
        spoil(model)
        train_step(model)
        assert "(1 of at most 10" in capsys.readouterr().out  # consecutive ones are counted

    def test_too_many_end_the_run(self, models: ModuleType, teachers: Path, name: str) -> None:
        model = build(models, options(teachers, name, max_bad_steps=1))
        spoil(model)
        train_step(model)
        with pytest.raises(
            KDError, match=r"epoch 1, iteration 2: pixel\w* is nan .*as in the 1 steps before"
        ) as caught:
            train_step(model)
        assert "\n" not in str(caught.value)

    def test_finite_ones_are_left_alone(
        self, models: ModuleType, teachers: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """Bit for bit what the same run without a guard gives."""
        results = []
        for guarded in (True, False):
            model = build(models, options(teachers, name))
            if not guarded:
                monkeypatch.setattr(Guard, "_check", lambda *arguments: None)
            train_step(model)
            train_step(model)
            results.append(flat(state(model)))
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_statistics_are_put_back_after_a_save(
    models: ModuleType, teachers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts save with ``.cpu()`` and ``.cuda()``: on a GPU, every buffer of a network is a new tensor afterwards."""
    monkeypatch.setattr(nn.Module, "cpu", lambda module: module._apply(torch.clone))
    model = build(models, options(teachers, "pix2pix", norm="batch"))
    train_step(model, 2)
    model.save_networks("latest")
    for name in model.model_names:  # as hosts of 2020 to 2024 do
        getattr(model, f"net{name}").cpu()
    states = [getattr(model, f"net{name}").state_dict() for name in model.model_names]
    statistics = [{key: t for key, t in state.items() if "running" in key} for state in states]
    before = copy.deepcopy(statistics)
    assert all(before)
    picture = host_batch(2)
    picture["A"] = picture["A"] * float("nan")
    model.set_input(picture)
    model.optimize_parameters()
    for one, other in zip(flat(before), flat(statistics), strict=True):
        assert torch.equal(one, other)


class TestCauses:
    def guarded(self, most: int = 3) -> tuple[nn.Linear, torch.optim.Optimizer, Guard]:
        student = nn.Linear(2, 1)
        optimizer = torch.optim.Adam(student.parameters(), lr=0.1)
        guard = Guard([optimizer], [student], {"G": student}, most)
        guard.begin(4, 7)
        return student, optimizer, guard

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_of_the_hosts_own(self, bad: float, capsys: pytest.CaptureFixture[str]) -> None:
        student, optimizer, guard = self.guarded()
        before = copy.deepcopy(student.state_dict())
        guard.observe("", {"pixel": torch.tensor(1.0)}, [])
        (student(torch.ones(1, 2)).sum() * bad).backward()
        optimizer.step()
        assert all(torch.equal(student.state_dict()[key], before[key]) for key in before)
        assert "epoch 4, iteration 7: a gradient of netG is not finite; step skipped" in (capsys.readouterr().out)

    def test_of_a_term_whose_gradient_is_finite(self, capsys: pytest.CaptureFixture[str]) -> None:
        student, optimizer, guard = self.guarded()
        guard.observe("_A", {"srp": torch.tensor(float("inf"))}, [])
        student(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        assert "srp_A is inf; step skipped" in capsys.readouterr().out and not optimizer.state

    def test_other_optimizers_are_guarded_by_their_own_gradients(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A discriminator is skipped, counted and named for what it has itself."""
        student, other = nn.Linear(2, 1), nn.Linear(2, 1)
        optimizer = torch.optim.Adam(other.parameters(), lr=0.1)
        guard = Guard([optimizer], [student], {"G": student, "D": other}, 1)
        guard.begin(1, 1)
        guard.observe("", {"pixel": torch.tensor(1.0)}, [])
        for factor in (1.0, float("nan"), 1.0):
            before = other.weight.clone()
            optimizer.zero_grad()
            (other(torch.ones(1, 2)).sum() * factor).backward()
            optimizer.step()
            assert torch.equal(other.weight, before) == (factor != 1.0) and other.weight.isfinite().all()
        said = capsys.readouterr().out
        assert said.count("\n") == 1
        assert "a gradient of netD is not finite; step of netD skipped (1 of at most 1 consecutive" in said
        for step in range(2):
            (other(torch.ones(1, 2)).sum() * float("nan")).backward()
            with (
                nullcontext()
                if step == 0
                else pytest.raises(KDError, match="a gradient of netD is not finite, as in the 1 steps")
            ):
                optimizer.step()

    def test_statistics_of_networks_that_are_not_skipped_stay(self) -> None:
        """G has stepped when D is skipped, or waits for its backward pass, which must still work."""
        generator, judge = (nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)) for _ in range(2))
        optimizers = [torch.optim.Adam(network.parameters()) for network in (generator, judge)]
        guard = Guard(optimizers, [generator], {"G": generator, "D": judge}, 3)
        guard.begin(1, 1)
        fake = generator(torch.rand(2, 1, 4, 4))
        moved = generator[1].running_mean.clone()
        spoilt = judge[1].running_mean.clone()
        (judge(fake.detach()).sum() * float("nan")).backward()
        optimizers[1].step()
        assert torch.equal(generator[1].running_mean, moved) and torch.equal(judge[1].running_mean, spoilt)
        (judge(fake).square().sum() + generator(fake).square().sum()).backward()
        optimizers[0].step()
        assert optimizers[0].state and not optimizers[1].state

    @pytest.mark.parametrize("made", ["before", "after"])
    def test_schedulers_of_the_learning_rate(self, made: str) -> None:
        """Whichever comes first, and without a warning of PyTorch's."""
        student = nn.Linear(2, 1)
        optimizer = torch.optim.Adam(student.parameters(), lr=0.1)
        schedulers = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)] if made == "before" else []
        guard = Guard([optimizer], [student], {"G": student}, 3)
        guard.begin(1, 1)
        schedulers = schedulers or [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]
        student(torch.ones(1, 2)).sum().backward()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            optimizer.step()
            schedulers[0].step()
        assert optimizer.param_groups[0]["lr"] == 0.05
        before = student.weight.clone()
        (student(torch.ones(1, 2)).sum() * float("nan")).backward()
        optimizer.step()
        assert torch.equal(student.weight, before)

    def test_running_statistics_are_put_back(self) -> None:
        student = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
        optimizer = torch.optim.Adam(student.parameters())
        guard = Guard([optimizer], [student], {"G": student}, 3)
        guard.begin(1, 1)
        before = copy.deepcopy(student.state_dict())
        student(torch.full((2, 1, 4, 4), float("nan"))).sum().backward()
        assert not student[1].running_mean.isfinite().any()
        optimizer.step()
        assert all(torch.equal(student.state_dict()[k], before[k]) for k in before if "batches" not in k)

    def test_a_guard_is_let_go_with_its_model(self) -> None:
        student, optimizer, guard = self.guarded()
        guard.observe("", {"pixel": torch.tensor(float("nan"))}, [])
        del guard
        student(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        assert optimizer.state

    def test_negative_limits_are_refused(self, models: ModuleType, teachers: Path) -> None:
        with pytest.raises(KDError, match="--max_bad_steps -1: give 0 or more"):
            build(models, options(teachers, "pix2pix", max_bad_steps=-1))


def test_silent_terms_are_told_once(
    models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A term that is off is not computed, and not silent; the other learns."""
    monkeypatch.setattr(guards, "_EVERY", 2)
    opt = options(teachers, "pix2pix", distill="wavelet,pixel,tv", lambda_tv="0")
    model = build(models, opt)
    wavelet = model._run.pairs[0].distiller.terms["wavelet"].term
    wavelet.forward = lambda student, teacher: (student * 0).sum() + 3
    for _ in range(2 * guards._CHECKS + 6):
        train_step(model)
    said = [line for line in capsys.readouterr().out.splitlines() if "and no effect" in line]
    assert len(said) == 1
    assert "note: wavelet has had no gradient for 8 steps and no effect; its weighted value is 300" in said[0]
    assert "(epoch 1, iteration 8)" in said[0]
