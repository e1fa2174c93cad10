"""Students without a host: descriptions, builders, inherited weights, budgets and plans."""

from __future__ import annotations

import copy
import io
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.hosts import HOST, imported_host
from helpers.tensors import random
from torch import nn

from kd_plugin import GeneratorSpec, KDError
from kd_plugin.commands.plan_output import student_flags
from kd_plugin.host.options.distill import add_options
from kd_plugin.metrics import latency
from kd_plugin.metrics.cost import Cost, count_parameters, generator_cost
from kd_plugin.metrics.limits import parse_budget, parse_limit
from kd_plugin.networks.architecture import Layer
from kd_plugin.networks.checkpoint import inspect_state_dict
from kd_plugin.networks.generator import build_generator, get_architecture, parse_netG
from kd_plugin.students import (
    StudentRecord,
    StudentRequest,
    build_student,
    builders,
    inherit_weights,
    is_registered,
    register,
    student_spec,
)
from kd_plugin.students.budget import student_within, widest
from kd_plugin.students.inherit import _factor
from kd_plugin.students.plan import Plan, Student, make_plan

RESNET = GeneratorSpec("resnet", 3, 2, 8, 4, "batch", False, False)
UNET = GeneratorSpec("unet", 1, 3, 8, 6, "batch", False, False)
SPECS = {
    "resnet": RESNET,
    "resnet-dropout": replace(RESNET, norm="instance", bias=True, dropout=True),
    "resnet-widths": replace(RESNET, widths=(8, 5, 11)),
    "resnet-separable": replace(RESNET, conv="separable"),
    "resnet-separable-dropout": replace(RESNET, conv="separable", norm="instance", bias=True, dropout=True),
    "resnet-bare": replace(RESNET, norm="none"),
    "resnet-zeros": replace(RESNET, padding="zero"),
    "resnet-zeros-separable-dropout": replace(RESNET, padding="zero", conv="separable", dropout=True),
    "unet": UNET,
    "unet-widths": replace(UNET, norm="instance", bias=True, depth=5, widths=(8, 3, 7, 9, 4)),
}
every_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def network(spec: GeneratorSpec, seed: int = 0) -> nn.Module:
    """A generator in eval mode whose every tensor is random, norms and statistics included."""
    built = build_generator(spec).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in built.state_dict().items():
        if tensor.ndim:
            tensor.normal_(0, 0.3, generator=generator)
        if name.endswith("running_var"):
            tensor.abs_().add_(0.5)
    return built


def picture(spec: GeneratorSpec) -> torch.Tensor:
    return random(2, spec.input_nc, 64, 64)


def test_the_record_keeps_the_padding() -> None:
    record = StudentRecord("1", "test", "AtoB", {}, {}, build={"padding": "zero"})
    assert record.request.padding == "zero" and not record.request.is_plain  # hosts of the family reflect
    with pytest.raises(KDError, match="'build' is not valid"):
        _ = replace(record, build={"padding": "mirror"}).request


