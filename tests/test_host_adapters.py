"""Adapters, schedules and directions in a host's training: both forms of the embedded host, and real hosts."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.commands import run_twice, succeed
from helpers.models import distilling, host_options
from test_mixin import DISTILL, batch, build, class_of

from kd_plugin import KDError
from kd_plugin.losses import feature_loss


def make(models: ModuleType, teachers: Path, name: str = "pix2pix", **changes: object):  # type: ignore[no-untyped-def]
    settings = {**DISTILL, "teacher": str(teachers), **changes}
    model = build(distilling(class_of(models, name)), host_options(teachers.parent, model=name, **settings))
    for distilled in model._run.pairs:
        distilled.distiller.adapters.double()
    return model


def step(model) -> None:  # type: ignore[no-untyped-def]
    model.set_input(batch())
    model.optimize_parameters()


class TestAdapters:
    def test_are_trained_with_the_generator(self, models: ModuleType, teachers: Path) -> None:
        model = make(models, teachers, distill="feature", lambda_feature="10")
        adapters = model._run.pairs[0].distiller.adapters
        before = [p.clone() for p in adapters.parameters()]
        rate = model.optimizer_G.param_groups[0]["lr"]
        step(model)
        moved = [(a - b).abs().max().item() for a, b in zip(adapters.parameters(), before, strict=True)]
        # Adam's first step is the learning rate, whatever the gradient.
        assert moved == pytest.approx([rate] * len(before), rel=1e-3) and len(before) == 2 * 3
        assert len(model.optimizer_G.param_groups) == 1  # the host's schedulers count them

    def test_gradients_equal_those_of_the_explicit_sum(self, models: ModuleType, teachers: Path) -> None:
        model = make(models, teachers, distill="feature", lambda_feature="10", distill_taps="model.12")
        model.set_input(batch())
        model.forward()
        model.fake_B.backward(torch.zeros_like(model.fake_B))  # the terms alone
        distilled = model._run.pairs[0]
        adapter = distilled.distiller.adapters["feature"][0]
        ours = [p.grad.clone() for p in (*adapter.parameters(), *model.netG.model[:13].parameters())]
        for parameter in (*adapter.parameters(), *model.netG.parameters()):
            parameter.grad = None
        (10 * feature_loss(adapter(model.netG.model[:13](model.real_A)), distilled.teacher.model[:13](model.real_A)))\
            .backward()  # fmt: skip
        theirs = [p.grad for p in (*adapter.parameters(), *model.netG.model[:13].parameters())]
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)

    def test_are_saved_restored_and_left_out_of_the_student(
        self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        changes = {"distill": "feature,gram,pixel", "ngf": 4}
        model = make(models, teachers, "cycle_gan", **changes)
        step(model)
        model.save_networks("latest")
        folder = teachers.parent / "student"
        assert {file.name for file in folder.glob("*.pth")} == {
            f"latest_{name}.pth"
            for name in ("net_G_A", "net_G_B", "net_D_A", "net_D_B", "distill_adapters", "distill_state")
        }
        student = torch.load(folder / "latest_net_G_A.pth", weights_only=True)
        assert student.keys() == model.netG_A.state_dict().keys()
        capsys.readouterr()
        again = make(models, teachers, "cycle_gan", **changes, continue_train=True)
        assert "initial weights" not in capsys.readouterr().out
        for one, other in zip(model._run.pairs, again._run.pairs, strict=True):
            pairs = zip(one.distiller.adapters.parameters(), other.distiller.adapters.parameters(), strict=True)
            assert all(torch.equal(a.float(), b.float()) for a, b in pairs)
        with pytest.raises(KDError, match="are for other layers than those of this run"):
            make(
                models, teachers, "cycle_gan", **changes, continue_train=True, distill_taps="model.1,model.4,model.7"
            )
        (folder / "latest_distill_adapters.pth").unlink()
        make(models, teachers, "cycle_gan", **changes, continue_train=True)
        assert "has no adapters of gram for G_B; they keep their initial weights" in capsys.readouterr().out

    def test_none_no_file(self, models: ModuleType, teachers: Path) -> None:
        model = make(models, teachers, distill="pixel")
        model.save_networks("latest")
        assert not list((teachers.parent / "student").glob("*adapters*"))

    def test_making_them_draws_no_random_numbers(self, models: ModuleType, teachers: Path) -> None:
        states = []
        for terms in ("pixel", "pixel,feature"):
            make(models, teachers, distill=terms)
            states.append(torch.get_rng_state())
        assert torch.equal(*states)


class TestSchedules:
    @pytest.mark.parametrize("host_begins_with_it", [False, True])
    def test_follow_the_hosts_epochs(self, models: ModuleType, teachers: Path, host_begins_with_it: bool) -> None:
        """Some hosts update the learning rate at the end of an epoch, those of 2021 to 2024 at its beginning."""
        model = make(models, teachers, distill="pixel,wavelet", lambda_pixel="0@1,4@3", lambda_wavelet="1@2,0@2")
        weights = []
        with torch.no_grad():
            model.set_input(batch())
        for _ in range(4):
            if host_begins_with_it:
                model.update_learning_rate()
            values = []
            for _ in range(2):
                model.forward()
                (distilled,) = model._run.pairs
                alone = distilled.distiller.terms["pixel"].term(model.fake_B, model.teacher_fake_B)
                values.append((model.loss_pixel / alone).item())
                model.fake_B.sum().backward()
            assert values[0] == pytest.approx(values[1])
            weights.append((values[0], model.loss_wavelet.item() > 0))
            if not host_begins_with_it:
                model.update_learning_rate()
        assert [w for w, _ in weights] == pytest.approx([0, 2, 4, 4])
        assert [on for _, on in weights] == [True, False, False, False]

    def test_start_where_the_run_does(self, models: ModuleType, teachers: Path) -> None:
        model = make(models, teachers, distill="pixel", lambda_pixel="0@1,4@3", epoch_count=2)
        model.set_input(batch())
        model.forward()
        assert model._run.pairs[0].distiller.epoch == 2 and model.loss_pixel > 0

    def test_are_recorded_as_given(self, models: ModuleType, teachers: Path) -> None:
        make(models, teachers, distill="pixel", lambda_pixel="0@1,4@3").save_networks("latest")
        assert '"pixel": "0@1,4@3"' in (teachers.parent / "student" / "student.json").read_text()


class TestDirections:
    def test_a_term_for_one_direction(self, models: ModuleType, teachers: Path) -> None:
        model = make(models, teachers, "cycle_gan", distill="wavelet,pixel:G_A")
        step(model)
        losses = model.get_current_losses()
        assert {name for name in losses if "wavelet" in name or "pixel" in name} == {
            "wavelet_A", "wavelet_B", "pixel_A",
        }  # fmt: skip

    def test_a_direction_without_terms_needs_no_teacher(self, models: ModuleType, teachers: Path) -> None:
        (teachers / "latest_net_G_B.pth").unlink()
        model = make(models, teachers, "cycle_gan", distill="wavelet:G_A,pixel:G_A")
        assert [d.pair.net for d in model._run.pairs] == ["G_A"]

    def test_taps_of_a_term_for_one_direction(self, models: ModuleType, teachers: Path) -> None:
        model = make(models, teachers, "cycle_gan", distill="wavelet,srp:G_A", srp_layers="model.9")
        assert [list(d.distiller.taps) for d in model._run.pairs] == [["srp"], []]

    def test_a_file_for_the_one_generator_that_has_a_teacher(self, models: ModuleType, teachers: Path) -> None:
        host = class_of(models, "cycle_gan")(host_options(teachers.parent, model="cycle_gan"))
        torch.save(host.netD_A.state_dict(), teachers / "judge.pth")
        given = {"teacher": "", "teacher_G_A": str(teachers / "latest_net_G_A.pth")}
        files = {"discriminator_file": str(teachers / "judge.pth")}
        (one,) = make(models, teachers, "cycle_gan", distill="discriminator", **given, **files)._run.pairs
        assert one.distiller.terms["discriminator"].term.file == files["discriminator_file"]

    @pytest.mark.parametrize(
        ("changes", "noted"),
        [
            ({"distill": "wavelet"}, True),
            ({"distill": "srp", "srp_layers": "model.12"}, True),
            ({"distill": "srp"}, False),
            ({"distill": "attention,srp", "srp_layers": "model.12"}, False),
        ],
    )
    def test_taps_that_no_term_reads_are_noted(
        self, models: ModuleType, teachers: Path, changes: dict, noted: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        make(models, teachers, distill_taps="model.9", **changes)
        assert ("--distill_taps has no effect" in capsys.readouterr().out) is noted

    @pytest.mark.parametrize(
        ("name", "changes", "message"),
        [
            ("cycle_gan", {"distill": "wavelet:G_C"}, "wavelet:G_C: this model has the generators G_A, G_B, not G_C"),
            ("pix2pix", {"distill": "wavelet:G_A"}, "wavelet:G_A: this model has the generators G, not G_A"),
            ("pix2pix", {"distill": "wavelet:"}, "name a generator after the colon, such as wavelet:G_A"),
            ("pix2pix", {"distill": "wavelet:G,wavelet"}, "names wavelet twice: give wavelet for all generators"),
            (
                "cycle_gan",
                {"distill": "discriminator", "discriminator_file": "D.pth"},
                "is one file for G_A and G_B: remove it .* or distil with discriminator:G_A",
            ),
            (
                "cycle_gan",
                {"distill": "wavelet:G_A", "teacher_G_B": "{}/latest_net_G_B.pth"},
                "no generator G_B to distil, only G_A",
            ),
            (
                "pix2pix",
                {"distill": "discriminator"},
                r"latest_net_D\.pth' is not a file: give",
            ),
        ],
    )
    def test_refused_with_one_line(
        self, models: ModuleType, teachers: Path, name: str, changes: dict, message: str
    ) -> None:
        changes = {key: value.format(teachers) for key, value in changes.items()}
        with pytest.raises(KDError, match=message):
            make(models, teachers, name, **changes)


@pytest.mark.parametrize("name", ["pix2pix", "cycle_gan"])
def test_the_teachers_discriminators_are_found_beside_it(models: ModuleType, teachers: Path, name: str) -> None:
    """As the host saved them: pix2pix's judges pairs, CycleGAN's single pictures, each its own direction."""
    host = class_of(models, name)(host_options(teachers.parent, model=name))
    for net in host.model_names:
        if net.startswith("D"):
            torch.save(getattr(host, f"net{net}").state_dict(), teachers / f"latest_net_{net}.pth")
    model = make(models, teachers, name, distill="discriminator,pixel")
    for distilled in model._run.pairs:
        term = distilled.distiller.terms["discriminator"].term
        assert term.file == str(teachers / f"latest_net_D{distilled.pair.suffix}.pth")
    step(model)
    losses = {k: v for k, v in model.get_current_losses().items() if "discriminator" in k}
    assert len(losses) == len(model._run.pairs) and all(value > 0 for value in losses.values())


@pytest.mark.slow
def test_gradients_on_two_processes(tmp_path: Path) -> None:
    """Those of one process on the joined batch, for the student, whose terms ride on its images, and for adapters.

    DistributedDataParallel averages the student's alone; adapters that drift apart would be several teachers.
    """
    (tmp_path / "script.py").write_text(
        """
