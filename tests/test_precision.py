"""Mixed precision compared with explicit autocast and loss scaling; precision and compilation of the teacher."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers.models import distil_options, distilling, host_batch, set_up, train_step
from helpers.tensors import flat
from torch import nn
from torch.nn import functional

from kd_plugin import Distiller, GeneratorSpec, KDError
from kd_plugin.distillation.precision import DTYPES, HalfPrecision, run_in
from kd_plugin.host.options.cost import CostOptions
from kd_plugin.losses import term_names
from kd_plugin.networks.generator import build_generator
from kd_plugin.training.state import RunState

NETWORKS = {"pix2pix": ["G", "D"], "cycle_gan": ["G_A", "G_B", "D_A", "D_B"]}
PRECISIONS = ("bf16", "fp16")
SCALE = 2.0**16  # initial


def networks() -> tuple[nn.Module, nn.Module]:
    """A generator and what judges it."""
    torch.manual_seed(0)
    judge = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3))
    return build_generator(GeneratorSpec("resnet", 3, 3, 4, 2, "batch", False, False)), judge


def explicit(network: nn.Module, dtype: torch.dtype) -> None:
    """Let a network run under autocast and give float32, written out."""
    inner = network.forward

    def forward(*arguments: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype):
            return inner(*arguments).float()

    network.forward = forward  # type: ignore[method-assign]


def gradients(*networks: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for network in networks for parameter in network.parameters()]


@pytest.mark.parametrize("name", PRECISIONS)
class TestNetworks:
    def test_equal_autocast_with_a_scaled_loss(self, name: str) -> None:
        """Value and gradient, bit for bit, a term on a feature in the middle of a network included."""
        ours, theirs = networks(), networks()
        half = HalfPrecision(name, "cpu")
        for network in ours:
            half.run(network)
        for network in theirs:
            explicit(network, DTYPES[name])
        scale = SCALE if name == "fp16" else 1.0
        images = torch.rand(2, 3, 16, 16)
        read: list[torch.Tensor] = []

        def loss(generator: nn.Module, judge: nn.Module, leave: Callable[[Any], Any]) -> torch.Tensor:
            handle = generator.model[9].register_forward_hook(lambda m, i, output: read.append(leave(output)))
            once = generator(images)
            twice = generator(once)  # a gradient passes through the network to its input, as in a cycle
            handle.remove()
            assert once.dtype == read[-1].dtype == torch.float32
            return judge(once).square().mean() + (twice - images).abs().mean() + read[-1].square().mean()

        mine, other = loss(*ours, half.leave), loss(*theirs, torch.Tensor.float)
        assert torch.equal(mine, other)
        mine.backward()
        (other * scale).backward()
        for gradient, expected in zip(gradients(*ours), gradients(*theirs), strict=True):
            assert gradient.dtype == torch.float32 and gradient.any() and torch.equal(gradient, expected / scale)

    def test_nothing_is_left_open_after_an_error(self, name: str) -> None:
        generator, judge = networks()
        half = HalfPrecision(name, "cpu")
        half.run(generator)
        half.run(judge)
        with pytest.raises(RuntimeError):
            generator(torch.rand(1, 5, 8, 8))
        assert (nn.Linear(2, 2)(torch.rand(1, 2))).dtype == torch.float32
        assert judge(generator(torch.rand(1, 3, 16, 16))).dtype == torch.float32

    def test_a_copy_runs_alike(self, name: str) -> None:
        """Hosts keep moving averages of their generators as deep copies."""
        generator = networks()[0]
        half = HalfPrecision(name, "cpu")
        half.run(generator)
        twin = copy.deepcopy(generator)
        images = torch.rand(1, 3, 16, 16)
        for network in (generator, twin):
            network(images).square().mean().backward()
        assert all(torch.equal(a, b) for a, b in zip(gradients(generator), gradients(twin), strict=True))

    def test_autocast_of_the_host_is_noticed(self, name: str) -> None:
        generator = networks()[0]
        HalfPrecision(name, "cpu").run(generator)
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(KDError, match="already under autocast"):
            generator(torch.rand(1, 3, 16, 16))

    def test_parts_that_a_host_calls_alone(self, name: str) -> None:
        """They stay in float32, with true gradients; in float16, where these would be unscaled, they are refused."""
        generator = networks()[0]
        twin = copy.deepcopy(generator)
        HalfPrecision(name, "cpu").run(generator)
        images = torch.rand(1, 3, 16, 16)
        if name == "fp16":
            with pytest.raises(KDError, match="a submodule is called directly, a ReflectionPad2d, and fp16"):
                generator.model[:2](images)
            with torch.no_grad():
                generator.model[:2](images)
            return
        for network in (generator, twin):
            network.model[:2](images).sum().backward()
        assert torch.equal(generator.model[1].weight.grad, twin.model[1].weight.grad)

    def test_inside_data_parallel(self, name: str) -> None:
        """Replicas run in threads of their own, where an autocast around the whole would have another type."""
        generator = networks()[0]
        seen, results = [], []
        generator.model[1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        half = HalfPrecision(name, "cpu")
        half.run(nn.DataParallel(generator))
        images = torch.rand(1, 3, 16, 16)

        def replica() -> None:
            twin = generator._replicate_for_data_parallel()
            results.append(twin(images))

        thread = threading.Thread(target=replica)
        thread.start()
        thread.join()
        assert seen == [DTYPES[name]] and results[0].dtype == torch.float32

    def test_gradients_of_replicas_come_out_at_their_size(self, name: str) -> None:
        """Those of the network they were made of, which is the one that learns."""
        generator = networks()[1]
        twin = copy.deepcopy(generator)
        for network, replicate in ((generator, True), (twin, False)):
            half = HalfPrecision(name, "cpu")
            half.run(network)
            called = network
            if replicate:  # as DataParallel does it: parameters of the replica are copies that carry the graph
                called = network._replicate_for_data_parallel()
                for key, child in network.named_children():
                    part = child._replicate_for_data_parallel()
                    called._modules[key] = part
                    for kind, parameter in child.named_parameters():
                        setattr(part, kind, parameter.clone())
            called(torch.ones(1, 3, 16, 16)).square().mean().backward()
        for one, other in zip(gradients(generator), gradients(twin), strict=True):
            assert torch.equal(one, other)


class Projection(nn.Module):
    """What CUT makes of features before it compares them: a small MLP, and vectors of length one."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
        for parameter in self.parameters():  # as the hosts initialise theirs
            nn.init.normal_(parameter, 0, 0.02) if parameter.ndim == 2 else nn.init.zeros_(parameter)

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        rows = [self.mlp(feature.flatten(2).mT.flatten(0, 1)) for feature in features]
        return [r / (r.pow(2).sum(1, keepdim=True).pow(0.5) + 1e-7) for r in rows]


