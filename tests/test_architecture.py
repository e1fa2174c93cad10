"""A custom architecture: the example in docs/students.md, registered through the public API."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from kd_plugin import Distiller, GeneratorSpec, KDError, inspect_checkpoint, load_teacher
from kd_plugin.cli import main
from kd_plugin.metrics.cost import generator_cost
from kd_plugin.networks import architecture
from kd_plugin.networks.checkpoint import inspect_state_dict
from kd_plugin.networks.taps import Tap, default_taps
from kd_plugin.students import (
    Architecture,
    StudentRequest,
    build_student,
    describe,
    inherit_weights,
    parse_budget,
    register_architecture,
    student_spec,
    student_within,
)

DOCS = Path(__file__).resolve().parent.parent / "docs" / "students.md"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(architecture, "_ARCHITECTURES", dict(architecture._ARCHITECTURES))


@pytest.fixture
def toy(registry: None, tmp_path: Path) -> Iterator[type[Architecture]]:
    code = re.search(r"```python\n(# toy\.py.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[1]
    (tmp_path / "toy.py").write_text(code, encoding="utf-8")
    yield runpy.run_path(str(tmp_path / "toy.py"), run_name="toy")["Toy"]
    generator_cost.cache_clear()


def build(ngf: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_student(StudentRequest(3, 2, ngf, "toy_3", norm="none"))


class TestToy:
    def test_is_built_by_its_name(self, toy: type[Architecture]) -> None:
        images = torch.rand(2, 3, 16, 16)
        assert build(4)(images).shape == (2, 2, 16, 16)
        wide = build_student(StudentRequest(3, 2, 4, "toy_3", norm="none", widths=(4, 5)))
        assert wide.spec.stages == (4, 5) and wide.model[2].out_channels == 5

    def test_is_read_from_its_file(self, toy: type[Architecture], tmp_path: Path) -> None:
        network = build(5).eval()
        torch.save(network.state_dict(), tmp_path / "latest_net_G.pth")
        assert inspect_checkpoint(tmp_path / "latest_net_G.pth") == network.spec
        images = torch.rand(1, 3, 8, 8)
        assert torch.equal(load_teacher(tmp_path / "latest_net_G.pth")(images), network(images))
        assert describe(network)["netG"] == "toy_3"

    def test_every_tensor_is_checked(self, toy: type[Architecture]) -> None:
        state = build(5).state_dict()
        with pytest.raises(KDError, match=r"'model\.2\.weight' is missing"):
            inspect_state_dict({"model.0.weight": state["model.0.weight"]})
        with pytest.raises(KDError, match=r"read as toy_3 with ngf 5, but 'model\.4\.bias' has the shape \(3,\)"):
            inspect_state_dict({**state, "model.4.bias": torch.zeros(3)})

    def test_features_are_read_without_taps(self, toy: type[Architecture]) -> None:
        student, teacher = build(4), build(8, seed=1).requires_grad_(False).eval()
        distiller = Distiller(student, teacher, ["srp", "feature"])
        assert [tap.student for tap in distiller.taps["feature"]] == ["model.0", "model.3", "model.4"]
        assert distiller.taps["srp"] == [Tap("model.3", "model.3")]
        images = torch.rand(2, 3, 16, 16)
        losses = distiller(images).losses
        assert losses["srp"].item() > 0 and losses["feature"].item() > 0
        same = build(8, seed=1)
        assert Distiller(same, teacher, ["srp", "feature"])(images).total.item() == 0

    def test_beside_another_architecture(self, toy: type[Architecture]) -> None:
        """The points of a place are compared though no stride is the same."""
        resnet = build_student(StudentRequest(netG="resnet_2blocks", ngf=4))
        places = ("encoder", "middle", "decoder")
        assert [str(tap) for tap in default_taps(build(4), resnet, places)] == [
            "model.0=model.9",
            "model.3=model.10",
            "model.4=model.14",
        ]

    def test_as_wide_as_the_teacher_is_the_teacher(self, toy: type[Architecture]) -> None:
        student, teacher, images = build(6), build(6, seed=1), torch.rand(1, 3, 8, 8)
        assert not torch.equal(student(images), teacher(images))
        inherit_weights(student, teacher)
        assert torch.equal(student(images), teacher(images))

    def test_channels_with_the_largest_filters_are_inherited(self, toy: type[Architecture]) -> None:
        student, teacher = build(4), build(8, seed=1)
        down, middle, up = (teacher.model[index].weight for index in (0, 2, 4))
        first = down.abs().sum((1, 2, 3)).topk(4).indices.sort().values
        second = middle.abs().sum((1, 2, 3)).topk(8).indices.sort().values
        assert first.tolist() != [0, 1, 2, 3] and second.tolist() != list(range(8))
        inherit_weights(student, teacher)
        assert torch.equal(student.model[0].weight, down[first])
        assert torch.equal(student.model[2].weight, middle[second][:, first])
        assert torch.equal(student.model[4].weight, up[second])  # transposed: it reads along the first dimension
        assert torch.equal(student.model[4].bias, teacher.model[4].bias)

    def test_cost_in_closed_form(self, toy: type[Architecture]) -> None:
        spec = student_spec(StudentRequest(3, 2, 4, "toy_3", norm="none"))
        cost = generator_cost(spec, 16)
        filters = 9 * 3 * 4, 9 * 4 * 8, 16 * 8 * 2
        assert cost.params == sum(filters) + 2  # the last has a bias
        assert cost.macs == sum(filters) * 8 * 8  # all at the pixels of half the resolution

    def test_the_widest_within_a_budget(self, toy: type[Architecture]) -> None:
        teacher = student_spec(StudentRequest(3, 3, 32, "toy_3", norm="none"))
        found = student_within(parse_budget("params=4x"), teacher, teacher, 16)
        params = [generator_cost(replace(teacher, ngf=ngf), 16).params for ngf in (found.ngf, found.ngf + 1, 32)]
        assert found.netG == "toy_3" and params[0] <= params[2] / 4 < params[1]

    def test_kd_plan_lists_it(
        self, toy: type[Architecture], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        def times(specs, size, device="cpu", rounds=5, progress=lambda done: None):  # type: ignore[no-untyped-def]
            return [generator_cost(spec, size).macs * 1e-9 for spec in specs]

        monkeypatch.setattr("kd_plugin.students.plan.generator_latencies", times)
        torch.save(build(32).state_dict(), tmp_path / "G.pth")
        assert main(["plan", str(tmp_path / "G.pth"), "--size", "16", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["teacher"]["netG"] == "toy_3"
        assert {student["flags"] for student in found["students"]} >= {
            f"--student_ngf {ngf}" for ngf in (24, 16, 12, 8)
        }
        assert main(["plan", str(tmp_path / "G.pth"), "--size", "15"]) == 2
        assert "a toy_3 takes multiples of 2" in capsys.readouterr().err

    def test_errors_name_it(self, toy: type[Architecture]) -> None:
        with pytest.raises(KDError, match="of at least 32, or toy_3, such as resnet_6blocks or unet_128 or toy_3"):
            build_student(StudentRequest(netG="toy_4"))
        with pytest.raises(KDError, match="a toy_3 takes 2, of 1 or more, for the downsampling and the convolution"):
            build_student(StudentRequest(netG="toy_3", norm="none", widths=(64, 1, 1)))
        with pytest.raises(KDError, match="residual blocks, which a toy_3 does not have"):
            build_student(StudentRequest(netG="toy_3", norm="none", conv="separable"))
        with pytest.raises(KDError, match="no first layer of a ResNet or U-Net or toy generator"):
            inspect_state_dict({"features.0.weight": torch.zeros(1)})


class TestRegistration:
    def test_a_module_imported_again_replaces_its_architecture(self, toy: type[Architecture]) -> None:
        again = type("Toy", (toy,), {"__module__": toy.__module__})
        assert register_architecture(again) is again
        assert type(architecture.get_architecture("toy")) is again

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"name": "toy"}, ValueError, "'toy' is already registered, as Toy"),
            ({"name": "other"}, ValueError, "Other: 'toy_3' is also the name of a toy"),
            ({"name": "other", "example": "toy_4"}, ValueError, "parse and netG do not agree on the example 'toy_4'"),
            (
                {"name": "other", "netG": lambda self, depth: "other_3"},
                ValueError,
                "parse and netG do not agree on the example 'toy_3'",
            ),
            ({"name": "other", "title": None}, TypeError, "Other lacks title"),
        ],
    )
    def test_refuses(self, toy: type[Architecture], changes: dict, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            register_architecture(type("Other", (toy,), changes))
        assert [each.name for each in architecture.architectures()] == ["resnet", "unet", "toy"]

    def test_refuses_what_is_incomplete(self, registry: None) -> None:
        class Half(Architecture):
            name = title = names = example = "half"

            def netG(self, depth: int) -> str:
                return "half"

        with pytest.raises(TypeError, match="Half lacks build, layers, parse, places, read, stage_names, stages"):
            register_architecture(Half)
        with pytest.raises(TypeError, match="is not a subclass of Architecture"):
            register_architecture(nn.Module)  # type: ignore[type-var]

    def test_an_unknown_architecture(self) -> None:
        with pytest.raises(KDError, match="unknown architecture 'resnets': did you mean 'resnet'"):
            GeneratorSpec("resnets", 3, 3, 8, 4, "none", False, False)
