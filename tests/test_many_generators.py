"""Models of many generators, of generators with other inputs and outputs: against the explicit sum of the losses."""

from __future__ import annotations

import copy
import inspect
import random
import sys
import warnings
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers.models import distil_options, distilling, host_batch, set_up, train_step
from torch import nn

from kd_plugin import GeneratorSpec, KDError
from kd_plugin.losses import pixel_loss
from kd_plugin.networks.generator import build_generator
from kd_plugin.training.rng import kept_rng_state

NETS = ("G1", "G2", "GS0", "GS1")
SPEC = GeneratorSpec("resnet", 3, 3, 6, 2, "batch", False, False)


def network(models: ModuleType, opt: Namespace) -> nn.Module:
    networks: Any = sys.modules[models.find_model_using_name("pix2pix").__module__].networks
    taken = inspect.signature(networks.define_G).parameters
    more = {"gpu_ids": opt.gpu_ids} if "gpu_ids" in taken else {}
    return networks.define_G(3, 3, opt.ngf, opt.netG, "batch", False, "normal", 0.02, **more)  # type: ignore[no-any-return]


def stain_model(models: ModuleType, lists: bool = False) -> type:
    """A model as DeepLIIF's: segmentation generators read others' outputs, and forward mixes their images."""
    base = models.find_model_using_name("pix2pix").__mro__[1]

    class StainModel(base):  # type: ignore[misc, valid-type]
        def __init__(self, opt: Namespace) -> None:
            super().__init__(opt)
            names = [f"G_{i + 1}" for i in range(4)] if lists else list(NETS)
            self.model_names, self.loss_names, self.visual_names = names, ["G"], ["real_A"]
            built = [network(models, opt) for _ in NETS]
            self.netE = nn.Sequential(nn.BatchNorm2d(3), nn.utils.spectral_norm(nn.Conv2d(3, 3, 1)))  # no generator
            self.passes: list[int] = []
            if lists:
                self.netG = built
            else:
                self.netG1, self.netG2, self.netGS0, self.netGS1 = built
            parameters = [p for net in built for p in net.parameters()]
            self.optimizer_G = torch.optim.Adam(parameters, lr=1e-3)
            self.optimizers = [self.optimizer_G]

        def setup(self, opt: Namespace) -> None:
            if not lists:  # which the base class does not know
                super().setup(opt)

        def set_input(self, given: dict) -> None:
            self.real_A, self.real_B = given["A"], given["B"]

        def forward(self) -> None:
            first, second, whole, part = self.netG if lists else (self.netG1, self.netG2, self.netGS0, self.netGS1)
            self.passes.append(len(self.passes))
            self.noise = torch.rand(1) + random.random() + np.random.rand()  # of all sources of random numbers
            self.code = self.netE(self.real_A)
            with torch.no_grad():
                self.shown = first(self.real_B)  # a pass that trains nothing
            one, two = first(self.real_A), second(self.real_A)
            seg, seg_1 = whole(self.real_A), part(one)
            if lists:
                self.fake_B, self.fake_S = [one, two], [seg, seg_1]
            else:
                self.fake_B_1, self.fake_B_2, self.fake_S_0, self.fake_S_1 = one, two, seg, seg_1
            self.fake = 0.25 * seg + 0.75 * seg_1
            self.images = one, two

        def calculate_losses(self) -> None:
            """As in DeepLIIF's validation, outside a step."""
            self.forward()
            self.optimizer_G.zero_grad()
            self.loss_G = sum(((image - self.real_B) ** 2).mean() for image in (*self.images, self.fake))
            self.loss_G.backward()

        def optimize_parameters(self) -> None:
            self.calculate_losses()
            self.optimizer_G.step()

    return StainModel


