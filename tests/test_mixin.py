"""The mixin in a host's model classes: gradients, number of operations, logs and errors.

Each test runs on both forms of the embedded host, and on the real hosts in the folders of KD_HOSTS.
"""

from __future__ import annotations

import copy
import json
import random
import sys
import warnings
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.models import distilling, host_options, set_up, train_step
from torch.utils._python_dispatch import TorchDispatchMode

from kd_plugin import Distiller, DistillMixin, GeneratorSpec, KDError, load_teacher
from kd_plugin.host.launch.import_hooks import _patch_models, _switch
from kd_plugin.host.model.distilled_pair import refuse_replicas
from kd_plugin.losses import pixel_loss, semantic_relation_loss, wavelet_loss
from kd_plugin.networks.generator import build_generator

DISTILL = {
    "distill": "wavelet,srp,pixel", "teacher": "", "teacher_epoch": "latest", "teacher_G_A": "", "teacher_G_B": "",
    "teacher_mode": "eval", "student_ngf": None, "student_netG": None, "student_ndf": None, "srp_layers": "",
    "lambda_wavelet": "20", "lambda_srp": "300", "lambda_pixel": 5.0,
    "wavelet_levels": 3, "wavelet_basis": "haar", "wavelet_bands": "high",
}  # fmt: skip
MODELS = ("pix2pix", "cycle_gan")
GENERATORS = {"pix2pix": {"G": "fake_B"}, "cycle_gan": {"G_A": "fake_B", "G_B": "fake_A"}}


def class_of(models: ModuleType, name: str) -> type:
    return models.find_model_using_name(name)


def build(cls: type, options: Namespace, seed: int = 3):  # type: ignore[no-untyped-def]
    """Construct and set up a model with a known state of all random generators, in double precision."""
    random.seed(seed)
    model = set_up(cls, options, seed)
    for name in model.model_names:
        getattr(model, f"net{name}").double()
    for distilled in model._run.pairs if getattr(model, "_run", None) else []:
        distilled.teacher.double()
    return model


