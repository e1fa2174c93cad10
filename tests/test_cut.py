"""Particulars of contrastive-unpaired-translation: joined batches, late setup, custom generators.

Tested on classes that do the same in the embedded host, and on a real checkout if KD_CUT is set.
"""

from __future__ import annotations

import os
import re
import shutil
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.commands import LAUNCH, run, succeed
from helpers.models import distil_options, distilling, host_batch, host_options, set_up, train_step
from helpers.tensors import flat, random
from torch import nn

from kd_plugin import GeneratorSpec, KDError, load_teacher
from kd_plugin.cli import main
from kd_plugin.losses import pixel_loss, semantic_relation_loss
from kd_plugin.networks.generator import build_generator
from kd_plugin.networks.taps import Recorder
from kd_plugin.training.state import RunState

CUT = os.environ.get("KD_CUT", "")
SPEC = GeneratorSpec("resnet", 3, 3, 4, 2, "instance", False, True)


class TestPartsOfABatch:
    def record(self) -> tuple[Recorder, torch.Tensor, torch.Tensor]:
        network = build_generator(SPEC).double()
        images = random(5, 3, 16, 16)
        with Recorder(network, ["model.9"]) as recorder:
            output = network(images)
        return recorder, images, output

    @pytest.mark.parametrize("part", [slice(0, 2), slice(2, 5), slice(3, 4), slice(0, 5)])
    @pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
    def test_are_found(self, part: slice, mode) -> None:  # type: ignore[no-untyped-def]
        with mode():
            recorder, images, output = self.record()
            view = output[part]
        call = recorder.find(view)
        assert call is not None and call.output is view
        assert torch.equal(call.input, images[part])
        assert torch.equal(call.features["model.9"], recorder.calls[0].features["model.9"][part])

    @pytest.mark.parametrize(
        "other",
        [
            lambda x: x[:, :2], lambda x: x[..., 1:], lambda x: x.transpose(2, 3), lambda x: x[::2],
            lambda x: x.flatten(0, 1)[:3], lambda x: x[:2].clone(), lambda x: x[:2] * 1,
        ],
    )  # fmt: skip
    def test_what_is_no_run_of_images_is_not(self, other) -> None:  # type: ignore[no-untyped-def]
        recorder, _, output = self.record()
        assert recorder.find(other(output)) is None


def joined(models: ModuleType) -> type:
    """pix2pix that translates both domains in one batch, as CUT does for its identity loss."""
    base = models.find_model_using_name("pix2pix")

    def forward(self) -> None:  # type: ignore[no-untyped-def]
        self.fake = self.netG(torch.cat((self.real_A, self.real_B)))
        self.fake_B = self.fake[: len(self.real_A)]

    host_class = type("Joined", (base,), {"forward": forward, "__module__": base.__module__})
    return distilling(host_class)


def options(teachers: Path, **changes: object) -> Namespace:
    given = {"distill": "pixel,srp", "lambda_pixel": "5", "lambda_srp": "300", **changes}
    return distil_options(teachers, **given)


def test_gradients_of_a_joined_batch(models: ModuleType, teachers: Path) -> None:
    """Those of the explicit sum, on the images of the first domain alone."""
    model = set_up(joined(models), options(teachers, student_netG=None))
    model.netG.double()
    model._run.pairs[0].teacher.double()
    model.set_input({key: v.double() if isinstance(v, torch.Tensor) else v for key, v in host_batch(2).items()})
    model.forward()
    model.fake_B.mul(0).sum().backward()  # the terms alone
    ours = [p.grad.clone() for p in model.netG.parameters()]
    model.netG.zero_grad()
    teacher, images = model._run.pairs[0].teacher, model.real_A
    features, wanted = model.netG.model[:13](images), teacher.model[:12](images)
    loss = 5 * pixel_loss(model.netG(images), teacher(images)) + 300 * semantic_relation_loss(features, wanted)
    loss.backward()
    for found, parameter in zip(ours, model.netG.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad, rtol=1e-8, atol=1e-10)
    assert max(g.abs().max() for g in ours) > 0
    torch.testing.assert_close(model.teacher_fake_B, teacher(images))


class Unusual(nn.Module):
    """A generator that no one outside its host knows."""

    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__()
        self.inner = inner
        self.extra = nn.Conv2d(3, 3, 1)
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.extra(self.inner(x)))