def generators(model: Any) -> list[nn.Module]:
    return (
        list(model.netG)
        if isinstance(getattr(model, "netG", None), list)
        else [getattr(model, f"net{n}") for n in NETS]
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a teacher for every generator, under both kinds of names."""
    found = tmp_path / "teacher"
    found.mkdir()
    for seed, names in enumerate(zip(NETS, ("G_1", "G_2", "G_3", "G_4"), strict=True)):
        torch.manual_seed(seed)
        state = build_generator(SPEC).state_dict()
        for name in names:
            torch.save(state, found / f"latest_net_{name}.pth")
    return found


def options(folder: Path, **changes: object) -> Namespace:
    settings = {"distill": "pixel", "lambda_pixel": 5.0, "norm": "batch", "student_netG": None, **changes}
    return distil_options(folder, **settings)


@pytest.mark.parametrize("lists", [False, True], ids=["attributes", "lists"])
class TestManyGenerators:
    def test_gradients_are_those_of_the_explicit_sum(self, models: ModuleType, folder: Path, lists: bool) -> None:
        model = set_up(distilling(stain_model(models, lists)), options(folder))
        for net in (*generators(model), model.netE, *(d.teacher for d in model._run.pairs)):
            net.double()
        before = [copy.deepcopy(net.state_dict()) for net in generators(model)]
        batch = {key: value.double() if key in "AB" else value for key, value in host_batch(2).items()}
        model.set_input(batch)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            model.optimize_parameters()
        found = [[p.grad.clone() for p in net.parameters()] for net in generators(model)]

        plain = set_up(stain_model(models, lists), options(folder))
        for net, state in zip(generators(plain), before, strict=True):
            net.double().load_state_dict(state)
        plain.netE.double()
        plain.set_input(batch)
        plain.forward()
        loss = sum(((image - plain.real_B) ** 2).mean() for image in (*plain.images, plain.fake))
        outputs = (
            [*plain.fake_B, *plain.fake_S]
            if lists
            else [plain.fake_B_1, plain.fake_B_2, plain.fake_S_0, plain.fake_S_1]
        )
        teachers = [pair.teacher for pair in model._run.pairs]
        inputs = [plain.real_A, plain.real_A, plain.real_A, outputs[0].detach()]
        with torch.no_grad():
            wanted = [teacher(images) for teacher, images in zip(teachers, inputs, strict=True)]
        for output, target in zip(outputs, wanted, strict=True):
            loss = loss + 5 * pixel_loss(output, target)
        loss.backward()
        for ours, net in zip(found, generators(plain), strict=True):
            for gradient, parameter in zip(ours, net.parameters(), strict=True):
                torch.testing.assert_close(gradient, parameter.grad, rtol=1e-7, atol=1e-9)

    def test_the_watched_pass_leaves_no_trace(self, models: ModuleType, folder: Path, lists: bool) -> None:
        """Weights, running statistics and random numbers after a step are those of a model that is not watched."""
        states, numbers = [], []
        for weight in (0.0, None):
            cls = stain_model(models, lists)
            changes = {"lambda_pixel": weight} if weight is not None else {}
            model = set_up(distilling(cls) if changes else cls, options(folder, **changes))
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
            train_step(model)
            states.append([net.state_dict() for net in (*generators(model), model.netE)])
            numbers.append([torch.rand(1).item(), model.noise.item(), random.random(), np.random.rand()])
            assert model.passes == [0]
        torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
        assert numbers[0] == numbers[1]

    def test_losses_are_logged_by_generator(
        self, models: ModuleType, folder: Path, lists: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = set_up(distilling(stain_model(models, lists)), options(folder))
        train_step(model)
        names = (
            {"pixel_1", "pixel_2", "pixel_3", "pixel_4"} if lists else {"pixel_1", "pixel_2", "pixel_S0", "pixel_S1"}
        )
        assert names <= set(model.get_current_losses())
        said = capsys.readouterr().out
        reader, source, held = ("G_4", "G_1", "fake_S[1]") if lists else ("GS1", "G1", "fake_S_1")
        assert f"{reader}: translates the output of {source} to '{held}'" in said


def validate(model: Any, seed: int = 9) -> None:
    """Compute the losses of other images in eval mode, with gradients, between two steps."""
    for net in generators(model):
        net.eval()
    model.set_input(host_batch(1, seed))
    model.calculate_losses()
    for net in generators(model):
        net.train()


class TestValidationWithGradients:
    """DeepLIIF's ``--with-val`` runs forward and backward passes between two epochs, with gradients."""

    @pytest.mark.parametrize("lists", [False, True], ids=["attributes", "lists"])
    def test_the_training_is_as_without_it(self, models: ModuleType, folder: Path, lists: bool) -> None:
        ends, shares = [], []
        for validates in (False, True):
            model = set_up(distilling(stain_model(models, lists)), options(folder, distill="pixel,srp", kd_watch=1))
            train_step(model)
            if validates:
                with kept_rng_state():  # the host's own draws
                    validate(model)
            shares.append({k: v for k, v in model.get_current_losses().items() if k.startswith("share_")})
            train_step(model, seed=1)
            steps = model._run.checkpointer.steps
            assert (steps.epoch, steps.iteration) == (1, 2)
            ends.append([net.state_dict() for net in generators(model)])
        torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)
        assert shares[0] == shares[1] and len(shares[0]) == 12

    def test_the_terms_are_those_of_its_images(self, models: ModuleType, folder: Path) -> None:
        model = set_up(distilling(stain_model(models)), options(folder, teacher_mode="train"))
        train_step(model)
        torch.manual_seed(4)
        random.seed(4)
        validate(model)
        drawn = torch.rand(1)
        found = model.get_current_losses()
        for pair, suffix, images in zip(
            model._run.pairs, ("1", "2", "S0", "S1"), ("real_A", "real_A", "real_A", "fake_B_1"), strict=True
        ):
            net = getattr(model, f"net{pair.pair.net}").eval()
            given = getattr(model, images)
            with torch.no_grad():
                expected = 5 * pixel_loss(net(given), pair.teacher(given))
            assert found[f"pixel_{suffix}"] == pytest.approx(expected.item(), rel=1e-5)
        torch.manual_seed(4)
        torch.rand(1)  # that of the host's forward pass
        assert torch.equal(drawn, torch.rand(1))

    def test_before_the_first_step_of_a_continued_run(self, models: ModuleType, folder: Path) -> None:
        """The batches that it skips are no steps either, nor is the validation after them."""
        model = set_up(distilling(stain_model(models)), options(folder))
        train_step(model)
        model.save_networks("latest")
        again = set_up(distilling(stain_model(models)), options(folder, continue_train=True), seed=7)
        train_step(again)  # skipped
        before = copy.deepcopy([net.state_dict() for net in generators(again)])
        validate(again)
        steps = again._run.checkpointer.steps
        assert (steps.epoch, steps.iteration) == (1, 1)
        torch.testing.assert_close([net.state_dict() for net in generators(again)], before, rtol=0, atol=0)


