"""Taps, attachment and the distiller in a training loop without a host."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from kd_plugin import Distiller, GeneratorSpec, KDError
from kd_plugin.distillation.attach import attach
from kd_plugin.errors import ArgumentError
from kd_plugin.losses import build_terms, pixel_loss, semantic_relation_loss, wavelet_loss
from kd_plugin.networks.generator import Generator, build_generator
from kd_plugin.networks.taps import Recorder, Tap, default_taps, parse_taps, resolve_taps, unwrap

ALL = {"wavelet": 2.0, "srp": 30.0, "pixel": 0.5}


def generator(ngf: int = 4, depth: int = 2, architecture: str = "resnet", seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    spec = GeneratorSpec(architecture, 3, 3, ngf, depth, "instance", False, True)  # type: ignore[arg-type]
    return build_generator(spec).double()


def teacher(**settings: object) -> Generator:
    network = generator(**{"ngf": 6, "depth": 3, "seed": 1, **settings})  # type: ignore[arg-type]
    return network.requires_grad_(False).eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 2 - 1


class TestDistiller:
    def test_terms_and_gradients_are_those_of_the_losses(self, x: torch.Tensor) -> None:
        student, big = generator(), teacher()
        result = Distiller(student, big, ALL)(x)
        images, target = student(x), big(x)
        features, wanted = student.model[:11](x), big.model[:12](x)  # through half of 2, and of 3, blocks
        expected = {
            "wavelet": 2.0 * wavelet_loss(images, target),
            "srp": 30.0 * semantic_relation_loss(features, wanted),
            "pixel": 0.5 * pixel_loss(images, target),
        }
        for name, value in expected.items():
            torch.testing.assert_close(result.losses[name], value)
        ours = torch.autograd.grad(result.total, list(student.parameters()))
        theirs = torch.autograd.grad(sum(expected.values()), list(student.parameters()), allow_unused=True)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)

    def test_a_student_equal_to_its_teacher_has_nothing_to_learn(self, x: torch.Tensor) -> None:
        big = teacher()
        student = generator(ngf=6, depth=3, seed=1)
        assert Distiller(student, big, ALL)(x).total.item() == 0

    def test_a_student_learns(self, x: torch.Tensor) -> None:
        student, big = generator(), teacher()
        distiller = Distiller(student, big, {"pixel": 1.0})
        optimizer = torch.optim.Adam(student.parameters(), lr=2e-3)
        first = distiller(x).total.item()
        for _ in range(40):
            optimizer.zero_grad()
            distiller(x).total.backward()
            optimizer.step()
        assert distiller(x).total.item() < 0.5 * first

    def test_options_reach_the_terms(self, x: torch.Tensor) -> None:
        student, big = generator(), teacher()
        result = Distiller(student, big, {"wavelet": 1.0}, options={"wavelet_levels": 1, "wavelet_basis": "db2"})(x)
        torch.testing.assert_close(result.total, wavelet_loss(student(x), big(x), 1, "db2"))

    def test_several_taps_are_averaged(self, x: torch.Tensor) -> None:
        student, big = generator(), teacher()
        taps = parse_taps("model.10,model.4=model.7")
        with pytest.raises(KDError, match=r"\(2, 8, 8, 8\), the teacher's \(2, 24, 4, 4\)"):
            Distiller(student, big, ["srp"], taps=taps)(x)
        taps = parse_taps("model.10, model.11=model.12")
        losses = [Distiller(student, big, ["srp"], taps=[tap])(x).total for tap in taps]
        torch.testing.assert_close(Distiller(student, big, ["srp"], taps=taps)(x).total, sum(losses) / 2)

    def test_unets(self) -> None:
        big = teacher(architecture="unet", depth=5)
        images = torch.rand(1, 3, 32, 32, dtype=torch.float64)
        result = Distiller(generator(architecture="unet", depth=5), big, ALL)(images)
        assert result.losses["srp"].item() > 0

    def test_unet_and_resnet_have_the_same_pixels(self) -> None:
        images = torch.rand(1, 3, 32, 32, dtype=torch.float64)
        unet = {"architecture": "unet", "depth": 5}
        for student, big in ((generator(), teacher(**unet)), (generator(**unet), teacher())):
            assert Distiller(student, big, ["srp"])(images).total.item() > 0

    def test_named_arguments(self, x: torch.Tensor) -> None:
        student, big = generator(), teacher()
        distiller = Distiller(student, big, "pixel")
        with distiller.record() as recorder:
            output = student(x=x)
        torch.testing.assert_close(distiller.distill(recorder.find(output)).total, distiller(x).total)

    def test_a_tap_outside_the_pass(self, x: torch.Tensor) -> None:
        student = generator()
        student.unused = nn.Conv2d(1, 1, 1)
        with pytest.raises(KDError, match="'unused' was not called in the forward pass"):
            Distiller(student, teacher(), ["srp"], taps=[Tap("unused", "model.9")])(x)

    def test_terms_may_be_one_string(self, x: torch.Tensor) -> None:
        distiller = Distiller(generator(), teacher(), "wavelet, pixel")
        assert list(distiller.terms) == ["wavelet", "pixel"]

    def test_wrong_image_size(self, x: torch.Tensor) -> None:
        big = teacher(architecture="unet", depth=5)
        with pytest.raises(KDError, match="unet_32, needs images whose sides are multiples of 32, got 16x16"):
            Distiller(generator(), big, ["pixel"])(x)

    def test_wrong_channels(self, x: torch.Tensor) -> None:
        spec = GeneratorSpec("resnet", 1, 3, 4, 1, "none", False, False)
        big = build_generator(spec).requires_grad_(False)
        with pytest.raises(KDError, match="takes 1 channels, got 3"):
            Distiller(generator(), big, ["pixel"])(x)

    def test_a_teacher_in_training_is_refused(self) -> None:
        with pytest.raises(KDError, match="freeze it"):
            Distiller(generator(), generator(), ["pixel"])

    def test_unknown_module(self) -> None:
        with pytest.raises(
            KDError, match=r"no module 'model\.99' in the student \(ResnetGenerator\); did you mean model\.9"
        ):
            Distiller(generator(), teacher(), ["srp"], taps=[Tap("model.99", "model.9")])

    def test_a_network_without_encoder_needs_taps(self) -> None:
        plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)).double()
        with pytest.raises(ArgumentError, match=r"name modules to tap, such as 0, 1") as caught:
            Distiller(plain, teacher(), ["srp"])
        assert caught.value.argument == "taps"
        Distiller(plain, teacher(), ["wavelet"])  # which reads no features

    def test_no_hook_stays(self, x: torch.Tensor) -> None:
        student, big = generator(), teacher()
        Distiller(student, big, ALL)(x)
        hooks = [m for n in (student, big) for m in n.modules() if m._forward_hooks or m._forward_pre_hooks]
        assert hooks == []

    def test_no_hook_stays_after_an_error(self) -> None:
        student = generator()
        with pytest.raises(RuntimeError):
            Distiller(student, teacher(), ALL)(torch.zeros(1, 5, 16, 16, dtype=torch.float64))
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in student.modules())


class TestTaps:
    def test_defaults_are_where_the_encoder_ends(self) -> None:
        for depth, index in ((9, 14), (6, 12), (1, 10)):
            assert default_taps(generator(depth=depth), teacher()) == [Tap(f"model.{index}", "model.11")]
            mixed = default_taps(generator(depth=depth), teacher(architecture="unet", depth=7))
            assert mixed == [Tap(f"model.{index}", "model.model.1.model.2")]
        unet = teacher(architecture="unet", depth=6)
        assert default_taps(unet, unet) == [Tap(*2 * ["model.model.1.model.3.model.2"])]

    def test_places_match_by_depth(self) -> None:
        """Networks of unequal depth are read at the same resolutions, and channels are all that differs."""
        places = ("encoder", "middle", "decoder")
        images = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
        unet = {"architecture": "unet"}
        for own, other in (
            ({"depth": 2}, {"depth": 9}),
            ({**unet, "depth": 5}, {**unet, "depth": 6}),
            ({"depth": 3}, {**unet, "depth": 6}),
            ({**unet, "depth": 5}, {"depth": 1}),
        ):
            student, big = generator(**own), teacher(**other)
            taps = default_taps(student, big, places)
            with (
                Recorder(student, [t.student for t in taps]) as small,
                Recorder(big, [t.teacher for t in taps]) as large,
            ):
                student(images), big(images)
            sides = [small.calls[0].features[tap.student].shape[-1] for tap in taps]
            assert sides == [large.calls[0].features[tap.teacher].shape[-1] for tap in taps]
            assert sides[0] == 16 and sides[2] == 32

    def test_places_of_a_resnet(self) -> None:
        """GAN Compression reads a 9-block generator at model.9, .12, .15 and .18; ours: the ends and the middle."""
        names = [tap.student for tap in default_taps(generator(depth=9), teacher(), ("encoder", "middle", "decoder"))]
        assert names == ["model.9", "model.14", "model.21"]
        modules = dict(generator(depth=9).named_modules())
        assert isinstance(modules["model.9"], nn.ReLU) and isinstance(modules["model.21"], nn.ReLU)

    def test_patterns(self) -> None:
        student, big = generator(depth=2), teacher(depth=6)
        assert resolve_taps(parse_taps("model.9"), student, big) == [Tap("model.9", "model.9")]
        blocks = resolve_taps(parse_taps("model.1[01]=model.1[0-5]"), student, big)
        assert blocks == [
            Tap("model.10", "model.12"),
            Tap("model.11", "model.15"),
        ]  # of 6 blocks, the 3rd and the 6th
        convolutions = resolve_taps(parse_taps("model.1?.conv_block.1"), student, big)
        assert convolutions == [
            Tap(f"model.{a}.conv_block.1", f"model.{b}.conv_block.1") for a, b in ((10, 12), (11, 15))
        ]
        everything = resolve_taps(parse_taps("model.*"), student, big)
        assert len(everything) == len(student.model) and everything[-1].teacher == f"model.{len(big.model) - 1}"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("model.9?", r"no module of the student \(ResnetGenerator\) matches 'model\.9\?'"),
            ("model.9=model.77", r"no module 'model\.77' in the teacher"),
            (
                "model.9=model.1?",
                "matches 10 modules of the teacher, 'model.9' one of the student: name one of model.10",
            ),
        ],
    )
    def test_patterns_that_fit_nothing(self, text: str, message: str) -> None:
        with pytest.raises(KDError, match=message):
            resolve_taps(parse_taps(text), generator(depth=2), teacher(depth=4))

    def test_default_resolutions(self, x: torch.Tensor) -> None:
        for network, fraction in ((generator(), 4), (generator(architecture="unet", depth=5), 8)):
            name = default_taps(network, network)[0].student
            with Recorder(network, [name]) as recorder:
                network(torch.zeros(1, 3, 64, 64, dtype=torch.float64))
            assert recorder.calls[0].features[name].shape[-1] == 64 // fraction

    def test_an_element_of_an_output_is_found_by_itself_first(self) -> None:
        class Halves(nn.Module):
            def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
                return x.chunk(2, 1)

        with Recorder(network := Halves()) as recorder:
            first, second = network(torch.rand(4, 6, 8, 8))
        for element, output in enumerate((first, second)):
            call = recorder.find(output)
            assert call is not None and call.element == element and call.images is output
        part = second[1:3]
        call = recorder.find(part)
        assert call is not None and call.element == 1 and call.images is part and len(call.input) == 2
        assert recorder.find(torch.rand(4, 3, 8, 8)) is None

    def test_calls_are_kept_apart(self, x: torch.Tensor) -> None:
        network = generator()
        with Recorder(network, ["model.3"]) as recorder:
            outputs = [network(x), network(x.flip(0)), network(-x)]
        for i, output in enumerate(outputs):
            call = recorder.find(output)
            assert call is recorder.calls[i]
        assert recorder.find(outputs[0].clone()) is None
        torch.testing.assert_close(recorder.calls[1].features["model.3"], network.model[:4](x.flip(0)))

    def test_wrappers(self, x: torch.Tensor) -> None:
        network = generator()
        wrapped = nn.DataParallel(network)
        assert unwrap(wrapped) is network
        with Recorder(wrapped, ["model.3"]) as recorder:
            output = wrapped(x)
        assert recorder.find(output) is not None and "model.3" in recorder.calls[0].features

    @pytest.mark.parametrize("text", ["", "a,,b", "=b", "a="])
    def test_bad_lists(self, text: str) -> None:
        with pytest.raises(KDError, match="not a list of taps"):
            parse_taps(text)


class TestAttach:
    def test_gradient_is_that_of_the_sum(self, x: torch.Tensor) -> None:
        student = generator()
        parameters = list(student.parameters())

        def both(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return (images**2).mean() * 3, images.sin().mean()

        host, aux = both(student(x))
        expected = torch.autograd.grad(host + aux, parameters, allow_unused=True)
        images = student(x)
        attached, attachment = attach(images, both(images)[1])
        assert torch.equal(attached, images) and attachment.passes == 0
        ours = torch.autograd.grad(both(attached)[0], parameters, allow_unused=True)
        assert attachment.passes == 1
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)

    def test_scale_of_the_host_loss_does_not_matter(self) -> None:
        w = torch.tensor(2.0, requires_grad=True)
        attached, _ = attach(w * 1, 5 * w)
        (1000 * attached).backward()
        assert w.grad is not None and w.grad.item() == 1005

    def test_two_passes_warn(self) -> None:
        w = torch.tensor(2.0, requires_grad=True)
        attached, _ = attach(w * 1, 5 * w)
        attached.backward(retain_graph=True)
        with pytest.warns(UserWarning, match="count twice"):
            attached.backward()

    def test_the_host_may_write_into_the_output(self) -> None:
        w = torch.ones(3, requires_grad=True)
        attached, _ = attach(w * 2, (5 * w).sum())
        attached.mul_(10).sum().backward()
        assert w.grad is not None and w.grad.tolist() == [25.0] * 3

    def test_a_detached_use_is_no_pass(self) -> None:
        w = torch.tensor(2.0, requires_grad=True)
        attached, attachment = attach(w * 1, 5 * w)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            (attached.detach() * w).backward()
        assert attachment.passes == 0


class TestModule:
    def test_has_the_adapters_parameters_and_no_others(self) -> None:
        distiller = Distiller(generator(), teacher(), "feature,wavelet")
        given = list(distiller.parameters())
        assert given and list(map(id, given)) == [id(p) for p in distiller.adapters.parameters()]
        distiller.train()
        assert not distiller.teacher.training  # its mode is the user's

    def test_moves_teacher_and_adapters_and_leaves_the_student(self, x: torch.Tensor) -> None:
        student, big = generator(), teacher()
        inside = nn.ModuleDict({"distiller": Distiller(student, big, "feature")})
        inside.to(torch.float32)  # as a module that holds it is moved
        distiller = inside["distiller"]
        assert {p.dtype for p in (*big.parameters(), *distiller.parameters())} == {torch.float32}
        assert {p.dtype for p in student.parameters()} == {torch.float64}

    def test_state_is_that_of_adapters_and_networks_drawn_at_random(
        self, x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "noise.py").write_text(
            "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 2, 3))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        options = {"perceptual_network": "noise:net", "perceptual_layers": "0", "perceptual_weights": "random"}
        options["perceptual_input"] = "image"
        one, other = (Distiller(generator(), teacher(), "feature,perceptual", options=options) for _ in range(2))
        with torch.no_grad():
            for tensor in (*one.parameters(), *one.terms["perceptual"].term.network.parameters()):
                tensor.add_(0.5)
        assert one(x).total != other(x).total
        torch.save(one.state_dict(), tmp_path / "state.pth")
        other.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
        assert one(x).total == other(x).total


class TestAdapters:
    def test_channels_and_start(self, x: torch.Tensor) -> None:
        distiller = Distiller(generator(), teacher(), "feature,gram,srp")
        assert distiller.adapters.keys() == {"feature", "gram"}
        for adapters in distiller.adapters.values():
            assert [tuple(a.weight.shape[:2]) for a in adapters] == [(24, 16), (24, 16), (12, 8)]
        same = generator(ngf=6, depth=3, seed=1)
        assert Distiller(same, teacher(), "feature,gram")(x).total.item() == 0

    def test_they_learn_and_the_student_with_them(self, x: torch.Tensor) -> None:
        distiller = Distiller(generator(), teacher(), "feature")
        first = distiller(x).total.item()
        optimizer = torch.optim.Adam([*distiller.student.parameters(), *distiller.parameters()], lr=2e-3)
        for _ in range(20):
            optimizer.zero_grad()
            distiller(x).total.backward()
            assert all(p.grad is not None for p in distiller.adapters.parameters())
            optimizer.step()
        assert distiller(x).total.item() < 0.8 * first

    def test_networks_are_left_as_they_are(self) -> None:
        """Channels are found on a copy: no pass, no statistics, no random numbers of the student's."""
        spec = GeneratorSpec("resnet", 3, 3, 4, 1, "batch", True, False)
        student, big = build_generator(spec), build_generator(spec).requires_grad_(False)
        before, state = {k: v.clone() for k, v in student.state_dict().items()}, torch.get_rng_state()
        Distiller(student, big, "feature")
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())

    def test_a_network_that_cannot_be_copied_as_it_is(self, x: torch.Tensor) -> None:
        """Old weight reparametrisations leave tensors with a graph in the modules."""
        student = generator()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nn.utils.spectral_norm(student.model[1])
        student(x)
        with pytest.raises(KDError, match="cannot find the channels of the student"):
            Distiller(student, teacher(), "feature")

    def test_a_grouped_first_convolution(self) -> None:
        network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2, padding=1), nn.Conv2d(4, 4, 1))
        distiller = Distiller(network, copy.deepcopy(network).requires_grad_(False), "feature", taps=[Tap("0", "0")])
        assert distiller(torch.rand(1, 4, 8, 8)).total.item() == 0

    @pytest.mark.parametrize("depth", [8, 9, 10])
    def test_u_nets_that_take_large_pictures_alone(self, depth: int) -> None:
        """``unet_512`` and ``unet_1024`` halve a picture of 256 pixels more often than they can."""
        student = generator(ngf=1, depth=depth, architecture="unet").float()
        big = teacher(ngf=2, depth=depth, architecture="unet").float()
        distiller = Distiller(student, big, "feature,gram")
        for adapters in distiller.adapters.values():
            assert [tuple(a.weight.shape[:2]) for a in adapters] == [(4, 2), (8, 4), (2, 1)]
        side = 2**depth
        distiller(torch.rand(1, 3, side, side)).total.backward()
        gradients = [parameter.grad for parameter in distiller.adapters.parameters()]
        assert all(g is not None and g.isfinite().all() and g.any() for g in gradients) and len(gradients) == 12

    def test_a_module_without_feature_maps(self) -> None:
        class Flat(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.flat, self.back = nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Unflatten(1, (3, 256, 256))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.back(self.flat(self.conv(x)))

        with pytest.raises(KDError, match="'flat' of the student returns no feature map"):
            Distiller(Flat(), Flat().requires_grad_(False), "feature", taps=[Tap("flat", "conv")])
        small = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2 * 8 * 8, 3)).requires_grad_(False)
        with pytest.raises(KDError, match="did not run on a 256x256 image with 3 channels"):
            Distiller(small, small, "feature", taps=[Tap("0", "0")])