class TestTeachersOfTheHostsOwn:
    @pytest.fixture
    def unusual(self, models: ModuleType, teachers: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        """A host whose generators are its own, and a teacher among them."""
        original = models.networks.define_G

        def define_G(input_nc, output_nc, ngf, netG, norm="batch", use_dropout=False, init_type="normal",
                     init_gain=0.02, gpu_ids=()):  # type: ignore[no-untyped-def]  # fmt: skip
            print("initialize network with normal")
            return Unusual(original(input_nc, output_nc, ngf, netG, norm, use_dropout, init_type, init_gain), ngf)

        monkeypatch.setattr(models.networks, "define_G", define_G)
        torch.manual_seed(5)
        teacher = define_G(3, 3, 7, "resnet_9blocks", "instance")
        torch.save({f"module.{key}": t for key, t in teacher.state_dict().items()}, teachers / "latest_net_G.pth")
        return models

    def build(self, models: ModuleType, opt: Namespace):  # type: ignore[no-untyped-def]
        return set_up(distilling(models.find_model_using_name("pix2pix")), opt, seed=0)

    def test_are_built_by_the_host(
        self, unusual: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """At the width of the file, and of the host's --netG, whatever the student's; no random number is drawn."""
        opt = options(teachers, netG="resnet_9blocks", student_netG="resnet_6blocks", student_ngf=3)
        opt.distill = "pixel"
        model = self.build(unusual, opt)
        state = torch.get_rng_state()
        teacher = model._run.pairs[0].teacher
        saved = torch.load(teachers / "latest_net_G.pth", weights_only=True)
        assert teacher.width == 7 and model.netG.width == 3
        assert all(torch.equal(t, saved[f"module.{key}"]) for key, t in teacher.state_dict().items())
        assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
        assert "teacher" in capsys.readouterr().out
        plain = host_options(teachers.parent, ngf=3)
        set_up(unusual.find_model_using_name("pix2pix"), plain, seed=0)
        assert torch.equal(torch.get_rng_state(), state)
        train_step(model, 2)
        torch.testing.assert_close(model.teacher_fake_B, teacher(model.real_A))

    @pytest.mark.parametrize("norm", ["batch", "instance"])
    def test_have_the_norm_of_their_file(self, unusual: ModuleType, teachers: Path, norm: str) -> None:
        teacher = unusual.networks.define_G(3, 3, 7, "resnet_9blocks", norm)
        torch.save(teacher.state_dict(), teachers / "latest_net_G.pth")
        for own in ("batch", "instance"):
            given = {"netG": "resnet_9blocks", "student_netG": None, "student_ngf": 3, "distill": "pixel"}
            opt = options(teachers, **given, norm=own)
            model = self.build(unusual, opt)
            kinds = [{type(m) for m in network.modules()} for network in (model._run.pairs[0].teacher, model.netG)]
            assert [nn.BatchNorm2d in kind for kind in kinds] == [norm == "batch", own == "batch"]

    def test_that_it_cannot_build_are_refused(self, unusual: ModuleType, teachers: Path) -> None:
        opt = options(teachers, netG="resnet_6blocks", student_netG=None, student_ngf=3)
        with pytest.raises(
            KDError, match="it does not match --netG resnet_6blocks of this host at ngf 7 either: "
        ) as caught:
            self.build(unusual, opt)
        assert "\n" not in str(caught.value)

    def test_budgets_need_one_of_the_family(self, unusual: ModuleType, teachers: Path) -> None:
        opt = options(teachers, netG="resnet_9blocks", student_budget="macs=7x")
        with pytest.raises(KDError, match="--student_budget macs=7x: the cost of the teacher is unknown"):
            self.build(unusual, opt)


class TestLayers:
    """Generators of ours in CUT are asked for the outputs of layers."""

    def test_are_those_of_the_modules(self) -> None:
        network, x = build_generator(SPEC).eval(), torch.rand(1, 3, 16, 16)
        images, features = network(x, layers=[0, 4, 8, 11])
        assert torch.equal(images, network(x)) and len(features) == 4
        for index, feature in zip((0, 4, 8, 11), features, strict=True):
            expected = network.model[: index + 2 if index in (4, 8) else index + 1](x)
            kept = network.model[: index + 1](x)
            # What an in-place activation follows is seen with it applied, as in the host.
            assert torch.equal(feature, expected) or torch.equal(feature, kept)

    def test_encode_only_stops(self) -> None:
        network, ran = build_generator(SPEC), []
        for index, module in enumerate(network.model):
            module.register_forward_hook(lambda *_, index=index: ran.append(index))
        features = network(torch.rand(1, 3, 16, 16), [0, 4], encode_only=True)
        assert len(features) == 2 and ran == [0, 1, 2, 3, 4]


class TestLateSetup:
    """The first batch is drawn, and networks are made by it, before ``setup``."""

    def train(  # type: ignore[no-untyped-def]
        self, models: ModuleType, opt: Namespace, epochs: range, stop: tuple[int, int] = (0, 0)
    ):
        """Train three batches an epoch, or stop with a save after some of one."""
        base = models.find_model_using_name("pix2pix")

        class Late(base):  # type: ignore[misc, valid-type]
            def data_dependent_initialize(self, data: dict) -> None:
                self.set_input(data)
                self.forward()
                self.backward_D()
                self.initial = torch.rand(5)  # as new layers would draw them

        torch.manual_seed(1)
        model = distilling(Late)(opt)
        for epoch in epochs:
            order = torch.randperm(3)  # as a loader does when it begins
            for number, i in enumerate(order.tolist(), 1):
                if epoch == epochs[0] and i == order[0]:
                    model.data_dependent_initialize(host_batch(1, i))
                    model.setup(opt)
                model.set_input(host_batch(1, i))
                model.real_A = model.real_A + 0.01 * torch.rand_like(model.real_A)
                model.optimize_parameters()
                if (epoch, number) == stop:
                    model.save_networks("latest")
                    return model
            model.save_networks("latest")
            model.update_learning_rate()
        return model

    @pytest.mark.parametrize("stop", [(1, 1), (1, 2), (1, 4), (2, 2), (2, 3)])
    def test_a_continued_run_is_exact(
        self, models: ModuleType, teachers: Path, stop: tuple[int, int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Stopped inside the epoch of its set-up, after it, or inside a later one."""
        whole = self.train(models, options(teachers, name="whole", n_epochs=2), range(1, 3))
        self.train(models, options(teachers, name="halves", n_epochs=2), range(1, stop[0] + 1), stop)
        epoch = 2 if stop == (1, 4) else stop[0]
        going_on = options(teachers, name="halves", n_epochs=2, continue_train=True, epoch_count=epoch)
        capsys.readouterr()
        again = self.train(models, going_on, range(epoch, 3))
        said = capsys.readouterr().out
        where = "after epoch 1" if stop == (1, 4) else f"after {stop[1]} steps of epoch {stop[0]}: its first"
        assert f"continuing {where}" in said and "uninterrupted" not in said
        states = [RunState.read(teachers.parent / name) for name in ("whole", "halves")]
        for one, other in zip(*(flat(vars(state)) for state in states), strict=True):
            assert torch.equal(one, other)
        assert torch.equal(flat(whole.netG.state_dict())[0], flat(again.netG.state_dict())[0])

    def test_networks_wrapped_after_it_are_followed(self, models: ModuleType, teachers: Path) -> None:
        """DataParallel, as CUT does; without GPUs it calls the network itself."""
        cls = joined(models)
        bare, wrapped = (set_up(cls, options(teachers)) for _ in range(2))
        wrapped.netG = nn.DataParallel(wrapped.netG)
        for model in (bare, wrapped):
            train_step(model, 2)
        for one, other in zip(bare.netG.parameters(), wrapped.netG.parameters(), strict=True):
            assert torch.equal(one, other)
        assert wrapped.loss_srp == bare.loss_srp > 0
        wrapped.netG.device_ids = [0, 1]
        wrapped.netG = wrapped.netG.module
        train_step(wrapped, 2)
        wrapped.netG = nn.DataParallel(wrapped.netG)
        wrapped.netG.device_ids = [0, 1]
        with pytest.raises(KDError, match=r"--distill srp cannot read the layers .* on 2 GPUs"):
            train_step(wrapped, 2)


@pytest.mark.hosts
@pytest.mark.skipif(not CUT, reason="KD_CUT is not set: no contrastive-unpaired-translation was run")
def test_the_real_one_continues_exactly(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = (
        f"--dataroot {images}/unpaired --checkpoints_dir {tmp_path} --CUT_mode CUT --gpu_ids -1 --display_id 0 "
        "--load_size 36 --crop_size 32 --num_threads 0 --n_epochs 2 --n_epochs_decay 1 --save_epoch_freq 1 --ndf 4 "
        "--no_html --num_patches 16 --print_freq 1 --netG resnet_6blocks"
    )
    host = Path(CUT)
    # Another norm than CUT's default, which the student takes over, and continued runs and tests with it.
    teacher = build_generator(GeneratorSpec("resnet", 3, 3, 6, 6, "batch", False, True))
    (tmp_path / "big").mkdir()
    torch.save(teacher.state_dict(), tmp_path / "big" / "latest_net_G.pth")
    distil = f"kd run train.py --model cut --distill pixel,feature --teacher {tmp_path}/big --student_ngf 4 {shared}"
    succeed(run([LAUNCH, *f"{distil} --name whole".split()], host))
    monkeypatch.setenv("KD_STOP_AFTER", "1")
    assert run([LAUNCH, *f"{distil} --name halves".split()], host).returncode == 9
    monkeypatch.delenv("KD_STOP_AFTER")

    def make_loadable() -> None:
        for file in (tmp_path / "halves").glob("latest_net_*.pth"):  # on a CPU, CUT cannot load what it saves
            state = torch.load(file, weights_only=True)
            torch.save({key.removeprefix("module."): tensor for key, tensor in state.items()}, file)

    make_loadable()
    again = succeed(run([LAUNCH, *f"{distil} --name halves --continue_train".split()], host))
    assert "continuing after epoch 1" in again.stdout
    states = [RunState.read(tmp_path / name) for name in ("whole", "halves")]
    for one, other in zip(*(flat(vars(state)) for state in states), strict=True):
        assert torch.equal(one, other)
    assert any("running_mean" in key for key in states[0].networks["G"])  # type: ignore[union-attr]
    make_loadable()
    test = f"kd run test.py --model cut --name halves --dataroot {images}/unpaired --checkpoints_dir {tmp_path}"
    test += f" --gpu_ids -1 --phase test --results_dir {tmp_path}/results --load_size 32 --crop_size 32"
    succeed(run([LAUNCH, *test.split()], host))
    assert len(list((tmp_path / "results").rglob("fake_B/*.png"))) == 4


@pytest.mark.hosts
@pytest.mark.skipif(not CUT, reason="KD_CUT is not set: no contrastive-unpaired-translation was run")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_contrastive_loss_of_the_real_one_in_half_precision(images: Path, tmp_path: Path, precision: str) -> None:
    """It begins at log(1 + 16) for 16 patches, like that in float32."""
    (tmp_path / "big").mkdir()
    teacher = build_generator(GeneratorSpec("resnet", 3, 3, 6, 6, "instance", False, True))
    torch.save(teacher.state_dict(), tmp_path / "big" / "latest_net_G.pth")
    distil = (
        f"kd run train.py --model cut --name student --distill pixel --teacher {tmp_path}/big --student_ngf 4 "
        f"--amp {precision} --dataroot {images}/unpaired --checkpoints_dir {tmp_path} --CUT_mode CUT --gpu_ids -1 "
        f"--display_id 0 --load_size 32 --crop_size 32 --num_threads 0 --n_epochs 2 --n_epochs_decay 0 --ndf 4 "
        f"--no_html --num_patches 16 --print_freq 1 --netG resnet_6blocks"
    )
    succeed(run([LAUNCH, *distil.split()], Path(CUT)))
    losses = re.findall(r" NCE: (\S+)", (tmp_path / "student" / "loss_log.txt").read_text())
    assert len(losses) == 8 and all(2 < float(loss) < 6 for loss in losses)


@pytest.mark.hosts
@pytest.mark.skipif(not CUT, reason="KD_CUT is not set: no contrastive-unpaired-translation was run")
@pytest.mark.parametrize("mode", ["CUT", "FastCUT"])
@pytest.mark.parametrize("way", ["runner", "patch"])
def test_the_real_one(images: Path, tmp_path: Path, mode: str, way: str) -> None:
    host = tmp_path / "host"
    shutil.copytree(CUT, host, ignore=shutil.ignore_patterns("checkpoints", "results", ".git"))
    shared = (
        f"--dataroot {images}/unpaired --checkpoints_dir {tmp_path} --CUT_mode {mode} --gpu_ids -1 --display_id 0 "
    )
    shared += "--load_size 32 --crop_size 32 --num_threads 0 --n_epochs 1 --n_epochs_decay 0 "
    shared += "--save_epoch_freq 1 --ndf 4 --no_html --num_patches 16 --print_freq 1 --netG resnet_6blocks"
    succeed(run([LAUNCH, *f"plain train.py --model cut --name big --ngf 6 {shared}".split()], host))
    distill = f"--name small --distill wavelet,srp --teacher {tmp_path}/big --student_ngf 4 {shared}"
    if way == "patch":
        assert main(["patch", str(host)]) == 0
    command = "kd run train.py --model cut" if way == "runner" else "plain train.py --model distill_cut"
    succeed(run([LAUNCH, *command.split(), *distill.split()], host))
    log = (tmp_path / "small" / "loss_log.txt").read_text()
    assert " wavelet: " in log and " srp: " in log and "nan" not in log
    assert (
        torch.load(tmp_path / "small" / "latest_net_G.pth", weights_only=True)["module.model.1.weight"].shape[0] == 4
    )
    # CUT's own networks with antialiasing
    with pytest.raises(KDError, match="it is an antialiased generator of contrastive"):
        load_teacher(tmp_path / "big" / "latest_net_G.pth")