class TestDescription:
    @every_spec
    def test_is_read_off_the_file(self, spec: GeneratorSpec) -> None:
        found = inspect_state_dict(build_generator(spec).state_dict())
        assert found == replace(spec, dropout=None if spec.architecture == "unet" else spec.dropout)
        assert found.stages == (spec.widths or found.stages)

    def test_one_network_has_one_description(self) -> None:
        assert replace(RESNET, widths=(8, 16, 32)) == RESNET
        assert replace(UNET, widths=(8, 16, 32, 64, 64, 64)) == UNET

    @pytest.mark.parametrize(
        ("spec", "changes", "message"),
        [
            (RESNET, {"widths": (8, 16)}, "widths 8,16: a resnet_4blocks takes 3, .* such as 8,16,32"),
            (RESNET, {"widths": (9, 16, 32)}, "widths 9,16,32"),
            (RESNET, {"widths": (8, 0, 32)}, "of 1 or more"),
            (UNET, {"widths": (8, 16, 32)}, "a unet_64 takes 6, of 1 or more, for each halving"),
            (UNET, {"conv": "separable"}, "residual blocks, which a unet_64 does not have"),
            (UNET, {"padding": "zero"}, "padding 'zero' is for ResNets, not for a unet_64"),
        ],
    )
    def test_refuses(self, spec: GeneratorSpec, changes: dict, message: str) -> None:
        with pytest.raises(KDError, match=message):
            replace(spec, **changes)

    @pytest.mark.parametrize("name", ["resnet", "resnet_0blocks", "resnet_-1blocks", "unet_100", "unet_16", "unet_"])
    def test_names_that_are_none(self, name: str) -> None:
        with pytest.raises(KDError, match=f"unknown generator '{name}': resnet_Nblocks"):
            parse_netG(name)

    @every_spec
    def test_names(self, spec: GeneratorSpec) -> None:
        assert parse_netG(spec.netG) == (spec.architecture, spec.depth)

    def test_separable_blocks_in_closed_form(self) -> None:
        """9 + C products at each pixel and channel in place of 9 C, and as many weights."""
        c, pixels = 4 * RESNET.ngf, (64 // 4) ** 2
        full, separable = (generator_cost(replace(RESNET, conv=conv), 64) for conv in ("standard", "separable"))
        convolutions = 2 * RESNET.depth
        assert full.macs - separable.macs == convolutions * pixels * (9 * c * c - (9 * c + c * c))
        norm = 2 * c  # of the norm between the two
        assert full.params - separable.params == convolutions * (9 * c * c - (9 * c + c * c) - norm)


def layers(spec: GeneratorSpec) -> list[Layer]:
    return get_architecture(spec.architecture).layers(spec)


def first_and_last(convolution: nn.Module, layer: Layer) -> tuple[nn.Module, nn.Module]:
    return (convolution[0], convolution[2]) if layer.separable else (convolution, convolution)


def widths(spec: GeneratorSpec) -> dict[str, int]:
    """The channels of every group, from the convolutions that write it."""
    modules = dict(build_generator(spec).named_modules())
    written = {(layer.writes, first_and_last(modules[layer.conv], layer)[1].out_channels) for layer in layers(spec)}
    assert len(written) == len(dict(written))  # all that write a group write as many
    return {"input": spec.input_nc, **dict(written)}


@every_spec
def test_structure_is_that_of_the_network(spec: GeneratorSpec) -> None:
    """Every convolution and norm is listed once, and its tensors have the channels of its groups."""
    modules = dict(build_generator(spec).named_modules())
    channels, listed = widths(spec), set()
    assert channels["output"] == spec.output_nc
    for layer in layers(spec):
        convolution = modules[layer.conv]
        assert isinstance(convolution, nn.ConvTranspose2d) is layer.transposed
        first, last = first_and_last(convolution, layer)
        assert first.in_channels == sum(channels[group] for group in layer.reads)
        assert not {id(first), id(last)} & listed
        listed |= {id(first), id(last)}
        if layer.norm:
            assert getattr(modules[layer.norm], "num_features", last.out_channels) == last.out_channels
            listed.add(id(modules[layer.norm]))
        if layer.separable:
            listed.add(id(convolution[1]))
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d)
    assert {id(module) for module in modules.values() if isinstance(module, kinds)} <= listed