@pytest.mark.parametrize("name", PRECISIONS)
def test_norms_of_small_features(name: str) -> None:
    """Their squares leave float16's range, where autocast on GPUs has float32; so do the features themselves."""
    torch.manual_seed(0)
    network = Projection()
    twin = copy.deepcopy(network)
    HalfPrecision(name, "cpu").run(network)
    results = []
    for each in (network, twin):
        features = [(torch.rand(2, 4, 3, 3, generator=torch.Generator().manual_seed(i)) * 1e-2) for i in range(2)]
        features = [feature.requires_grad_() for feature in features]
        rows = each(features)
        sum(row[0].sum() for row in rows).backward()  # type: ignore[union-attr]
        results.append((rows, [feature.grad for feature in features], gradients(each)))
    for row in results[0][0]:
        torch.testing.assert_close(row.norm(dim=1), torch.ones(len(row)), rtol=2e-2, atol=0)
    same = [torch.equal(one, other) for one, other in zip(*map(flat, results), strict=True)]
    assert all(same) if name == "fp16" else not any(same)


def test_a_student_without_convolutions() -> None:
    """Gradients of terms on its features are true in fp16, in which it stays in float32."""

    class Pixelwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.out = nn.Linear(3, 4), nn.Linear(4, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.out(self.mix(images.movedim(1, 3))).movedim(3, 1)

    torch.manual_seed(0)
    student, big = Pixelwise(), Pixelwise().requires_grad_(False)
    twin = copy.deepcopy(student)
    half = HalfPrecision("fp16", "cpu")
    half.run(student)
    images = torch.rand(2, 3, 4, 4)
    for network, precision in ((student, half), (twin, None)):
        Distiller(network, big, ["attention", "pixel"], taps="mix", half=precision)(images).total.backward()
    for one, other in zip(gradients(student), gradients(twin), strict=True):
        assert torch.equal(one, other)


def test_convolutions_of_any_class_are_in_half_precision() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 2, 3, 1, 1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(functional.conv2d(images, self.weight[0]))
            return seen[-1]

    seen: list[torch.Tensor] = []
    network = Own()
    HalfPrecision("fp16", "cpu").run(network)
    network(torch.ones(1, 3, 4, 4))
    assert seen[0].dtype == torch.float16


class TestScale:
    def test_second_derivatives_are_refused(self) -> None:
        _, judge = networks()
        HalfPrecision("fp16", "cpu").run(judge)
        images = torch.rand(1, 3, 16, 16, requires_grad=True)
        with pytest.raises(KDError, match="gradient penalty does: use bf16"):
            torch.autograd.grad(judge(images).sum(), images, create_graph=True)

    def test_second_derivatives_of_bfloat16(self) -> None:
        _, judge = networks()
        twin = copy.deepcopy(judge)
        HalfPrecision("bf16", "cpu").run(judge)
        explicit(twin, torch.bfloat16)
        for network in (judge, twin):
            images = torch.linspace(-1, 1, 768).view(1, 3, 16, 16).requires_grad_()
            (slope,) = torch.autograd.grad(network(images).sum(), images, create_graph=True)
            slope.square().sum().backward()
        for mine, other in zip(judge.parameters(), twin.parameters(), strict=True):
            assert (mine.grad is None) == (other.grad is None)
            assert mine.grad is None or torch.equal(mine.grad, other.grad)

    def test_moves_as_that_of_a_grad_scaler(self) -> None:
        """Halved by what is not finite, doubled after 2000 steps; never below one."""
        half = HalfPrecision("fp16", "cpu")
        parameters = [torch.zeros(1, requires_grad=True) for _ in range(2)]
        optimizers = [torch.optim.SGD([parameter], 0.0) for parameter in parameters]
        scaler = torch.amp.GradScaler("cpu") if hasattr(torch.amp, "GradScaler") else None
        for step in range(4100):
            both = {0: (False, False), 1: (True, False), 50: (False, True)}.get(step, (True, True))
            for parameter, optimizer, finite in zip(parameters, optimizers, both, strict=True):
                if scaler is not None:
                    parameter.grad = None
                    scaler.scale(parameter * (1.0 if finite else float("inf"))).backward()
                    scaler.step(optimizer)
                half.stepped() if finite else half.overflow()
            if scaler is not None:
                scaler.update()
            half.update()
            assert scaler is None or half.scale == scaler.get_scale()
        assert half.scale == SCALE / 8 * 4
        half.update()  # nothing has happened since
        assert half.scale == SCALE / 8 * 4
        for expected in [True] * 15 + [False] * 5:
            assert half.overflow() == expected
            half.update()
        assert half.scale == 1

    def test_bfloat16_has_none(self) -> None:
        half = HalfPrecision("bf16", "cpu")
        assert not half.overflow()
        half.update()
        assert half.scale == 1


def oracle(model, name: str, precision: str, scale: float) -> None:  # type: ignore[no-untyped-def]
    """Turn a model that trains in float32 into one in mixed precision, by hand."""
    dtype = DTYPES[precision]
    for network in (*(getattr(model, f"net{net}") for net in NETWORKS[name]), *(d.teacher for d in model._run.pairs)):
        explicit(network, dtype)
    for optimizer in model.optimizers:

        def unscale(optimizer: torch.optim.Optimizer, arguments: Any, named: Any) -> None:
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                if parameter.grad is not None:
                    parameter.grad /= scale

        optimizer.register_step_pre_hook(unscale)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
class TestHosts:
    def test_a_step_equals_one_with_autocast_and_a_scaled_loss(
        self, models: ModuleType, teachers: Path, name: str, precision: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cls = distilling(models.find_model_using_name(name))
        scale = 2.0**8 if precision == "fp16" else 1.0  # with the first one, gradients leave the range

        def make(**given: object):  # type: ignore[no-untyped-def]
            return set_up(cls, distil_options(teachers, model=name, distill="pixel,srp", **given))

        ours = make(amp=precision)
        ours._run.checkpointer.half.scale = scale
        for seed in range(2):
            train_step(ours, 2, seed)
        theirs = make(lambda_pixel=str(50 * scale), lambda_srp=str(1000 * scale))
        oracle(theirs, name, precision, scale)
        backward = torch.Tensor.backward
        monkeypatch.setattr(torch.Tensor, "backward", lambda loss, *a, **named: backward(loss * scale, *a, **named))
        for seed in range(2):
            train_step(theirs, 2, seed)
        for net in NETWORKS[name]:
            mine, other = getattr(ours, f"net{net}"), getattr(theirs, f"net{net}")
            for a, b in zip(flat(mine.state_dict()), flat(other.state_dict()), strict=True):
                assert torch.equal(a, b)
        assert all(a.dtype == torch.float32 for a in flat(ours.optimizers[0].state_dict()["state"]) if a.ndim)

    def test_other_precisions_of_the_teacher(
        self, models: ModuleType, teachers: Path, name: str, precision: str
    ) -> None:
        """The whole network is converted, less its pictures."""
        options = distil_options(teachers, model=name, distill="pixel,srp", teacher_dtype=precision)
        try:
            model = set_up(distilling(models.find_model_using_name(name)), options)
        except KDError as error:
            if "does not support it on cpu" not in str(error):
                raise
            pytest.skip(str(error))  # old PyTorch has no float16 on CPUs, and that is told
        train_step(model)
        for distilled in model._run.pairs:
            source = model.real_A if distilled.pair.output == "fake_B" else model.real_B
            given = getattr(model, f"teacher_{distilled.pair.output}")
            bare = nn.Sequential(*distilled.teacher.model)
            assert given.dtype == torch.float32
            assert next(bare.parameters()).dtype == DTYPES[precision]
            assert torch.equal(given, bare(source.to(DTYPES[precision])).float())


class TestOverflow:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_of_any_optimizer_leaves_the_others_to_their_step(
        self, models: ModuleType, teachers: Path, name: str
    ) -> None:
        """With batch norms, whose running statistics are part of graphs that still wait for their backward pass."""
        options = distil_options(teachers, model=name, distill="pixel", amp="fp16", norm="batch")
        model = set_up(distilling(models.find_model_using_name(name)), options)
        model._run.checkpointer.half.scale = 2.0**16  # D overflows, whose gradients are the larger ones
        for seed in range(12):
            train_step(model, 2, seed)
        assert 1 <= model._run.checkpointer.half.scale < 2.0**16
        for net in NETWORKS[name]:
            assert all(tensor.isfinite().all() for tensor in getattr(model, f"net{net}").state_dict().values())
            state = getattr(model, f"net{net}").state_dict()
            assert all(tensor.any() for key, tensor in state.items() if key.endswith("running_mean"))

    def test_students_with_several_optimizers(self, models: ModuleType, teachers: Path) -> None:
        base = models.find_model_using_name("pix2pix")

        class Several(base):  # type: ignore[misc, valid-type]
            def __init__(self, opt: object) -> None:
                super().__init__(opt)
                self.optimizers.append(torch.optim.Adam(self.netG.model[1].parameters(), lr=1e-4))

            def optimize_parameters(self) -> None:
                super().optimize_parameters()
                self.optimizers[-1].step()

        for precision in PRECISIONS:
            options = distil_options(teachers, distill="pixel", amp=precision)
            model = set_up(distilling(Several), options)
            if precision == "fp16":
                model._run.checkpointer.half.scale = 1024.0
            for seed in range(3):
                train_step(model, 2, seed)
            assert model._run.checkpointer.half.growth == (2 if precision == "fp16" else 0)

    def test_is_skipped_without_a_word_until_it_fits(
        self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = distil_options(teachers, distill="pixel", amp="fp16", lambda_pixel="1e4", max_bad_steps=0)
        model = set_up(distilling(models.find_model_using_name("pix2pix")), options)
        half = model._run.checkpointer.half
        half.scale = 2.0**40
        before = copy.deepcopy(model.netG.state_dict())
        train_step(model)
        assert all(torch.equal(a, b) for a, b in zip(flat(before), flat(model.netG.state_dict()), strict=True))
        train_step(model)
        assert half.scale == 2.0**39
        for _ in range(40):
            train_step(model)
        assert "step skipped" not in capsys.readouterr().out
        after = model.netG.state_dict()
        assert not any(torch.equal(before[key], after[key]) for key in before if key.endswith("weight"))
        assert all(tensor.isfinite().all() for tensor in after.values())

    def test_what_no_scale_mends_is_told(self, models: ModuleType, teachers: Path) -> None:
        options = distil_options(teachers, distill="pixel", amp="fp16", max_bad_steps=0)
        model = set_up(distilling(models.find_model_using_name("pix2pix")), options)
        model._run.pairs[0].teacher.model[-2].bias.data.fill_(float("nan"))
        with pytest.raises(KDError, match="epoch 1, iteration 1: pixel is nan"):
            train_step(model)

    def test_the_scale_is_saved_and_restored(self, models: ModuleType, teachers: Path) -> None:
        options = distil_options(teachers, distill="pixel", amp="fp16")
        cls = distilling(models.find_model_using_name("pix2pix"))
        model = set_up(cls, options)
        model._run.checkpointer.half.scale = 512.0
        train_step(model)
        model.update_learning_rate()
        model.save_networks("latest")
        state = RunState.read(teachers.parent / "student")
        assert state is not None and state.loss_scale == (512.0, 1)
        options.continue_train, options.epoch_count = True, 2
        again = set_up(cls, options)._run.checkpointer.half
        assert (again.scale, again.growth) == (512.0, 1)
        options.amp = "bf16"
        model = set_up(cls, options)
        assert model._run.checkpointer.half.scale == 1
        train_step(model)
        model.save_networks("latest")
        options.amp = "fp16"
        assert set_up(cls, options)._run.checkpointer.half.scale == SCALE


class TestHostsOfTheirOwnPrecision:
    """A host that scales its losses: the terms' gradients are scaled with them."""

    @pytest.mark.parametrize(
        "held",
        [("scaler",), ("scaler_D", "scaler_G"), ("scaler_dis", "scaler_gen"), ("scaler_other", "netG_scaler")],
    )
    def test_the_terms_follow_its_scaler(
        self, models: ModuleType, teachers: Path, held: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not hasattr(torch.amp, "GradScaler"):
            pytest.skip("this PyTorch has no scaler for CPUs")
        cls = distilling(models.find_model_using_name("pix2pix"))
        plain, scaled = (set_up(cls, distil_options(teachers, distill="pixel")) for _ in range(2))
        for number, attribute in enumerate(held, 1):
            setattr(scaled, attribute, torch.amp.GradScaler("cpu", init_scale=2.0 ** (10 * number)))
        for model in (plain, scaled):
            model.set_input(host_batch())
            model.forward()
        plain.backward_G()
        backward = torch.Tensor.backward
        scaler = getattr(scaled, held[-1])
        monkeypatch.setattr(torch.Tensor, "backward", lambda loss: backward(scaler.scale(loss)))
        scaled.backward_G()
        for mine, other in zip(gradients(scaled.netG), gradients(plain.netG), strict=True):
            assert torch.equal(mine / scaler.get_scale(), other)

    def test_one_whose_scaler_is_not_found(self, models: ModuleType, teachers: Path) -> None:
        model = set_up(distilling(models.find_model_using_name("pix2pix")), distil_options(teachers, distill="pixel"))
        model.set_input(host_batch())
        with torch.autocast("cpu", torch.float16), pytest.raises(KDError, match="store it as self"):
            model.forward()
        with torch.autocast("cpu", torch.bfloat16):
            model.forward()
        if not hasattr(torch.amp, "GradScaler"):
            return
        model.scaler_D = torch.amp.GradScaler("cpu")  # which is another's
        with torch.autocast("cpu", torch.float16), pytest.raises(KDError, match=r"store it as self\.scaler_G, or"):
            model.forward()
        model.first, model.second = (torch.amp.GradScaler("cpu") for _ in range(2))
        with pytest.raises(KDError, match=r"names first, second in \w+ do not show .* netG: rename it to scaler_G"):
            model.forward()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_autocast_within_forward(self, models: ModuleType, teachers: Path, dtype: torch.dtype) -> None:
        """Its images come out in half precision; every term takes them, or in float16 the missing scaler is told."""
        base = models.find_model_using_name("pix2pix")

        class Half(base):  # type: ignore[misc, valid-type]
            def forward(self) -> None:
                with torch.autocast("cpu", dtype):
                    super().forward()

        terms = [name for name in term_names() if name not in ("perceptual", "discriminator")]
        model = set_up(distilling(Half), distil_options(teachers, distill=",".join(terms), wavelet_levels=2))
        model.set_input(host_batch(2))
        if dtype == torch.float16:
            with pytest.raises(KDError, match="the host trains in float16"):
                model.forward()
            return
        model.forward()
        assert model.fake_B.dtype == dtype
        model.fake_B.float().mean().backward()
        assert all(getattr(model, f"loss_{name}").isfinite() for name in terms)
        assert all(p.grad.isfinite().all() and p.grad.any() for p in model.netG.parameters() if p.ndim > 1)

    def test_a_continued_run_goes_on_with_its_scaler(self, models: ModuleType, teachers: Path) -> None:
        if not hasattr(torch.amp, "GradScaler"):
            pytest.skip("this PyTorch has no scaler for CPUs")
        base = models.find_model_using_name("pix2pix")

        class Scaled(base):  # type: ignore[misc, valid-type]
            def __init__(self, opt: object) -> None:
                super().__init__(opt)
                self.scaler = torch.amp.GradScaler("cpu")

        options = distil_options(teachers, distill="pixel")
        model = set_up(distilling(Scaled), options)
        model.scaler.load_state_dict({**model.scaler.state_dict(), "scale": 1024.0, "_growth_tracker": 7})
        train_step(model)
        model.save_networks("latest")
        options.continue_train = True
        again = set_up(distilling(Scaled), options).scaler.state_dict()
        assert (again["scale"], again["_growth_tracker"]) == (1024.0, 7)


def test_a_device_without_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("\"reflection_pad2d\" not implemented for 'Half'")

    state = torch.get_rng_state()
    CostOptions(amp="bf16", teacher_dtype="bf16").half(torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), state)  # to try it draws no random numbers of the run
    monkeypatch.setattr(torch.nn.ReflectionPad2d, "forward", unknown)
    for flag in ("amp", "teacher_dtype"):
        with pytest.raises(KDError, match=rf"--{flag} fp16: PyTorch .* does not support it on cpu .*remove it"):
            options = CostOptions(**{flag: "fp16"})
            options.half(torch.device("cpu"))
            options.prepare_teacher(networks()[0], None)


@pytest.mark.slow
class TestCompiledTeacher:
    """Through another backend than the default, which needs a compiler; what differs is how modules are read."""

    @pytest.mark.parametrize("half", [None, "bf16"])
    def test_gives_what_the_teacher_gives(self, half: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.compiler.reset()
        compile_ = torch.compile
        monkeypatch.setattr(torch, "compile", lambda network: compile_(network, backend="aot_eager"))
        spec = GeneratorSpec("resnet", 3, 3, 4, 2, "instance", False, False)
        torch.manual_seed(0)
        student, teacher = build_generator(spec), build_generator(spec).requires_grad_(False).eval()
        precision = HalfPrecision(half, "cpu") if half else None  # type: ignore[arg-type]
        compiled = CostOptions(teacher_compile=True).prepare_teacher(copy.deepcopy(teacher), precision)
        assert compiled is not teacher
        expected = Distiller(student, CostOptions().prepare_teacher(teacher, precision), ["pixel", "feature"])
        distiller = Distiller(student, compiled, ["pixel", "feature"])
        for size in (1, 2, 2, 1):
            images = torch.rand(size, 3, 16, 16)
            mine, other = distiller(images), expected(images)
            torch.testing.assert_close(mine.teacher_output, other.teacher_output)
            assert mine.losses.keys() == other.losses.keys()
            for name in mine.losses:
                torch.testing.assert_close(mine.losses[name], other.losses[name])

    def test_one_that_cannot_be_compiled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.compiler.reset()
        compile_ = torch.compile

        def broken(graph: Any, inputs: Any) -> Any:
            raise RuntimeError("no compiler found")

        monkeypatch.setattr(torch, "compile", lambda network: compile_(network, backend=broken))
        student, teacher = networks()[0], networks()[0].requires_grad_(False).eval()
        distiller = Distiller(student, CostOptions(teacher_compile=True).prepare_teacher(teacher, None), ["pixel"])
        with pytest.raises(KDError, match=r"the teacher cannot be compiled here .*run it uncompiled"):
            distiller(torch.rand(1, 3, 16, 16))


def test_run_in_float32_is_as_it_was() -> None:
    network = networks()[0].eval()
    images = torch.rand(1, 3, 16, 16)
    before = network(images)
    run_in(network, "float32")
    assert torch.equal(network(images), before)