def batch(seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(2, 3, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1 for _ in "AB")
    return {"A": a, "B": b, "A_paths": ["a"], "B_paths": ["b"]}


def gradients(model, nets) -> list[torch.Tensor]:  # type: ignore[no-untyped-def]
    return [p.grad.clone() for net in nets for p in getattr(model, f"net{net}").parameters()]


@pytest.mark.parametrize("name", MODELS)
class TestGradients:
    def test_equal_those_of_the_explicit_sum(self, models: ModuleType, name: str, teachers: Path) -> None:
        options = host_options(teachers.parent, model=name, teacher=str(teachers), **_without(DISTILL, "teacher"))
        model = build(distilling(class_of(models, name)), options)
        plain = build(class_of(models, name), host_options(teachers.parent, model=name))
        for net in plain.model_names:
            getattr(plain, f"net{net}").load_state_dict(getattr(model, f"net{net}").state_dict())
        for each in (model, plain):
            each.set_input(batch())
            each.forward()
            each.backward_G()
        # The host's own gradient is in the plain model; the terms' is added, from a pass of their own.
        loss = torch.zeros(())
        for distilled in model._run.pairs:
            student, big = getattr(plain, f"net{distilled.pair.net}"), distilled.teacher
            images = plain.real_A if distilled.pair.output == "fake_B" else plain.real_B
            out, target = student(images), big(images)
            features, wanted = student.model[:13](images), big.model[:12](images)  # half of 6, and of 3, blocks
            loss = loss + 20 * wavelet_loss(out, target, 3) + 5 * pixel_loss(out, target)
            loss = loss + 300 * semantic_relation_loss(features, wanted)
        own = gradients(plain, GENERATORS[name])
        loss.backward()
        for ours, expected, before in zip(
            gradients(model, GENERATORS[name]), gradients(plain, GENERATORS[name]), own, strict=True
        ):
            torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-10)
            assert ours.abs().max() == 0 or not torch.equal(ours, before)  # the terms do take part

    def test_no_more_work_in_the_generators(self, models: ModuleType, name: str, teachers: Path) -> None:
        """Backward passes, counted in convolutions: the host's number, whatever is distilled."""

        class Counter(TorchDispatchMode):
            count = 0

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
                self.count += func is torch.ops.aten.convolution_backward.default
                return func(*args, **(kwargs or {}))

        settings = {**DISTILL, "distill": "srp,pixel", "teacher": str(teachers)}  # terms without convolutions
        counts = []
        for cls, extra in ((class_of(models, name), {}), (distilling(class_of(models, name)), settings)):
            model = build(cls, host_options(teachers.parent, model=name, **extra))
            model.set_input(batch())
            with Counter() as counter:
                model.optimize_parameters()
            counts.append(counter.count)
        assert counts[0] == counts[1] > 0

    def test_a_step_updates_students_and_not_teachers(self, models: ModuleType, name: str, teachers: Path) -> None:
        options = host_options(teachers.parent, model=name, **{**DISTILL, "teacher": str(teachers)})
        model = build(distilling(class_of(models, name)), options)
        before = [copy.deepcopy(d.teacher.state_dict()) for d in model._run.pairs]
        students = [copy.deepcopy(d.distiller.student.state_dict()) for d in model._run.pairs]
        assert len(before) == len(GENERATORS[name])
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # the terms are used in every step, and once
            for seed in range(2):
                model.set_input(batch(seed))
                model.optimize_parameters()
        for d, teacher, student in zip(model._run.pairs, before, students, strict=True):
            assert all(torch.equal(v, teacher[k]) for k, v in d.teacher.state_dict().items())
            assert any(not torch.equal(v, student[k]) for k, v in d.distiller.student.state_dict().items())

    def test_losses_and_images_are_reported(self, models: ModuleType, name: str, teachers: Path) -> None:
        options = host_options(teachers.parent, model=name, **{**DISTILL, "teacher": str(teachers)})
        model = build(distilling(class_of(models, name)), options)
        model.set_input(batch())
        model.optimize_parameters()
        losses, visuals = model.get_current_losses(), model.get_current_visuals()
        for net, output in GENERATORS[name].items():
            assert {f"{term}{net[1:]}" for term in ("wavelet", "srp", "pixel")} <= losses.keys()
            source = model.real_A if output == "fake_B" else model.real_B
            teacher = next(d.teacher for d in model._run.pairs if d.pair.net == net)
            torch.testing.assert_close(visuals[f"teacher_{output}"], teacher(source))
        assert all(losses[key] > 0 for key in losses if key.startswith(("wavelet", "srp", "pixel")))

    def test_nothing_is_distilled_without_gradients(self, models: ModuleType, name: str, teachers: Path) -> None:
        options = host_options(teachers.parent, model=name, **{**DISTILL, "teacher": str(teachers)})
        model = build(distilling(class_of(models, name)), options)
        model.set_input(batch())
        model.test()
        assert not hasattr(model, "loss_pixel") and not hasattr(model, "loss_pixel_A")

    def test_weight_zero_changes_no_bit(self, models: ModuleType, name: str, teachers: Path) -> None:
        """Loading a teacher draws no random numbers and attaching rounds nothing; a weight that is on must show."""
        weights = {"zero": 0.0, "on": 1.0}
        results = {}
        for label, weight in (("plain", None), *weights.items()):
            extra = {**DISTILL, "distill": "pixel", "lambda_pixel": weight, "teacher": str(teachers)}
            cls = class_of(models, name)
            options = host_options(teachers.parent, model=name, **({} if weight is None else extra))
            model = build(cls if weight is None else distilling(cls), options)
            model.set_input(batch())
            model.optimize_parameters()
            results[label] = [v for n in model.model_names for v in getattr(model, f"net{n}").state_dict().values()]
        equal = {k: all(map(torch.equal, results["plain"], results[k])) for k in weights}
        assert equal == {"zero": True, "on": False}


def _without(mapping: dict, key: str) -> dict:
    return {k: v for k, v in mapping.items() if k != key}