def hidden_in(small: GeneratorSpec, large: GeneratorSpec, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """A generator, and a wider one that computes the same with channels at random places; the others write zeros."""
    inner, outer = network(small), network(large, seed=1)
    generator = torch.Generator().manual_seed(seed)
    channels, more = widths(small), widths(large)
    places = {
        group: torch.arange(n)
        if group in ("input", "output")
        else torch.randperm(more[group], generator=generator)[:n]
        for group, n in channels.items()
    }
    places = {group: index.sort().values for group, index in places.items()}
    state, own = outer.state_dict(), inner.state_dict()
    for layer in layers(small):
        offsets = np.cumsum([0, *(more[group] for group in layer.reads)])
        columns = torch.cat([places[g] + int(o) for g, o in zip(layer.reads, offsets, strict=False)])
        weight, wide = own[f"{layer.conv}.weight"], state[f"{layer.conv}.weight"]
        if layer.transposed:
            weight, wide = weight.transpose(0, 1), wide.transpose(0, 1)
        rows = places[layer.writes]
        others = torch.ones(len(wide), dtype=torch.bool).index_fill(0, rows, False)
        wide[others] = 0  # what reads these channels keeps its random weights
        wide[rows[:, None], columns] = weight
        if f"{layer.conv}.bias" in state:
            state[f"{layer.conv}.bias"].zero_()[rows] = own[f"{layer.conv}.bias"]
        for key in [k for k in own if layer.norm and k.startswith(f"{layer.norm}.") and own[k].ndim]:
            if not key.endswith("running_var"):
                state[key].zero_()
            state[key][rows] = own[key]
    return inner, outer


class TestInherit:
    @every_spec
    def test_as_wide_as_the_teacher_is_the_teacher(self, spec: GeneratorSpec) -> None:
        teacher, student = network(spec), network(spec, seed=1)
        assert not torch.equal(student(picture(spec)), teacher(picture(spec)))
        inherit_weights(student, teacher)
        assert torch.equal(student(picture(spec)), teacher(picture(spec)))

    @pytest.mark.parametrize("norm", ["batch", "none"])
    @pytest.mark.parametrize("spec", [RESNET, UNET], ids=["resnet", "unet"])
    def test_finds_a_small_generator_hidden_in_a_large_one(self, spec: GeneratorSpec, norm: str) -> None:
        """Through residual and skip connections, norms and transposed convolutions: one channel amiss would show."""
        small = replace(spec, ngf=4, norm=norm)  # type: ignore[arg-type]
        inner, outer = hidden_in(small, replace(small, ngf=9))
        torch.testing.assert_close(outer(picture(spec)), inner(picture(spec)))
        student = network(small, seed=2)
        inherit_weights(student, outer)
        assert torch.equal(student(picture(spec)), inner(picture(spec)))

    def test_first_channels(self) -> None:
        student, teacher = network(replace(RESNET, ngf=3)), network(RESNET)
        inherit_weights(student, teacher, keep="first")
        own, other = student.state_dict(), teacher.state_dict()
        for key, tensor in own.items():
            assert torch.equal(tensor, other[key][tuple(slice(n) for n in tensor.shape)])

    def test_the_residual_stream_is_chosen_by_all_that_write_it(self) -> None:
        """By the sum of the filters' norms over the downsampling and every block, not by any one of them."""
        teacher, student = network(RESNET), network(replace(RESNET, ngf=4), seed=1)
        writers = ["7", *(f"{10 + i}.conv_block.5" for i in range(RESNET.depth))]
        weights = [teacher.state_dict()[f"model.{name}.weight"].flatten(1).abs().sum(1) for name in writers]
        kept = torch.stack(weights).sum(0).topk(16).indices.sort().values
        assert all(set(w.topk(16).indices.tolist()) != set(kept.tolist()) for w in weights)
        inherit_weights(student, teacher)
        expected = teacher.state_dict()["model.8.weight"][kept]
        assert torch.equal(student.state_dict()["model.8.weight"], expected)

    def test_fewer_blocks_are_spaced_over_the_depth(self) -> None:
        """Of four blocks two are kept, the second and the fourth: with the others silent nothing is lost."""
        teacher = network(replace(RESNET, norm="none"))
        for block in (0, 2):
            teacher.model[10 + block].conv_block[5].weight.data.zero_()
        student = network(replace(RESNET, norm="none", depth=2), seed=1)
        inherit_weights(student, teacher)
        torch.testing.assert_close(student(picture(RESNET)), teacher(picture(RESNET)), rtol=1e-12, atol=1e-12)

    def test_a_shallower_unet_has_the_outer_levels(self) -> None:
        """The innermost level of the student reads what its teacher's reads, less what comes from below."""
        teacher, student = network(replace(UNET, norm="none")), network(replace(UNET, norm="none", depth=5), seed=1)
        level = "model.model.1.model.3.model.3.model.3.model."  # the fifth
        teacher.state_dict()[f"{level}5.weight"][64:] = 0  # nothing from below
        inherit_weights(student, teacher)
        torch.testing.assert_close(student(picture(UNET)), teacher(picture(UNET)), rtol=1e-12, atol=1e-12)

    def test_separable_filters_are_found(self) -> None:
        """A teacher whose filters are products of a depthwise and a pointwise one loses nothing."""
        bare = replace(RESNET, norm="none", bias=False)
        teacher, student = network(bare), network(replace(bare, conv="separable"), seed=1)
        for i in range(bare.depth):
            for k in (1, 5):
                weight = teacher.model[10 + i].conv_block[k].weight.data
                weight.copy_(random(32, 32, 1, 1, seed=i) * random(1, 32, 3, 3, seed=k))
        inherit_weights(student, teacher)
        torch.testing.assert_close(student(picture(bare)), teacher(picture(bare)), rtol=1e-9, atol=1e-9)

    def test_the_closest_separable_convolution(self) -> None:
        weight = random(6, 4, 3, 3)
        pointwise, depthwise = _factor(weight)
        error = (weight - pointwise * depthwise.transpose(0, 1)).square().sum((0, 2, 3))
        singular = [np.linalg.svd(weight[:, c].flatten(1).numpy(), compute_uv=False) for c in range(4)]
        np.testing.assert_allclose(error, [(values[1:] ** 2).sum() for values in singular])
        torch.testing.assert_close(depthwise.square().sum((1, 2, 3)), torch.ones(4, dtype=torch.float64))

    def test_norms_that_differ_keep_their_own(self) -> None:
        teacher, student = network(RESNET), network(replace(RESNET, norm="instance", bias=True), seed=1)
        before = copy.deepcopy(student.state_dict())
        inherit_weights(student, teacher)
        after = student.state_dict()
        assert torch.equal(after["model.4.weight"], teacher.state_dict()["model.4.weight"])
        assert torch.equal(after["model.4.bias"], before["model.4.bias"])

    def test_wrapped_networks_and_their_parameters(self) -> None:
        """The parameters stay the same objects, which an optimizer may hold already."""
        teacher, student = network(RESNET), nn.DataParallel(network(replace(RESNET, ngf=4)))
        held = list(student.parameters())
        inherit_weights(student, nn.DataParallel(teacher))
        assert all(a is b for a, b in zip(held, student.parameters(), strict=True)) and held[0].requires_grad
        kept = teacher.model[1].weight.abs().sum((1, 2, 3)).topk(4).indices.sort().values
        assert torch.equal(held[0], teacher.model[1].weight[kept])

    @pytest.mark.parametrize(
        ("student", "message"),
        [
            (UNET, "a unet_64 cannot inherit the weights of a resnet_4blocks"),
            (replace(RESNET, depth=5), "of a shallower resnet_4blocks"),
            (replace(RESNET, ngf=9), "widths 9,18,36 cannot inherit the weights of a narrower teacher, 8,16,32"),
            (replace(RESNET, widths=(8, 17, 20)), "widths 8,17,20"),
            (replace(RESNET, output_nc=3), "a student with output_nc 3"),
        ],
    )
    def test_refuses(self, student: GeneratorSpec, message: str) -> None:
        with pytest.raises(KDError, match=message):
            inherit_weights(build_generator(student), build_generator(RESNET))

    def test_refuses_what_is_no_generator(self) -> None:
        with pytest.raises(KDError, match="the student is not one: state dict: no first layer"):
            inherit_weights(nn.Linear(1, 1), build_generator(RESNET))
        with pytest.raises(KDError, match="use separable residual blocks too"):
            inherit_weights(build_generator(RESNET), build_generator(SPECS["resnet-separable"]))
        with pytest.raises(KDError, match="unknown way to keep channels 'l2' \\(known: first, l1\\)"):
            inherit_weights(build_generator(RESNET), build_generator(RESNET), keep="l2")  # type: ignore[arg-type]


REQUEST = StudentRequest(3, 3, 8, "resnet_2blocks")


@pytest.fixture
def registry() -> Iterator[None]:
    before = dict(builders._builders)
    yield
    builders._builders.clear()
    builders._builders.update(before)


class TestBuilders:
    @pytest.mark.parametrize("netG", ["resnet_6blocks", "unet_128"])
    @pytest.mark.parametrize("norm", ["batch", "instance", "none"])
    @pytest.mark.parametrize("dropout", [False, True])
    def test_builds_what_a_host_builds(self, netG: str, norm: str, dropout: bool) -> None:
        ours = build_student(StudentRequest(3, 1, 4, netG, norm, dropout)).eval()
        with imported_host(HOST, "2025") as models:
            theirs = models.networks.define_G(3, 1, 4, netG, norm, dropout).eval()
        theirs.load_state_dict(ours.state_dict())
        x = torch.rand(1, 3, 128, 128)
        assert torch.equal(ours(x), theirs(x))
        assert sum(isinstance(m, nn.Dropout) for m in ours.modules()) == sum(
            isinstance(m, nn.Dropout) for m in theirs.modules()
        )

    def test_batch_norms_of_several_processes(self) -> None:
        kinds = {type(m) for m in build_student(replace(REQUEST, norm="syncbatch")).modules()}
        assert nn.SyncBatchNorm in kinds and nn.BatchNorm2d not in kinds

    def test_a_builder_by_name(self, registry: None) -> None:
        asked = []

        @register("mobile")
        def mobile(request: StudentRequest) -> nn.Module:
            asked.append(request)
            return nn.Conv2d(request.input_nc, request.output_nc, 1)

        request = replace(REQUEST, netG="mobile", ngf=5)
        assert isinstance(build_student(request), nn.Conv2d) and asked == [request] and is_registered("mobile")
        assert register("mobile")(mobile) is mobile  # a module that is imported twice
        with pytest.raises(KDError, match="takes no stage widths"):
            build_student(replace(request, widths=(5, 5, 5)))
        with pytest.raises(KDError, match="takes no separable convolutions"):
            build_student(replace(request, conv="separable"))
        with pytest.raises(KDError, match="or the registered mobile"):
            build_student(replace(REQUEST, netG="mobil"))
        again = type(mobile)(mobile.__code__, mobile.__globals__, "mobile", None, mobile.__closure__)
        again.__qualname__ = mobile.__qualname__
        assert register("mobile")(again) is again  # its module was loaded anew
        with pytest.raises(KDError, match="the builder 'mobile' is already registered"):
            register("mobile")(lambda request: nn.Identity())

    @pytest.mark.parametrize("name", ["resnet_9blocks", "unet_64"])
    def test_names_of_the_family_are_taken(self, registry: None, name: str) -> None:
        with pytest.raises(KDError, match="is a generator of the family"):
            register(name)(lambda request: nn.Identity())

    def test_a_builder_is_a_function(self, registry: None) -> None:
        with pytest.raises(KDError, match="the builder 'x' is a int"):
            register("x")(3)  # type: ignore[type-var]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"factory": "torch.nn:Gone"}, "the student torch.nn:Gone cannot be built: AttributeError"),
            ({"factory": "gone:f"}, "ModuleNotFoundError: No module named 'gone'"),
            ({"factory": "builtins:str"}, "returned a str, expected a network"),
            ({"netG": "resnet"}, "unknown generator 'resnet'"),
            ({"norm": "group"}, "norm 'group' is only known to the host"),
            ({"ngf": 0}, "ngf 0: give a width of 1 or more"),
        ],
    )
    def test_refuses(self, changes: dict, message: str) -> None:
        with pytest.raises(KDError, match=message):
            build_student(replace(REQUEST, **changes))


