"""The summary of a training. ``test_runner.py`` runs the commands that it prints."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.models import distil_options, distilling, host_batch, host_options, set_up, train_step
from torch import nn

from kd_plugin import cli
from kd_plugin.distillation.shares import GradientShares
from kd_plugin.host.model import summary
from kd_plugin.host.model.how_to_test import HowToTest, model_name
from kd_plugin.losses import pixel_loss, semantic_relation_loss
from kd_plugin.processes import say

MODELS = ("pix2pix", "cycle_gan")
GENERATORS = {"pix2pix": {"G": "A"}, "cycle_gan": {"G_A": "A", "G_B": "B"}}


def model_of(models: ModuleType, teachers: Path, name: str, **changes: object):  # type: ignore[no-untyped-def]
    """A model that distils, and looks at the gradients of its last epoch as a host's script would have it do."""
    options = distil_options(teachers, model=name, distill="pixel,srp", pool_size=0, **changes)
    model = set_up(distilling(models.find_model_using_name(name)), options)
    model._run.summary._prints = True
    return model


class TestShares:
    @pytest.mark.parametrize("name", MODELS)
    def test_are_those_of_gradients_taken_apart(self, models: ModuleType, teachers: Path, name: str) -> None:
        """The host's own from its class without the plugin, each term's from a pass of its own."""
        model = model_of(models, teachers, name, student_netG=None)
        plain = set_up(models.find_model_using_name(name), host_options(teachers.parent, model=name))
        for net in plain.model_names:
            getattr(plain, f"net{net}").load_state_dict(getattr(model, f"net{net}").state_dict())
        plain.set_input(host_batch(2))
        plain.forward()
        plain.backward_G()
        expected = {}
        for distilled in model._run.pairs:
            net = distilled.pair.net
            student, teacher = getattr(plain, f"net{net}"), distilled.teacher
            images = getattr(plain, f"real_{GENERATORS[name][net]}")
            parameters = list(student.parameters())
            norms = {"": flat_norm([parameter.grad for parameter in parameters])}
            losses = {
                "pixel": 50 * pixel_loss(student(images), teacher(images)),
                "srp": 1000 * semantic_relation_loss(student.model[:13](images), teacher.model[:12](images)),
            }
            for term, loss in losses.items():
                norms[term] = flat_norm(torch.autograd.grad(loss, parameters, allow_unused=True))
            expected[net] = norms, losses
        model.set_input(host_batch(2))
        model.forward()
        model.backward_G()
        for net, (norms, losses) in expected.items():
            shares = model._run.summary._shares[net]
            shares.end()
            assert shares.steps == 1
            total = sum(norms.values())
            assert shares.shares == pytest.approx({name: norm / total for name, norm in norms.items()}, rel=1e-4)
            assert shares.values == pytest.approx({name: loss.item() for name, loss in losses.items()}, rel=1e-4)

    def test_in_closed_form(self) -> None:
        """Of a host that scales its losses, clips, goes backward twice, and has a step that is not finite."""
        student = nn.Linear(2, 1, bias=False)
        shares = GradientShares()
        for slope in (1.0, 3.0, float("inf")):
            term, idle = 4 * student.weight.sum() * slope, torch.zeros(())
            shares.begin(student, {"wavelet": term, "srp": idle}, lambda: 8.0)
            (8 * (term + slope * student.weight[0, 0])).backward()
            (8 * slope * (2 * student.weight[0, 0])).backward()
            nn.utils.clip_grad_norm_(student.parameters(), 0.1)
            shares.end()
        wavelet, own = 4 * 2**0.5 * 2, 3 * 2  # means over slopes 1 and 3
        wanted = {"": own / (own + wavelet), "wavelet": wavelet / (own + wavelet), "srp": 0.0}
        assert shares.steps == 2 and shares.shares == pytest.approx(wanted)
        assert student.weight._backward_hooks is None or not student.weight._backward_hooks

    def test_of_a_student_that_cannot_be_looked_at(self) -> None:
        class Once(torch.autograd.Function):
            @staticmethod
            def forward(ctx, value):  # type: ignore[no-untyped-def]
                return value.clone()

            @staticmethod
            def backward(ctx, gradient):  # type: ignore[no-untyped-def]
                raise RuntimeError("compiled with donated buffers")

        student, shares = nn.Linear(2, 1), GradientShares()
        shares.begin(student, {"wavelet": Once.apply(student.weight).sum()})
        shares.end()
        assert shares.steps == 0 and shares.shares == {}

    def test_in_float16(self, models: ModuleType, teachers: Path) -> None:
        """Whose scale is in neither the terms' gradients nor the host's."""
        found = []
        for precision in (None, "fp16"):
            model = model_of(models, teachers, "pix2pix", amp=precision)
            if precision:
                model._run.checkpointer.half.scale = 2.0**8
            train_step(model, 2)
            model._run.summary._shares["G"].end()
            found.append(model._run.summary._shares["G"].shares)
        assert found[0] == pytest.approx(found[1], rel=0.1)

    @pytest.mark.parametrize("name", MODELS)
    def test_change_no_bit_of_the_training(self, models: ModuleType, teachers: Path, name: str) -> None:
        looked, other = (model_of(models, teachers, name) for _ in range(2))
        other._run.summary._prints = False
        for seed in range(3):
            train_step(looked, 2, seed)
            train_step(other, 2, seed)
        assert looked._run.summary._shares[next(iter(GENERATORS[name]))].steps > 0
        for net in looked.model_names:
            ours, theirs = (getattr(model, f"net{net}").state_dict() for model in (looked, other))
            assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def flat_norm(gradients) -> float:  # type: ignore[no-untyped-def]
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None]).norm().item()