@pytest.mark.parametrize("net_gs", [None, []], ids=["segments", "does not segment"])
def test_a_run_is_continued_as_it_was_without_a_learning_rate_option(
    models: ModuleType, folder: Path, net_gs: list[str] | None
) -> None:
    """DeepLIIF has two, for generators and discriminators; its CycleGAN has no architecture of segmentations."""
    more = {} if net_gs is None else {"net_gs": net_gs}
    opt = options(folder, **more)
    del opt.lr
    model = set_up(distilling(stain_model(models)), opt)
    train_step(model)
    model.save_networks("latest")
    train_step(model, seed=1)
    again = options(folder, continue_train=True, epoch_count=1, **more)
    del again.lr
    continued = set_up(distilling(stain_model(models)), again, seed=7)
    train_step(continued)  # of before the save: loaded again, not trained on
    train_step(continued, seed=1)
    for ours, theirs in zip(generators(continued), generators(model), strict=True):
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


def test_an_architecture_that_the_model_does_not_read_is_refused(models: ModuleType, folder: Path) -> None:
    """DeepLIIFExt reads the host's --net-g from an option of another name."""

    class OtherModel(stain_model(models)):  # type: ignore[misc]
        def __init__(self, opt: Namespace) -> None:
            super().__init__(Namespace(**{**vars(opt), "netG": opt.net_g}))

    given = {"netG": ["resnet_1blocks"], "net_g": "resnet_1blocks", "student_ngf": 3}
    with pytest.raises(KDError, match="--student_netG resnet_2blocks has no effect on --model pix2pix"):
        set_up(distilling(OtherModel), options(folder, student_netG="resnet_2blocks", **given))
    set_up(distilling(OtherModel), options(folder, **given))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"student_conv": "separable"}, r"--student_conv separable: separable convolutions are for residual blocks"),
        ({"student_widths": "3,4,5"}, r"--student_widths 3,4,5: widths 3,4,5: a unet_32 takes 5"),
        ({"student_budget": "7x"}, r"--student_budget 7x: this host has several generators"),
    ],
)
def test_what_a_host_of_several_architectures_does_not_take_is_refused(
    models: ModuleType, folder: Path, asked: dict[str, str], told: str
) -> None:
    class MixedModel(stain_model(models)):  # type: ignore[misc]
        def __init__(self, opt: Namespace) -> None:
            super().__init__(Namespace(**{**vars(opt), "netG": opt.netG[0]}))
            self.netGS1 = network(models, Namespace(**{**vars(opt), "netG": "unet_32"}))

    given = options(folder, netG=["resnet_1blocks"], **asked)
    with pytest.raises(KDError, match=rf"{told}.*: use --student_ngf") as refused:
        set_up(distilling(MixedModel), given)
    assert "\n" not in str(refused.value)