TEACHER = GeneratorSpec("resnet", 3, 3, 16, 6, "instance", False, True)


class TestBudgets:
    @pytest.mark.parametrize(
        ("measure", "text", "amount"),
        [
            ("params", "1.6M", 1.6e6), ("params", "500k", 5e5), ("macs", "8G", 8e9),
            ("macs", "0.5 g", 5e8), ("file_size", "4.5MB", 4.5e6), ("file_size", "300KB", 3e5),
            ("latency", "50ms", 0.05), ("latency", ".1s", 0.1), ("latency", "900us", 9e-4),
        ],
    )  # fmt: skip
    def test_amounts(self, measure: str, text: str, amount: float) -> None:
        limit = parse_limit(measure, text)
        assert limit.amount == pytest.approx(amount, rel=1e-12) and limit.absolute(1) == limit.amount

    def test_other_ways_to_say_it(self) -> None:
        """A ratio alone is of MACs, and size is what the file size was called before."""
        assert parse_budget("7x") == parse_budget("macs=7x")
        assert parse_budget("7x,size=4MB") == parse_budget("macs=7x,file_size=4MB")

    def test_amounts_of_the_teacher(self) -> None:
        assert parse_limit("macs", "7x").absolute(49e9) == 7e9

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("macs", "'macs' is not a limit: give e.g. 7x"),
            ("7", r"macs 7: a number needs a unit: did you mean 7x \(7 times less .*\) or 7G\?"),
            ("latency=50", "latency 50: a number needs a unit: did you mean 50x .* or 50ms"),
            ("params=1600000", r"params 1600000: .* did you mean 1\.600M\?"),
            ("size=4MB,file_size=3MB", "file_size is limited twice"),
            ("mac=7x", "unknown measure of a budget 'mac': did you mean 'macs'"),
            ("macs=seven", "macs seven: give an amount such as 8G or 7x"),
            ("macs=7ms", "macs 7ms"),
            ("macs=0x", "macs 0x"),
            ("macs=-1G", "macs -1G"),
            ("macs=7x,macs=8G", "macs is limited twice"),
            ("macs=7x,", "'' is not a limit"),
        ],
    )
    def test_refuses(self, text: str, message: str) -> None:
        with pytest.raises(KDError, match=message):
            parse_budget(text)

    @every_spec
    def test_file_size_is_that_of_the_file(self, spec: GeneratorSpec) -> None:
        state, file = build_generator(spec).state_dict(), io.BytesIO()
        torch.save(state, file)
        assert generator_cost(spec, 64).file_size == pytest.approx(file.tell(), abs=128 * len(state))

    def test_the_papers_student(self) -> None:
        """7.08x fewer parameters than ngf 64 is ngf 24, and seven times fewer operations one less."""
        teacher = replace(TEACHER, ngf=64, depth=9)
        assert student_within(parse_budget("params=7.08x"), teacher, teacher, 256).ngf == 24
        assert student_within(parse_budget("macs=6.8x"), teacher, teacher, 256).ngf == 24
        assert student_within(parse_budget("macs=7x"), teacher, teacher, 256).ngf == 23

    def test_a_width_just_above_whole_blocks_of_channels_is_narrowed_to_them(self) -> None:
        teacher = replace(TEACHER, ngf=64, depth=9)
        for widest_within, chosen in ((23, 23), (24, 24), (25, 24), (26, 24), (27, 27), (33, 32)):
            allowed = generator_cost(replace(teacher, ngf=widest_within), 256).params
            assert student_within(parse_budget(f"params={allowed / 1e3}k"), teacher, teacher, 256).ngf == chosen

    def test_nothing_fits_says_what_would(self) -> None:
        with pytest.raises(KDError, match=r"macs 100x allows .*, a resnet_6blocks of ngf 4 takes .*11.5x less"):
            student_within(parse_budget("macs=100x"), TEACHER, TEACHER, 64)

    def test_widest_of_none(self) -> None:
        assert widest(TEACHER, 16, lambda spec: False) is None
        assert widest(TEACHER, 16, lambda spec: True) == TEACHER
        narrow = widest(TEACHER, 2, lambda spec: True)  # a teacher narrower than what is searched for
        assert narrow is not None and narrow.ngf == 2