class TestOptions:
    """Every option that must change a number does."""

    def losses(self, models: ModuleType, teachers: Path, steps: int = 1, **changes: object) -> list[dict[str, float]]:
        options = host_options(teachers.parent, **{**DISTILL, "teacher": str(teachers), **changes})
        model = build(distilling(class_of(models, "pix2pix")), options)
        values = []
        for _ in range(steps):
            model.set_input(batch())
            model.forward()
            values.append({name: getattr(model, f"loss_{name}").item() for name in ("wavelet", "srp", "pixel")})
        return values

    @pytest.mark.parametrize(
        ("changes", "moved"),
        [
            ({"srp_layers": "model.10"}, {"srp"}),
            ({"srp_layers": "model.13=model.10"}, {"srp"}),
            ({"wavelet_levels": 1}, {"wavelet"}),
            ({"wavelet_basis": "db2"}, {"wavelet"}),
            ({"wavelet_bands": "all"}, {"wavelet"}),
            ({"lambda_srp": 150.0}, {"srp"}),
            ({"lambda_pixel": 1.0}, {"pixel"}),
        ],
    )
    def test_moves_its_term_alone(self, models: ModuleType, teachers: Path, changes: dict, moved: set) -> None:
        (before,), (after,) = self.losses(models, teachers), self.losses(models, teachers, **changes)
        assert {name for name in before if before[name] != after[name]} == moved

    def test_teacher_epoch(self, models: ModuleType, teachers: Path) -> None:
        torch.manual_seed(99)
        spec = GeneratorSpec("resnet", 3, 3, 6, 3, "instance", False, True)
        torch.save(build_generator(spec).state_dict(), teachers / "7_net_G.pth")
        assert self.losses(models, teachers) != self.losses(models, teachers, teacher_epoch="7")

    def test_teacher_mode(self, models: ModuleType, teachers: Path) -> None:
        spec = GeneratorSpec("resnet", 3, 3, 4, 3, "batch", False, False)
        torch.save(build_generator(spec).state_dict(), teachers / "latest_net_G.pth")
        assert self.losses(models, teachers) != self.losses(models, teachers, teacher_mode="train")

    @pytest.mark.parametrize("no_dropout", [True, False])
    def test_dropout_of_a_unet_teacher_is_the_hosts(
        self, models: ModuleType, teachers: Path, no_dropout: bool
    ) -> None:
        spec = GeneratorSpec("unet", 3, 3, 4, 6, "none", None, False)
        torch.save(build_generator(spec).state_dict(), teachers / "latest_net_G.pth")
        options = host_options(
            teachers.parent,
            no_dropout=no_dropout,
            **{**DISTILL, "distill": "pixel", "teacher": str(teachers), "teacher_mode": "train"},
        )
        model = build(distilling(class_of(models, "pix2pix")), options)
        x = torch.rand(1, 3, 64, 64, dtype=torch.float64)
        teacher = model._run.pairs[0].teacher
        assert torch.equal(teacher(x), teacher(x)) == no_dropout

    def test_what_has_no_effect_is_noted(
        self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        extra = {
            **DISTILL,
            "distill": "pixel",
            "teacher": str(teachers),
            "wavelet_levels": 2,
            "srp_layers": "model.9",
        }
        build(distilling(class_of(models, "pix2pix")), host_options(teachers.parent, ngf=32, **extra))
        text = capsys.readouterr().out
        assert "--wavelet_levels has no effect" in text and "--srp_layers has no effect" in text
        assert "not smaller than its teacher" in text


class TestPairs:
    def test_one_direction_alone(
        self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        extra = {**DISTILL, "teacher_G_B": str(teachers / "latest_net_G_B.pth")}
        model = build(
            distilling(class_of(models, "cycle_gan")), host_options(teachers.parent, model="cycle_gan", **extra)
        )
        model.set_input(batch())
        model.optimize_parameters()
        losses = model.get_current_losses()
        assert "pixel_B" in losses and "pixel_A" not in losses
        assert "G_A has no teacher" in capsys.readouterr().out

    def test_declared(self, models: ModuleType, teachers: Path) -> None:
        cls = type("Mine", (DistillMixin, class_of(models, "cycle_gan")), {"distill_pairs": [("G_B", "fake_A")]})
        options = host_options(teachers.parent, model="cycle_gan", **{**DISTILL, "teacher": str(teachers)})
        assert [d.pair.net for d in build(cls, options)._run.pairs] == ["G_B"]

    @pytest.mark.parametrize(
        ("pairs", "message"),
        [([("G_A", "real_A")], "no output of netG_A in 'real_A'"), ([("H", "fake_B")], "no network 'netH'")],
    )
    def test_declared_wrongly(self, models: ModuleType, teachers: Path, pairs: list, message: str) -> None:
        for net in ("H",):
            torch.save(
                torch.load(teachers / "latest_net_G.pth", weights_only=True), teachers / f"latest_net_{net}.pth"
            )
        cls = type("Mine", (DistillMixin, class_of(models, "cycle_gan")), {"distill_pairs": pairs})
        options = host_options(teachers.parent, model="cycle_gan", **{**DISTILL, "teacher": str(teachers)})
        with pytest.raises(KDError, match=message):
            model = build(cls, options)
            model.set_input(batch())
            model.forward()

    def test_named_after_the_host_class_is_refused(self, models: ModuleType) -> None:
        host_class = class_of(models, "pix2pix")
        with pytest.raises(KDError, match=r"class Late\(DistillMixin, Pix2PixModel\)"):
            type("Late", (host_class, DistillMixin), {})

    def test_validation_shows_the_teacher_on_the_same_images(self, models: ModuleType, teachers: Path) -> None:
        options = host_options(teachers.parent, **{**DISTILL, "teacher": str(teachers)})
        model = build(distilling(class_of(models, "pix2pix")), options)
        for seed in (1, 2):
            model.set_input(batch(seed))
            model.test()
            expected = model._run.pairs[0].teacher(model.real_A)
            torch.testing.assert_close(model.get_current_visuals()["teacher_fake_B"], expected)

    def test_output_that_is_not_shown(self, models: ModuleType, teachers: Path) -> None:
        """Colorization shows fake_B in another form, so the teacher's would not fit beside it."""

        class Hidden(class_of(models, "pix2pix")):  # type: ignore[misc]
            def __init__(self, opt: Namespace) -> None:
                super().__init__(opt)
                self.visual_names = ["real_A"]

        model = build(distilling(Hidden), host_options(teachers.parent, **{**DISTILL, "teacher": str(teachers)}))
        assert model.visual_names == ["real_A"]

    def test_srp_on_replicas_is_refused(self, models: ModuleType, teachers: Path) -> None:
        student = torch.nn.DataParallel(build_generator(GeneratorSpec("resnet", 3, 3, 4, 2, "none", False, False)))
        teacher = load_teacher(teachers / "latest_net_G.pth")
        student.device_ids = [0, 1]
        with pytest.raises(KDError, match="DataParallel replicates on 2 GPUs"):
            refuse_replicas(Distiller(student, teacher, ["srp"]))
        refuse_replicas(Distiller(student, teacher, ["wavelet"]))

    def test_output_outside_the_loss_is_noticed(self, models: ModuleType, teachers: Path) -> None:
        class Blind(distilling(class_of(models, "pix2pix"))):  # type: ignore[misc]
            def optimize_parameters(self) -> None:
                self.forward()

        model = build(Blind, host_options(teachers.parent, **{**DISTILL, "teacher": str(teachers)}))
        model.set_input(batch())
        model.optimize_parameters()
        with pytest.warns(UserWarning, match=r"received no gradient: the images they are attached to \(fake_B\)"):
            model.optimize_parameters()


class TestArgumentsAndReturnValues:
    """Hosts whose methods take more, and give back more, than the family's do."""

    def test_of_all_methods(self, models: ModuleType, teachers: Path) -> None:
        def passing(name: str):  # type: ignore[no-untyped-def]
            def method(self, *arguments: object, more: object = None) -> object:  # type: ignore[no-untyped-def]
                own = arguments[:1] if name in ("setup", "save_networks") else ()
                getattr(base, name, lambda self: None)(self, *own)
                return name, arguments[len(own) :], more

            return method

        names = ("setup", "forward", "save_networks", "update_learning_rate", "data_dependent_initialize")
        base = class_of(models, "pix2pix")
        cls = distilling(type("Talkative", (base,), dict(zip(names, map(passing, names), strict=True))))
        (teachers.parent / "student").mkdir()  # real hosts' scripts do, not their models
        for distil in ({}, {**DISTILL, "teacher": str(teachers)}):
            options = host_options(teachers.parent, **distil)
            model = cls(options)
            assert model.setup(options, 1, more=2) == ("setup", (1,), 2)
            train_step(model)
            assert model.forward(3, 4, more=5) == ("forward", (3, 4), 5)
            assert model.save_networks("latest", 6, more=7) == ("save_networks", (6,), 7)
            assert model.update_learning_rate(8, more=9) == ("update_learning_rate", (8,), 9)
            given = model.data_dependent_initialize(10, more=11)
            assert given == ("data_dependent_initialize", (10,), 11)

    @pytest.mark.parametrize("form", ["alone", "in a tuple", "in a dict"])
    def test_images_that_forward_returns_carry_the_terms(self, models: ModuleType, teachers: Path, form: str) -> None:
        """A host may compute its losses from those, as well as from its attribute."""
        base = class_of(models, "pix2pix")

        def forward(self) -> object:  # type: ignore[no-untyped-def]
            base.forward(self)
            images = self.fake_B
            return {"alone": images, "in a tuple": (1, images), "in a dict": {"images": images}}[form]

        cls = distilling(type("Returning", (base,), {"forward": forward}))
        found = []
        for way in ("attribute", "returned"):
            model = build(cls, host_options(teachers.parent, **{**DISTILL, "teacher": str(teachers)}))
            model.set_input(batch())
            returned = model.forward()
            if isinstance(returned, dict):
                returned = returned["images"]
            elif isinstance(returned, tuple):
                returned = returned[1]
            (model.fake_B if way == "attribute" else returned).square().sum().backward()
            found.append(gradients(model, ["G"]))
        for one, other in zip(*found, strict=True):
            assert torch.equal(one, other)


class TestRecord:
    def test_says_what_was_built_from_what(self, models: ModuleType, teachers: Path) -> None:
        extra = {**DISTILL, "teacher": str(teachers), "student_ngf": 5}
        build(distilling(class_of(models, "pix2pix")), host_options(teachers.parent, **extra)).save_networks("latest")
        record = json.loads((teachers.parent / "student" / "student.json").read_text())
        assert record["host_options"]["ngf"] == record["students"]["G"]["ngf"] == 5
        assert record["teachers"]["G"]["ngf"] == 6 and len(record["teachers"]["G"]["sha256"]) == 64
        assert record["distillation"]["terms"] == {"wavelet": "20", "srp": "300", "pixel": "5"}

    def test_continuing_another_student_is_refused(self, models: ModuleType, teachers: Path) -> None:
        extra = {**DISTILL, "teacher": str(teachers), "student_ngf": 5}
        cls = distilling(class_of(models, "pix2pix"))
        build(cls, host_options(teachers.parent, **extra)).save_networks("latest")
        extra = {**extra, "student_ngf": 7, "continue_train": True}
        with pytest.raises(KDError, match=r"--student_ngf 7 contradicts .*student\.json: .* built with 5; remove"):
            build(cls, host_options(teachers.parent, **extra))


class TestRefuse:
    def attempt(self, models: ModuleType, teachers: Path, model: str = "pix2pix", **changes: object) -> None:
        extra = {**DISTILL, "teacher": str(teachers), **changes}
        build(distilling(class_of(models, model)), host_options(teachers.parent, model=model, **extra))

    @pytest.mark.parametrize(
        ("name", "changes", "message"),
        [
            ("pix2pix", {"teacher_epoch": "7"}, r"there is no 7_net_G\.pth; it holds latest_net_G\.pth"),
            ("pix2pix", {"teacher": "nowhere"}, "--teacher nowhere: no such file or folder"),
            ("pix2pix", {"teacher": "teacher"}, "no such file or folder, did you mean .*/teacher"),
            ("pix2pix", {"teacher": "{}/latest_net_G.pth", "teacher_epoch": "7"}, "--teacher_epoch 7 has no effect"),
            ("pix2pix", {"name": "teacher"}, "which would overwrite the teacher"),
            ("pix2pix", {"name": "teacher", "teacher": "{}/latest_net_G.pth"}, "overwrite the teacher"),
            (
                "cycle_gan",
                {"teacher_G_A": "{}/latest_net_G_A.pth", "teacher_G_B": "{}/latest_net_G_B.pth"},
                "--teacher .* has no effect",
            ),
            ("pix2pix", {"teacher_mode": "evall"}, "unknown --teacher_mode 'evall': did you mean 'eval'"),
            ("pix2pix", {"wavelet_bands": "hi"}, "unknown bands 'hi'"),
            ("pix2pix", {"teacher_G_A": "x.pth"}, "no generator G_A to distil, only G$"),
            ("cycle_gan", {"teacher": "{}/latest_net_G_A.pth"}, "one file, but this model has 2 generators"),
            ("cycle_gan", {"teacher_G_A": "gone.pth"}, "no teacher for G_A: gone.pth is not a file"),
            (
                "cycle_gan",
                {"teacher_G_A": "{}/latest_net_G_B.pth"},
                "translates B to A, but G_A .* translates A to B",
            ),
            (
                "pix2pix",
                {"student_netG": "resnet_blocks"},
                "unknown generator 'resnet_blocks': resnet_Nblocks with any number",
            ),
            ("pix2pix", {"input_nc": 1}, "translates 3 to 3 channels, but G translates 1 to 3"),
            ("pix2pix", {"srp_layers": "model.99"}, r"no module 'model\.99'"),
        ],
    )
    def test_with_one_line(self, models: ModuleType, teachers: Path, name: str, changes: dict, message: str) -> None:
        changes = {k: v.format(teachers) if isinstance(v, str) else v for k, v in changes.items()}
        with pytest.raises(KDError, match=message) as caught:
            self.attempt(models, teachers, name, **changes)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", MODELS)
    def test_a_teacher_of_the_other_direction(self, models: ModuleType, teachers: Path, name: str) -> None:
        (teachers / "train_opt.txt").write_text(f"{'direction':>25}: {'BtoA':<30}\t[default: AtoB]\n")
        with pytest.raises(KDError, match=r"trained with --direction BtoA\) translates B to A, but G"):
            self.attempt(models, teachers, name)
        self.attempt(models, teachers, name, direction="BtoA")

    def test_channels_of_the_other_direction(self, models: ModuleType, teachers: Path) -> None:
        spec = GeneratorSpec("resnet", 3, 1, 4, 2, "instance", False, True)
        torch.save(build_generator(spec).state_dict(), teachers / "latest_net_G.pth")
        with pytest.raises(KDError, match=r"translates 3 to 1 channels, but G translates 1 to 3: check .* direction"):
            self.attempt(models, teachers, input_nc=1, output_nc=3)


def test_two_classes_that_match(models: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The host takes one of them, and so does the runner, which tells of the other."""
    original = models.find_model_using_name("pix2pix")
    module = sys.modules[original.__module__]
    base = original.__mro__[1]
    module.PIX2PIXModel = type("PIX2PIXModel", (base,), {"__module__": module.__name__})  # type: ignore[attr-defined]
    taken = models.find_model_using_name("pix2pix")
    other = "PIX2PIXModel" if taken is original else original.__name__
    _patch_models(models)
    found = models.find_model_using_name("pix2pix")
    assert issubclass(found, taken) and found.__name__ == taken.__name__
    assert f"pix2pix_model.py also has {other}; the host uses {taken.__name__}" in capsys.readouterr().out


def test_the_runners_class_is_the_hosts_own_when_off(models: ModuleType, tmp_path: Path) -> None:
    host_class = class_of(models, "pix2pix")
    model = _switch(host_class)(host_options(tmp_path, distill=""))
    assert type(model) is host_class