import copy
import torch
from torch import distributed, nn
from kd_plugin import Distiller, GeneratorSpec
from kd_plugin.distillation.attach import attach
from kd_plugin.training.adapter_training import train_adapters
from kd_plugin.networks.generator import build_generator
from kd_plugin.distillation.precision import HalfPrecision
distributed.init_process_group("gloo")
spec = [GeneratorSpec("resnet", 3, 3, ngf, 1, "instance", False, True) for ngf in (2, 3)]
torch.manual_seed(0)
student, teacher = build_generator(spec[0]), build_generator(spec[1]).requires_grad_(False)
distiller = Distiller(student, teacher, "feature")
train_adapters(distiller, [torch.optim.SGD(student.parameters(), 0.1)], "G")
rank = distributed.get_rank()
images = torch.rand(2, 3, 16, 16)

def gradient(part):
    distiller.adapters.zero_grad()
    distiller(part).total.backward()
    return [p.grad.clone() for p in distiller.adapters.parameters()]

averaged = gradient(images[rank : rank + 1])
joined = gradient(images)  # the same on both, which averaging leaves
for a, b in zip(averaged, joined):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)

def step(network, part):
    terms = {"wavelet": 100.0, "srp": 1000.0, "ssim": 20.0, "frequency": 20.0}
    compare = Distiller(network, teacher, terms, options={"wavelet_levels": 2})
    with compare.record() as recorder:
        network(part)
    result = compare.distill(recorder.calls[-1])
    fake, _ = attach(result.output, result.total)
    network.zero_grad()
    fake.square().mean().backward()  # the host's one backward pass
    return [p.grad.clone() for p in network.parameters()]

ours = step(nn.parallel.DistributedDataParallel(student), images[rank : rank + 1])
alone = step(student, images)
assert max(g.abs().max() for g in alone) > 0
for a, b in zip(ours, alone):
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(max(g.abs().max() for g in alone)))
# Scaled gradients are unscaled before they are averaged, so nothing changes for equal batches.
found = []
for wrap in (nn.Module.eval, nn.parallel.DistributedDataParallel):
    network = wrap(copy.deepcopy(student))
    half = HalfPrecision("fp16", "cpu")
    half.run(network)
    network(images).square().mean().backward()
    found.append([p.grad.clone() for p in network.parameters()])
assert all(a.any() and torch.equal(a, b) for a, b in zip(*found))
print("averaged")
"""
    )
    for process in run_twice(["script.py"], tmp_path):
        assert succeed(process).stdout.count("averaged") == 1