def trained_with(flags: str, teacher: GeneratorSpec) -> GeneratorSpec:
    """The student that the runner's options ask for."""
    parser = ArgumentParser()
    add_options(parser)
    opt = parser.parse_args(flags.split())
    request = StudentRequest(
        teacher.input_nc, teacher.output_nc, opt.student_ngf, opt.student_netG or teacher.netG, teacher.norm,
        bool(teacher.dropout), conv=opt.student_conv or "standard",
    )  # fmt: skip
    return student_spec(request)


class TestPlan:
    @pytest.fixture(autouse=True)
    def times(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Times that are the number of parameters in microseconds."""

        def count(specs, size, device="cpu", rounds=5, progress=lambda done: None):  # type: ignore[no-untyped-def]
            progress(1.0)
            return [generator_cost(spec, size).params * 1e-6 for spec in specs]

        monkeypatch.setattr("kd_plugin.students.plan.generator_latencies", count)

    @pytest.mark.parametrize(
        "teacher", [TEACHER, replace(TEACHER, conv="separable"), replace(UNET, input_nc=3, ngf=16)]
    )
    def test_lists_students_fastest_first(self, teacher: GeneratorSpec) -> None:
        done: list[float] = []
        plan = make_plan(teacher, 64, progress=done.append)
        times = [student.cost.latency for student in plan.students]
        assert times == sorted(times) and len(plan.students) == len({s.spec for s in plan.students}) >= 5
        assert teacher not in [s.spec for s in plan.students] and plan.teacher.spec == teacher
        assert {s.spec.depth for s in plan.students} == ({6, 4} if teacher.architecture == "resnet" else {6, 5})
        assert done == sorted(done) and done[-1] == 1.0
        for student in plan.students:
            assert trained_with(student_flags(student.spec, teacher), teacher) == student.spec

    @pytest.mark.parametrize("text", ["macs=7x", "params=80K", "size=400KB", "latency=90ms", "latency=8x,macs=3x"])
    def test_keeps_within_the_budget(self, text: str) -> None:
        budget, plan = parse_budget(text), make_plan(TEACHER, 64, parse_budget(text))
        for measure, limit in budget.items():
            allowed = limit.absolute(getattr(plan.teacher.cost, measure))
            assert all(getattr(s.cost, measure) <= allowed for s in plan.students)
        for depth in (6, 4):  # and the widest of each kind is among them, if it is not too narrow
            widths = [s.spec.ngf for s in plan.students if (s.spec.depth, s.spec.conv) == (depth, "standard")]
            wider = replace(TEACHER, depth=depth, ngf=max(widths, default=5) + 1)
            cost = replace(generator_cost(wider, 64), latency=generator_cost(wider, 64).params * 1e-6)
            assert wider.ngf > 16 or any(
                getattr(cost, m) > limit.absolute(getattr(plan.teacher.cost, m)) for m, limit in budget.items()
            )

    @pytest.mark.parametrize("text", ["macs=10000x", "latency=10us"])
    def test_refuses_what_nothing_meets(self, text: str) -> None:
        with pytest.raises(KDError, match=r"small enough: .* takes .*x less than the teacher\); increase"):
            make_plan(TEACHER, 64, parse_budget(text))

    @pytest.mark.parametrize(("ngf", "least"), [(64, 16), (32, 8), (16, 6)])
    def test_students_are_not_narrower_than_a_quarter(self, ngf: int, least: int) -> None:
        assert min(s.spec.ngf for s in make_plan(replace(TEACHER, ngf=ngf), 64).students) == least

    def test_narrower_ones_where_the_budget_leaves_no_others(self) -> None:
        plan = make_plan(replace(TEACHER, ngf=64), 64, parse_budget("params=15K"))
        assert plan.students and all(s.spec.ngf < 16 for s in plan.students)

    def test_students_slower_than_the_teacher_are_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def slow(specs, size, device="cpu", rounds=5, progress=lambda done: None):  # type: ignore[no-untyped-def]
            return [2.0 if spec.conv == "separable" else 1.0 for spec in specs]

        everything = make_plan(TEACHER, 64)
        monkeypatch.setattr("kd_plugin.students.plan.generator_latencies", slow)
        plan = make_plan(TEACHER, 64)
        assert everything.hidden == 0 and plan.hidden == len(everything.students) - len(plan.students) > 0
        assert {s.spec.conv for s in plan.students} == {"standard"}

    @pytest.mark.parametrize("text", ["", "macs=7x", "file_size=400KB", "latency=3x"])
    def test_the_recommended_are_not_worse_in_everything(self, text: str) -> None:
        """Each is the widest listed of its kind, none costs more than another in all three, each measure has one."""
        plan = make_plan(replace(TEACHER, ngf=32), 64, parse_budget(text) if text else None)
        found = plan.recommended()
        assert sorted(measure for measures in found.values() for measure in measures) == [
            "file_size",
            "latency",
            "macs",
        ]
        seventh = replace(TEACHER, ngf=12)  # three eighths, of the paper
        allowed = (
            plan.students if text else [s for s in plan.students if s.cost.macs <= generator_cost(seventh, 64).macs]
        )
        kinds = {(s.spec.depth, s.spec.conv) for s in allowed}
        widest = {
            k: max((s for s in allowed if (s.spec.depth, s.spec.conv) == k), key=lambda s: s.spec.ngf) for k in kinds
        }

        def costs(student: Student) -> tuple:
            return student.cost.latency, student.cost.macs, student.cost.file_size

        for student, measures in found.items():
            assert student in widest.values()
            for other in widest.values():
                assert other == student or any(a < b for a, b in zip(costs(student), costs(other), strict=True))
            for measure in measures:
                least = min(getattr(s.cost, measure) for s in widest.values())
                assert getattr(student.cost, measure) <= 1.1 * least

    def test_nothing_is_recommended_where_nothing_is_faster(self) -> None:
        teacher = Student(TEACHER, Cost(1, 1, 1, 1))
        assert Plan(teacher, [], 64, "cpu", hidden=3).recommended() == {}

    def test_fewer_operations_that_are_not_faster(self) -> None:
        def student(ngf: int, macs: float, latency: float) -> Student:
            return Student(replace(TEACHER, ngf=ngf), Cost(1, macs, 1, latency))

        quick, odd, small = student(8, 2.0, 1.0), student(7, 1.5, 1.2), student(6, 1.0, 0.5)
        plan = Plan(student(16, 4.0, 4.0), [small, quick, odd], 64, "cpu")
        assert plan.slower() == [(odd, quick)]


class TestLatency:
    def test_networks_take_turns(self) -> None:
        calls: list[str] = []

        class Noting(nn.Module):
            def __init__(self, name: str) -> None:
                super().__init__()
                self.name = name

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                assert not torch.is_grad_enabled()
                calls.append(self.name)
                return x

        networks, done = [Noting("a"), Noting("b")], list[float]()
        times = latency.measure_latencies(networks, [torch.zeros(1)] * 2, rounds=3, progress=done.append)
        assert calls == list("abababab") and len(times) == 2 and min(times) > 0
        assert done == sorted(done) and done[-1] == 1

    def test_random_numbers_are_left_alone(self) -> None:
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        assert len(latency.generator_latencies([replace(TEACHER, depth=1, ngf=4)], 16, rounds=1)) == 1
        assert torch.equal(torch.rand(3), expected)


def test_discriminators_are_those_of_the_paper() -> None:
    with imported_host(HOST, "2025") as models:
        for channels, norm in ((3, "instance"), (6, "batch")):  # CycleGAN's, and pix2pix's of input and output
            for ndf, millions in ((64, 2.77), (32, 0.69)):
                judge = models.networks.define_D(channels, ndf, "basic", norm=norm)
                assert count_parameters(judge) / 1e6 == pytest.approx(millions, abs=0.01)