class TestSummary:
    @pytest.fixture
    def model(self, models: ModuleType, teachers: Path):  # type: ignore[no-untyped-def]
        return model_of(models, teachers, "pix2pix", n_epochs=2, student_ngf=4)

    def test_looks_at_a_few_steps_of_the_last_epoch(self, model) -> None:  # type: ignore[no-untyped-def]
        looked = []
        for epoch in (1, 2):
            for iteration in range(1, 151):
                model._run.summary.step(epoch, iteration)
                looked += [(epoch, iteration)] if model._run.summary._looks else []
        assert looked == [(2, iteration) for iteration in (1, 2, 4, 8, 16, 32, 50, 100, 150)]

    def test_comes_after_the_last_epoch(self, model, teachers: Path) -> None:  # type: ignore[no-untyped-def]
        (teachers.parent / "student").mkdir(exist_ok=True)
        train_step(model)
        model.save_networks("latest")
        assert model._run.summary.lines() == []
        model.update_learning_rate()
        train_step(model)
        unsaved = model._run.summary.lines()
        assert "note: latest is from epoch 1, 1 step before the end" in unsaved
        model.save_networks("latest")
        ended, sizes, shares, files = model._run.summary.lines()  # there is no test.py to name
        assert ended == "training finished after epoch 2"
        count = [
            sum(p.numel() for p in network.parameters()) for network in (model.netG, model._run.pairs[0].teacher)
        ]
        assert sizes == (
            f"G: student {count[0] / 1e6:.3f} M parameters, teacher {count[1] / 1e6:.3f} M, "
            f"{count[1] / count[0]:.2f} times as many"
        )
        assert shares.startswith("G: shares of its gradient, mean over 1 step of epoch 2: host ")
        assert f"pixel {model._run.summary._shares['G'].shares['pixel']:.0%} (value {model.loss_pixel:.4g})" in shares
        assert files == f"files: latest_net_G.pth, student.json in {teachers.parent / 'student'}"
        model._run.summary.drop()
        assert model._run.summary.lines() == []

    def test_says_that_nothing_was_saved(self, model) -> None:  # type: ignore[no-untyped-def]
        model._run.summary.step(2, 1)
        assert model._run.summary.lines()[-1].startswith("note: nothing was saved as latest: use --save_epoch_freq 1")

    def test_is_printed_at_the_end_unless_an_error_was(
        self, model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:  # type: ignore[no-untyped-def]
        monkeypatch.setattr(summary, "_pending", None)
        monkeypatch.setattr(summary.atexit, "register", lambda function: None)
        for name in ("last_exc", "last_value"):
            monkeypatch.delattr(sys, name, raising=False)
        model._run.summary.print_at_exit()
        model._run.summary.step(2, 1)
        summary._print_pending()
        assert "[distill] training finished after epoch 2" in capsys.readouterr().out
        assert cli.main(["inspect", "nowhere.pth"]) == 2  # an error that kd reports in one line
        capsys.readouterr()
        summary._print_pending()
        assert capsys.readouterr().out == ""


class TestCommands:
    def commands(self, folder: Path, plain: str | None = None, **changes: object) -> list[str]:
        (folder / "test.py").touch()
        opt = Namespace(
            dataroot="data set", name="small", model="pix2pix", checkpoints_dir="./checkpoints", gpu_ids=[0],
            no_dropout=False, crop_size=256, load_size=286, preprocess="resize_and_crop", direction="AtoB",
            dataset_mode="aligned", input_nc=3, output_nc=3, netG="unet_256", ngf=24, norm="batch",
        )  # fmt: skip
        vars(opt).update(changes)
        defaults = {
            "checkpoints_dir": "./checkpoints", "gpu_ids": "0", "no_dropout": opt.model == "cycle_gan",
            "crop_size": 256, "direction": "AtoB", "dataset_mode": "aligned", "input_nc": 3, "output_nc": 3,
        }  # fmt: skip
        found = HowToTest([f"{folder}/train.py"], opt, defaults, opt.model if plain is None else plain).lines()
        return [line.replace(f"{folder}/", "") for line in found]

    def test_name_the_networks(self, tmp_path: Path) -> None:
        shared = "test.py --dataroot 'data set' --name small --model pix2pix"
        assert self.commands(tmp_path) == [
            f"test: kd run {shared}",
            f"test without kd_plugin: python {shared} --netG unet_256 --ngf 24 --norm batch",
        ]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"direction": "BtoA"}, "--direction BtoA"),
            ({"checkpoints_dir": "/data"}, "--checkpoints_dir /data"),
            ({"gpu_ids": []}, "--gpu_ids -1"),
            ({"gpu_ids": [1, 2]}, "--gpu_ids 1,2"),
            ({"input_nc": 1, "dataset_mode": "colorization"}, "--dataset_mode colorization --input_nc 1"),
            ({"crop_size": 64}, "--load_size 64 --crop_size 64"),
            ({"crop_size": 64, "preprocess": "crop"}, "--load_size 64 --crop_size 64"),
            ({"preprocess": "crop", "netG": "resnet_9blocks"}, "--preprocess none"),
            ({"preprocess": "none"}, "--preprocess none"),
            ({"preprocess": "scale_width_and_crop", "load_size": 512}, "--preprocess scale_width --load_size 512"),
        ],
    )
    def test_name_what_differs_from_the_hosts_defaults(self, tmp_path: Path, changes: dict, words: str) -> None:
        ours, plain = self.commands(tmp_path, **changes)
        assert ours.endswith(f"--model pix2pix {words}") and f"--model pix2pix {words} --netG " in plain
        assert self.commands(tmp_path, no_dropout=True)[1].endswith("--norm batch --no_dropout")

    def test_of_a_subclass_of_the_hosts_model(self, tmp_path: Path, models: ModuleType) -> None:
        """Without the plugin, the class that it extends."""
        host_class = models.find_model_using_name("pix2pix")
        plain = model_name(host_class, "distill_pix2pix")
        ours, other = self.commands(tmp_path, plain=plain, model="distill_pix2pix")
        assert "--model distill_pix2pix" in ours and "--model pix2pix " in other
        assert model_name(type(self), "distill_pix2pix") == "distill_pix2pix"

    @pytest.mark.parametrize("changes", [{"plain": ""}, {"model": "cycle_gan"}])
    def test_of_a_student_that_needs_the_plugin(self, tmp_path: Path, changes: dict) -> None:
        """CycleGAN has no dropout, and no option that turns it on."""
        ours, plain = self.commands(tmp_path, **changes)
        assert ours.startswith("test: kd run test.py") and plain.endswith("use kd run")

    def test_without_a_test_script(self) -> None:
        assert HowToTest(["nowhere/train.py"], Namespace(), {}, "pix2pix").lines() == []


def test_lines_come_from_one_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of those that torchrun has started, before they have joined; a variable that something else has set is none."""
    for rank, run_id, said in (("0", "x", True), ("1", "x", False), ("1", "", True)):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
        if run_id:
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", run_id)
        say("a line")
        assert ("a line" in capsys.readouterr().out) == said
