"""The students of ``kd compress``: what a text asks for, and the networks with their initial weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kd_plugin import GeneratorSpec
from kd_plugin.compression.students import build, check_student
from kd_plugin.compression.teachers import Teacher
from kd_plugin.compression.wishes import Wish, parse_wish, parse_wishes
from kd_plugin.errors import ArgumentError
from kd_plugin.networks.architecture import Padding
from kd_plugin.networks.generator import build_generator
from kd_plugin.report.experiments import Experiment

SPEC = GeneratorSpec("resnet", 3, 3, 16, 3, "instance", False, True)
SIZE = 32


def teacher(spec: GeneratorSpec | None = SPEC, network: nn.Module | None = None) -> Teacher:
    torch.manual_seed(1)
    made = network or build_generator(spec or SPEC)
    experiment = Experiment(Path("big"), "teacher", "big", {})
    return Teacher(made.requires_grad_(False), spec, experiment, "")


def macs(network: nn.Module) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, SIZE, SIZE))
    return counter.get_total_flops() // 2


def params(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "name", "wanted"),
        [
            ("", "", {}),
            ("ngf=24+conv=separable", "ngf24_separable", {"ngf": 24, "conv": "separable"}),
            ("widths=24/40/96", "widths24-40-96", {"widths": (24, 40, 96)}),
            ("widths=24,40,96", "widths24-40-96", {"widths": (24, 40, 96)}),
            ("netG=resnet_6blocks+ngf=8", "netGresnet_6blocks_ngf8", {"netG": "resnet_6blocks", "ngf": 8}),
            ("factory=a.b:c", "factorya.b-c", {"factory": "a.b:c"}),
            ("ngf=8+init=scratch+keep=first", "ngf8_initscratch_keepfirst", {"init": "scratch", "keep": "first"}),
            ("ngf=8+dropout=yes", "ngf8_dropoutyes", {"dropout": True}),
            ("7x+lr=0.002", "7x_lr0.002", {"lr": 0.002}),
            ("7x+distill=ssim,gram", "7x_ssim-gram", {"terms": {"ssim": None, "gram": None}}),
            (
                "7x+distill=ssim/wavelet+lambda-wavelet=20",
                "7x_ssim-wavelet_lambda-wavelet20",
                {"terms": {"ssim": None, "wavelet": "20"}},
            ),
        ],
    )
    def test_settings_and_the_name_of_the_folder(self, text: str, name: str, wanted: dict[str, Any]) -> None:
        wish = parse_wish(text)
        assert wish.name == name
        assert {key: getattr(wish, key) for key in wanted} == wanted

    def test_limits(self) -> None:
        wish = parse_wish("7x")
        assert wish.name == "7x"
        assert wish.limits is not None and wish.limits["macs"].text == "7x"
        several = parse_wish("macs=8G+file_size=4MB").limits
        assert several is not None and {name: limit.amount for name, limit in several.items()} == {
            "macs": 8e9,
            "file_size": 4e6,
        }

    def test_common_settings_hold_unless_a_student_has_its_own(self) -> None:
        common = {"ngf": "8", "conv": "separable"}
        assert parse_wish("netG=resnet_6blocks", common).ngf == 8
        own = parse_wish("widths=4/8/16", common)
        assert (own.ngf, own.widths, own.conv) == (None, (4, 8, 16), "separable")
        assert parse_wish("ngf=9+conv=standard", common).conv == "standard"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("wide=3", "unknown setting 'wide'"),
            ("ngf=x", "ngf x: give a width of 1 or more"),
            ("ngf=0", "ngf 0: give a width"),
            ("widths=8/0/8", "widths 8/0/8: give a width"),
            ("conv=thin", "conv thin: choose from standard, separable"),
            ("7", "a number needs a unit"),
            ("ngf=4+7x", "ngf and macs all set its width"),
            ("factory=a:b+ngf=4", "ngf has no effect with a factory"),
            ("dropout=maybe", "choose from yes, no"),
            ("7x+lr=0", "lr 0: give a number above 0"),
            ("7x+lr=inf", "lr inf: give a number above 0"),
            ("7x+lr=fast", "lr fast: give a number above 0"),
            ("7x+distill=ssmi", "unknown term 'ssmi': did you mean 'ssim'"),
            ("7x+distill=", "distill : give terms"),
            ("7x+lambda_ssim=3", "lambda_ssim: name the terms as well, such as distill=ssim"),
            ("7x+distill=ssim+lambda_srp=3", "lambda_srp has no effect: srp is not in its distill"),
            ("7x+distill=ssim+lambda_ssim=-1", "lambda_ssim is '-1': give finite weights of 0 or more"),
        ],
    )
    def test_what_has_no_meaning_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(ArgumentError, match=message) as raised:
            parse_wish(text)
        assert str(raised.value).count(f"the student '{text}'") == 1

    def test_two_students_of_one_name_are_refused(self) -> None:
        with pytest.raises(ArgumentError, match="two students are named 7x"):
            parse_wishes(["7x", "macs=7x"])
        assert [wish.name for wish in parse_wishes([])] == [""]


class TestNetworks:
    @pytest.mark.parametrize("factor", [2, 4, 8])
    @pytest.mark.parametrize("conv", ["standard", "separable"])
    def test_a_limit_is_kept_by_the_widest_student(self, factor: int, conv: str) -> None:
        large = teacher()
        student = build(parse_wish(f"{factor}x+conv={conv}"), large, 3, SIZE, 0)
        assert macs(student.network) <= macs(large.network) / factor
        wider = build(parse_wish(f"ngf={student.request.ngf + 1}+conv={conv}"), large, 3, SIZE, 0)
        assert macs(wider.network) > macs(large.network) / factor or student.request.ngf == SPEC.ngf

    def test_several_limits_hold_together(self) -> None:
        large = teacher()
        student = build(parse_wish("macs=2x+params=6x"), large, 3, SIZE, 0)
        assert params(student.network) <= params(large.network) / 6
        assert macs(student.network) <= macs(large.network) / 2

    def test_without_a_wish_it_has_three_eighths_of_the_width(self) -> None:
        assert build(Wish(), teacher(), 3, SIZE, 0).request.ngf == 6

    @pytest.mark.parametrize("padding", ["reflect", "zero"])
    def test_one_as_wide_as_its_teacher_is_equal_to_it(self, padding: Padding) -> None:
        large = teacher(replace(SPEC, padding=padding))
        student = build(parse_wish("ngf=16"), large, 3, SIZE, 0)
        images = torch.rand(1, 3, SIZE, SIZE) * 2 - 1
        assert student.inherited
        assert torch.equal(student.network(images), large.network(images))

    def test_weights_that_do_not_fit_are_random_unless_they_were_asked_for(self) -> None:
        deeper = "netG=resnet_6blocks+ngf=4"
        assert not build(parse_wish(deeper), teacher(), 3, SIZE, 0).inherited
        with pytest.raises(ArgumentError, match="shallower"):
            build(parse_wish(f"{deeper}+init=teacher"), teacher(), 3, SIZE, 0)

    def test_random_weights_are_the_hosts_and_depend_on_the_seed_alone(self) -> None:
        """Normal with a standard deviation of 0.02: the estimate is within five of its standard errors."""
        wish = parse_wish("ngf=12+init=scratch")
        first, again, other = (build(wish, teacher(), 3, SIZE, seed).network for seed in (0, 0, 1))
        states = [list(network.state_dict().values()) for network in (first, again, other)]
        assert all(torch.equal(a, b) for a, b in zip(states[0], states[1], strict=True))
        assert any(not torch.equal(a, b) for a, b in zip(states[0], states[2], strict=True))
        weights = torch.cat([p.detach().flatten() for name, p in first.named_parameters() if name.endswith("weight")])
        assert abs(float(weights.std()) - 0.02) < 5 * 0.02 / (2 * len(weights)) ** 0.5
        assert all(not p.any() for name, p in first.named_parameters() if name.endswith("bias"))

    def test_the_random_numbers_of_the_caller_are_unchanged(self) -> None:
        large = teacher()
        before = torch.get_rng_state()
        build(parse_wish("ngf=4+init=scratch"), large, 3, SIZE, 7)
        assert torch.equal(torch.get_rng_state(), before)

    def test_of_a_teacher_outside_the_family(self) -> None:
        large = teacher(None, nn.Conv2d(3, 3, 1))
        student = build(Wish(), large, 3, SIZE, 0)
        assert (student.request.netG, student.request.ngf, student.inherited) == ("resnet_9blocks", 24, False)
        with pytest.raises(ArgumentError, match="a student of 7x: the cost of the teacher is not known"):
            build(parse_wish("7x"), large, 3, SIZE, 0)
        absolute = build(parse_wish("macs=10M"), large, 3, SIZE, 0)
        assert macs(absolute.network) <= 10e6
        with pytest.raises(ArgumentError, match="is not one"):
            build(parse_wish("ngf=4+init=teacher"), large, 3, SIZE, 0)

    def test_grey_images_and_dropout(self) -> None:
        large = teacher(replace(SPEC, input_nc=1, output_nc=1))
        large = replace(large, channels=1)
        student = build(parse_wish("ngf=4"), large, 1, SIZE, 0)
        assert student.network(torch.zeros(1, 1, SIZE, SIZE)).shape == (1, 1, SIZE, SIZE)
        for wish, dropout in (("ngf=4", 0), ("ngf=4+dropout=yes", 3)):
            network = build(parse_wish(wish), teacher(), 3, SIZE, 0).network
            assert sum(isinstance(module, nn.Dropout) for module in network.modules()) == dropout

    def test_a_size_that_a_u_net_cannot_halve_is_refused(self) -> None:
        student = build(parse_wish("netG=unet_32+ngf=4"), teacher(), 3, SIZE, 0)
        check_student(student, 64, 3)
        with pytest.raises(ArgumentError, match="multiples of 32, not 48"):
            check_student(student, 48, 3)

    def test_one_that_returns_other_images_than_the_teacher_is_refused(self) -> None:
        student = build(parse_wish("ngf=4"), teacher(), 3, SIZE, 0)
        with pytest.raises(ArgumentError, match=r"returns \(1, 3, 20, 20\) for images of 18x18 pixels, the t"):
            check_student(student, 18, 3)
        with pytest.raises(ArgumentError, match=r"the teacher \(1, 1, 16, 16\)"):
            check_student(student, 16, 1)
        broken = replace(student, network=nn.Linear(3, 3))
        with pytest.raises(ArgumentError, match="does not take images of 16x16 pixels"):
            check_student(broken, 16, 3)