class Pool:
    """A host's image pool, of one batch."""

    pool_size = 1

    def __init__(self) -> None:
        self.images: list[torch.Tensor] = []


def test_image_pools_in_a_list_are_continued(models: ModuleType, folder: Path) -> None:
    """As DeepLIIF's CycleGAN has them, one per generator."""

    class PooledModel(stain_model(models)):  # type: ignore[misc]
        def __init__(self, opt: Namespace) -> None:
            super().__init__(opt)
            self.fake_B_pools = [Pool(), Pool()]

        def forward(self) -> None:
            super().forward()
            for pool, image in zip(self.fake_B_pools, self.images, strict=True):
                pool.images = [image.detach()]

    model = set_up(distilling(PooledModel), options(folder))
    train_step(model)
    model.save_networks("latest")
    found = set_up(distilling(PooledModel), options(folder, continue_train=True))
    for pool, before in zip(found.fake_B_pools, model.fake_B_pools, strict=True):
        torch.testing.assert_close(pool.images, before.images, rtol=0, atol=0)


class TestPairs:
    def average(self, models: ModuleType, trained: bool) -> type:
        """A pix2pix model with an average of the generator's weights, as hosts save for tests."""
        base = models.find_model_using_name("pix2pix")

        class AverageModel(base):  # type: ignore[misc, valid-type]
            def __init__(self, opt: Namespace) -> None:
                super().__init__(opt)
                self.netG_ema = copy.deepcopy(self.netG).requires_grad_(False)
                self.model_names = [*self.model_names, "G_ema"]
                if trained:
                    self.optimizers.append(torch.optim.SGD(self.netG_ema.parameters(), lr=0.1))

        return distilling(AverageModel)

    def test_an_average_of_weights_is_no_generator_to_distil(self, models: ModuleType, folder: Path) -> None:
        for name in ("G", "G_ema"):
            torch.save(build_generator(SPEC).state_dict(), folder / f"latest_net_{name}.pth")
        model = set_up(self.average(models, trained=False), options(folder))
        train_step(model)
        assert [pair.pair.net for pair in model._run.pairs] == ["G"]
        assert "teacher_fake_B" in model.visual_names

    def test_a_network_that_does_not_run_is_left_out(
        self, models: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("G", "G_ema"):
            torch.save(build_generator(SPEC).state_dict(), folder / f"latest_net_{name}.pth")
        model = set_up(self.average(models, trained=True), options(folder))
        train_step(model)
        assert "G_ema returns no images with gradients in forward()" in capsys.readouterr().out
        assert [pair.pair.net for pair in model._run.pairs] == ["G"]
        assert {name for name in model.get_current_losses() if name.startswith("pixel")} == {"pixel"}

    def test_a_slice_of_a_batch_may_be_declared(self, models: ModuleType, folder: Path) -> None:
        base = models.find_model_using_name("pix2pix")

        class SlicedModel(base):  # type: ignore[misc, valid-type]
            distill_pairs: ClassVar = [("G", "fake_image")]

            def forward(self) -> None:
                both = self.netG(torch.cat([self.real_A, self.real_B]))
                self.fake_image = both[: len(self.real_A)]
                self.fake_B = self.fake_image

        torch.save(build_generator(SPEC).state_dict(), folder / "latest_net_G.pth")
        model = set_up(distilling(SlicedModel), options(folder))
        train_step(model)
        assert model.loss_pixel.item() > 0

    def test_a_pass_without_gradients_before_the_training(self, models: ModuleType, folder: Path) -> None:
        model = set_up(distilling(stain_model(models)), options(folder))
        model.set_input(host_batch())
        with torch.no_grad():
            model.forward()
        train_step(model)
        assert "pixel_S1" in model.get_current_losses()

    def test_images_of_validation_are_refused_where_inputs_are_unknown(
        self, models: ModuleType, folder: Path
    ) -> None:
        with pytest.raises(KDError, match=r"--val_images .*: the inputs of G1 and G2 and .* are known to the host"):
            set_up(distilling(stain_model(models)), options(folder, val_images=str(folder)))

    def test_one_file_for_several_names_no_option_that_does_not_exist(self, models: ModuleType, folder: Path) -> None:
        file = folder / "latest_net_G1.pth"
        with pytest.raises(KDError, match=r"this model has 4 generators: give its folder$"):
            set_up(distilling(stain_model(models)), options(file, checkpoints_dir=str(folder.parent)))


class TestTeachers:
    def test_missing_ones_are_named(
        self, models: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "latest_net_G2.pth").unlink()
        (folder / "latest_net_GS0.pth").unlink()
        model = set_up(distilling(stain_model(models)), options(folder))
        train_step(model)
        said = capsys.readouterr().out
        assert "G2 has no teacher" in said and "GS0 has no teacher" in said
        assert {"pixel_1", "pixel_S1"} == {name for name in model.get_current_losses() if name.startswith("pixel")}

    def test_terms_of_one_generator(self, models: ModuleType, folder: Path) -> None:
        model = set_up(distilling(stain_model(models)), options(folder, distill="pixel:GS1,srp:G1"))
        train_step(model)
        found = {name for name in model.get_current_losses() if name.startswith(("pixel", "srp"))}
        assert found == {"pixel_S1", "srp_1"}


class Conditional(nn.Module):
    """A generator that takes a time step and noise, and returns images with an attention map."""

    def __init__(self, ngf: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, ngf, 3, padding=1)
        self.out = nn.Conv2d(ngf, 4, 3, padding=1)

    def forward(self, x: torch.Tensor, t: torch.Tensor, *, z: torch.Tensor) -> tuple[torch.Tensor, dict]:
        hidden = torch.relu(self.conv(x + z)) * t[:, None, None, None]
        output = self.out(hidden)
        return output[:, :1].sigmoid(), {"images": output[:, 1:].tanh()}


class TestInputsAndOutputs:
    def model(self, models: ModuleType, folder: Path, attribute: str = "fake_B") -> Any:
        base = models.find_model_using_name("pix2pix").__mro__[1]

        class TimeModel(base):  # type: ignore[misc, valid-type]
            distill_pairs: ClassVar = [("GT", attribute)]

            def __init__(self, opt: Namespace) -> None:
                super().__init__(opt)
                self.model_names, self.loss_names, self.visual_names = ["GT"], [], []
                self.netGT = Conditional(2)
                self.optimizers = [torch.optim.SGD(self.netGT.parameters(), lr=0.0)]

            def set_input(self, given: dict) -> None:
                self.real_A, self.real_B = given["A"], given["B"]

            def forward(self) -> None:
                self.t, self.z = torch.rand(len(self.real_A)), torch.randn_like(self.real_A)
                with torch.no_grad():
                    self.netGT(self.real_B, self.t, z=self.z)  # another pass before that of the pair
                self.mask, found = self.netGT(self.real_A, self.t, z=self.z)
                self.fake_B = found["images"]

            def optimize_parameters(self) -> None:
                self.forward()
                self.optimizers[0].zero_grad()
                ((self.fake_B * self.mask - self.real_B) ** 2).mean().backward()

        return distilling(TimeModel)

    def teacher(self, folder: Path) -> nn.Module:
        torch.manual_seed(5)
        return Conditional(6).requires_grad_(False).eval()

    def taught_by(self, big: nn.Module, cls: type, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr("kd_plugin.host.model.distilled_pair.load_teacher_of", lambda *given: big)
        torch.save(big.state_dict(), folder / "latest_net_GT.pth")
        return set_up(cls, options(folder))

    def test_the_teacher_gets_all_arguments(
        self, models: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        big = self.teacher(folder)
        model = self.taught_by(big, self.model(models, folder), folder, monkeypatch)
        train_step(model, 2)
        found = [p.grad.clone() for p in model.netGT.parameters()]

        model.netGT.zero_grad()
        mask, given = model.netGT(model.real_A, model.t, z=model.z)
        _, wanted = big(model.real_A, model.t, z=model.z)
        host = ((given["images"] * mask - model.real_B) ** 2).mean()
        (host + 5 * pixel_loss(given["images"], wanted["images"])).backward()
        for gradient, parameter in zip(found, model.netGT.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-5, atol=1e-7)

    def test_a_teacher_that_does_not_take_them_is_refused(
        self, models: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        big = build_generator(SPEC).requires_grad_(False).eval()
        model = self.taught_by(big, self.model(models, folder), folder, monkeypatch)
        with pytest.raises(KDError, match=r"3 arguments, which the teacher .* does not take"):
            train_step(model, 2)

    def test_an_output_that_is_not_held_as_declared_is_refused(
        self, models: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        big = self.teacher(folder)
        model = self.taught_by(big, self.model(models, folder, "fake_C"), folder, monkeypatch)
        with pytest.raises(KDError, match="no output of netGT in 'fake_C'"):
            train_step(model, 2)