def test_weights_follow_the_epoch(x: torch.Tensor) -> None:
    distiller = Distiller(generator(), teacher(), {"pixel": "0@1,4@3", "wavelet": 1.0})
    values = []
    for epoch in (1, 2, 3, 9):
        distiller.epoch = epoch
        values.append(distiller(x).losses["pixel"].item())
    assert values == pytest.approx([0, values[3] / 2, values[3], values[3]]) and values[3] > 0


def test_a_term_of_weight_zero_is_not_computed(x: torch.Tensor) -> None:
    student, big = generator(), teacher()
    student.model[-2].weight.data.fill_(float("nan"))
    result = Distiller(student, big, {"pixel": 0.0})(x)
    assert result.total.item() == 0


def test_what_does_not_fit_names_term_and_tap(x: torch.Tensor) -> None:
    taps = parse_taps("model.9,model.4=model.7")
    with pytest.raises(KDError, match=r"^attention at model\.4=model\.7: the features do not match"):
        Distiller(generator(), teacher(), "attention", taps=taps)(x)


@pytest.mark.parametrize(
    ("terms", "taps"), [("srp", {"sprp": [Tap("model.9", "model.9")]}), ("wavelet", [Tap("model.9", "model.9")])]
)
def test_taps_that_nothing_reads_are_refused(terms: str, taps: object) -> None:
    with pytest.raises(KDError, match=r"taps are given for (sprp|no term), but the terms that read features are "):
        Distiller(generator(), teacher(), terms, taps=taps)  # type: ignore[arg-type]


def test_taps_by_term(x: torch.Tensor) -> None:
    student, big = generator(), teacher()
    distiller = Distiller(student, big, "srp,attention", taps={"srp": [Tap("model.9", "model.9")]})
    assert distiller.taps["srp"] == [Tap("model.9", "model.9")] and len(distiller.taps["attention"]) == 3
    result = distiller(x)
    expected = 1000 * semantic_relation_loss(student.model[:10](x), big.model[:10](x))
    torch.testing.assert_close(result.losses["srp"], expected)


@pytest.mark.parametrize(
    "taps",
    [
        "model.9,model.10=model.11",
        ["model.9", "model.10=model.11"],
        ["model.9,model.10=model.11"],
        [Tap("model.9", "model.9"), "model.10=model.11"],
        {"srp": "model.9,model.10=model.11"},
        {"srp": ("model.9", Tap("model.10", "model.11"))},
        {"srp": ["model.9", "model.10=model.11"]},
    ],
)
def test_taps_as_text(taps: object) -> None:
    """As ``--distill_taps`` has them."""
    distiller = Distiller(generator(), teacher(), "srp", taps=taps)  # type: ignore[arg-type]
    assert distiller.taps["srp"] == [Tap("model.9", "model.9"), Tap("model.10", "model.11")]


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (["model.9", 10], "10 is not a tap: give module names such as 'model.12,model.15=model.18'"),
        ([("model.9", "model.10")], r"\('model.9', 'model.10'\) is not a tap: give module names such as"),
        (9, "9 is not a tap: give module names such as"),
        (iter(["model.9"]), "iterator.* is not a tap: give module names such as"),  # several terms would read it
        ({"srp": 9}, "9 is not a tap: give module names such as"),
        ("model.9,,", "'model.9,,' is not a list of taps"),
        (["model.99"], "no module 'model.99' in the student"),
    ],
)
def test_taps_that_are_none(taps: object, message: str) -> None:
    with pytest.raises(KDError, match=message):
        Distiller(generator(), teacher(), "srp", taps=taps)  # type: ignore[arg-type]


def test_built_terms_are_taken_as_they_are(x: torch.Tensor) -> None:
    student, big = generator(), teacher()
    built = Distiller(student, big, build_terms({"pixel": 2.0}))(x).total
    torch.testing.assert_close(built, Distiller(student, big, {"pixel": 2.0})(x).total)
    mixed = Distiller(student, big, {"wavelet": 1.0, **build_terms({"pixel": 2.0})})
    assert list(mixed.terms) == ["wavelet", "pixel"] and mixed.terms["pixel"].weight(1) == 2
