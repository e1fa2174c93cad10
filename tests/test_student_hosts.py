"""Students in hosts: each kind is built, trained, saved, continued, and rebuilt from its record.

Each test runs on both forms of the embedded host, and on the real hosts in the folders of KD_HOSTS.
"""

from __future__ import annotations

import copy
import functools
import json
import shutil
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers.commands import LAUNCH, kd, run, succeed
from helpers.hosts import HOST, HOSTS, SMALL, host_arguments
from helpers.models import distil_options, distilling, host_options, set_up, train_step
from torch import nn

from kd_plugin import GeneratorSpec, KDError, inspect_checkpoint, load_teacher
from kd_plugin.host.launch.import_hooks import _switch
from kd_plugin.host.model.building import BuildCall, building_students
from kd_plugin.host.model.load_generator import load_generator
from kd_plugin.host.model.student import Built
from kd_plugin.host.model.teacher_network import load_teacher_of
from kd_plugin.host.options.command_line import CommandLine
from kd_plugin.host.options.default_student import keep_from_teacher
from kd_plugin.host.options.distill import DistillConfig
from kd_plugin.host.options.record import current_record
from kd_plugin.host.options.student import StudentOptions
from kd_plugin.networks.checkpoint import inspect_state_dict
from kd_plugin.networks.generator import build_generator
from kd_plugin.students import StudentRequest, builders, inherit_weights, register
from kd_plugin.students.device import DeviceTimes, Timed

NETS = {"pix2pix": ("G",), "cycle_gan": ("G_A", "G_B")}
KINDS = {
    "narrow": {"student_ngf": 5},
    "widths": {"student_widths": "4,5,7"},
    "shallow": {"student_netG": "resnet_2blocks", "student_ngf": 4},
    "separable": {"student_conv": "separable", "student_ngf": 4},
    "unet": {"student_netG": "unet_32", "student_ngf": 4},
    "unet-widths": {"student_netG": "unet_32", "student_widths": "4,3,5,6,2"},
    "budget": {"student_budget": "macs=1.5x", "student_netG": "resnet_3blocks"},
    "factory": {"student_factory": "test_student_hosts:tiny_generator"},
}


def tiny_generator(request: StudentRequest) -> nn.Module:
    """A generator of the user's own, with a tap's worth of layers."""
    width = request.ngf
    layers = [nn.Conv2d(request.input_nc, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, request.output_nc, 1)]
    return nn.Sequential(*layers, nn.Tanh())


def options(teachers: Path, model: str, **changes: object) -> Namespace:
    """Of a student that is as deep as the host's networks, unless ``changes`` say something else."""
    given = {"distill": "pixel", "student_netG": None, **changes}
    return distil_options(teachers, model=model, preprocess="crop", crop_size=32, **given)


def distilled(models: ModuleType, name: str) -> type:
    return distilling(models.find_model_using_name(name))


def continued(teachers: Path, record: dict) -> Namespace:
    """The options of a run with --continue_train, the record's filled in as the parser does it."""
    return options(teachers, "pix2pix", **record["host_options"], continue_train=True)


def states(model, nets: tuple[str, ...]) -> list[dict[str, torch.Tensor]]:  # type: ignore[no-untyped-def]
    return [copy.deepcopy(getattr(model, f"net{net}").state_dict()) for net in nets]


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_trains_saves_continues_and_is_rebuilt(
    models: ModuleType, teachers: Path, name: str, kind: str
) -> None:
    cls, nets = distilled(models, name), NETS[name]
    (teachers.parent / "student").mkdir()
    model = set_up(cls, options(teachers, name, **KINDS[kind]))
    before = states(model, nets)
    train_step(model, 2)
    trained = states(model, nets)
    assert not any(same(*pair) for pair in zip(before, trained, strict=True))
    model.save_networks("latest")
    record = json.loads((teachers.parent / "student" / "student.json").read_text())
    for net, state in zip(nets, trained, strict=True):
        if kind != "factory":
            asked = inspect_checkpoint(teachers.parent / "student" / f"latest_net_{net}.pth")
            assert record["students"][net]["ngf"] == asked.ngf == record["host_options"]["ngf"]
            assert asked == inspect_state_dict(state)
    images = torch.rand(1, 3, 32, 32)
    expected = getattr(model, f"net{nets[0]}").eval()(images)

    host_class = models.find_model_using_name(name)
    recorded = host_options(teachers.parent, **{**record["host_options"], "model": name, "isTrain": False})
    for rebuilt_class in (_switch(host_class), cls):  # under the runner, and in a subclass
        tested = set_up(rebuilt_class, copy.copy(recorded), seed=9)
        assert all(same(*pair) for pair in zip(states(tested, nets), trained, strict=True))
        assert torch.equal(getattr(tested, f"net{nets[0]}").eval()(images), expected)
    if name == "pix2pix":  # and trained further, with none of the student's options
        again = set_up(cls, continued(teachers, record), seed=8)
        assert same(again.netG.state_dict(), trained[0])
        for _ in range(2):  # the first batch is that of before the save
            train_step(again, 2)
        assert not same(again.netG.state_dict(), trained[0])
    shutil.rmtree(teachers)  # nothing of the teacher is needed to test
    one_way = copy.copy(recorded)
    one_way.model, one_way.model_suffix = "test", nets[-1].removeprefix("G")
    single = set_up(_switch(models.find_model_using_name("test")), one_way, seed=9)
    assert same(single.netG.state_dict(), trained[-1])


@pytest.mark.parametrize("kind", ["widths", "separable", "factory"])
def test_a_continued_run_may_repeat_its_options(models: ModuleType, teachers: Path, kind: str) -> None:
    """They may not be changed."""
    cls = distilled(models, "pix2pix")
    (teachers.parent / "student").mkdir()
    given = options(teachers, "pix2pix", **KINDS[kind])
    model = set_up(cls, given)
    train_step(model, 2)
    model.save_networks("latest")
    for repeated in (KINDS[kind], {}):
        opt = options(teachers, "pix2pix", **{**repeated, "continue_train": True, "ngf": given.ngf})
        again = set_up(cls, opt, seed=8)
        assert same(again.netG.state_dict(), model.netG.state_dict())
        train_step(again, 2)
        again.save_networks("latest")
        model = again
    other = {"student_widths": "4,5,8", "student_conv": "standard", "student_factory": "builtins:dict"}
    for flag, value in other.items():
        if kind != "separable" and flag == "student_conv":
            value = "separable"
        opt = options(teachers, "pix2pix", **{flag: value, "continue_train": True, "ngf": 4})
        with pytest.raises(KDError, match=rf"--{flag} {value} contradicts .*student\.json"):
            set_up(cls, opt)


def test_a_continued_run_keeps_its_width_whatever_the_budget(models: ModuleType, teachers: Path) -> None:
    (teachers.parent / "student").mkdir()
    cls, given = distilled(models, "pix2pix"), {"student_netG": "resnet_3blocks", "student_conv": "separable"}
    model = set_up(cls, options(teachers, "pix2pix", student_budget="macs=1.5x", **given))
    model.save_networks("latest")
    for repeated in ({"student_budget": "macs=1.5x"}, {"student_budget": "macs=99x"}):
        again = set_up(cls, options(teachers, "pix2pix", **repeated, continue_train=True, netG="resnet_3blocks",
                                   ngf=model.opt.ngf))  # fmt: skip
        assert same(again.netG.state_dict(), model.netG.state_dict())


def test_a_latency_chooses_among_the_students_that_a_device_measured(models: ModuleType, teachers: Path) -> None:
    """A training that is continued does not need the file."""
    (teachers.parent / "student").mkdir()
    teacher = inspect_checkpoint(teachers / "latest_net_G.pth")
    timed = tuple(Timed(replace(teacher, ngf=ngf), ngf / 1000) for ngf in (5, 4, 3))
    file = teachers.parent / "device.json"
    DeviceTimes(32, 32, "WebAssembly", "Firefox", "2026-01-01", Timed(teacher, 0.009), timed).write(file)

    def within(text: str, **changes: object) -> Any:
        budget = {"student_budget": f"latency={text}@{file}", "netG": "resnet_3blocks", **changes}
        return set_up(distilled(models, "pix2pix"), options(teachers, "pix2pix", **budget))

    for text, ngf in (("4.5ms", 4), ("2.5x", 3)):
        model = within(text)
        assert model.opt.ngf == ngf and model.netG.state_dict()["model.1.weight"].shape[0] == ngf
    with pytest.raises(KDError, match=f"--student_budget latency=1ms@{file}: no student is small enough: latency"):
        within("1ms")
    model.save_networks("latest")
    file.unlink()
    again = within("2.5x", continue_train=True, ngf=3)
    assert same(again.netG.state_dict(), model.netG.state_dict())


def registered(request: StudentRequest) -> nn.Module:
    return tiny_generator(request)


def test_a_registered_builder_is_found_again(models: ModuleType, teachers: Path) -> None:
    """Through its place in a module, by a test that never registered it."""
    (teachers.parent / "student").mkdir()
    register("tiny")(registered)
    try:
        model = set_up(distilled(models, "pix2pix"), options(teachers, "pix2pix", student_netG="tiny", student_ngf=5))
        model.save_networks("latest")
        with pytest.raises(KDError, match="--student_budget macs=7x: the cost of a registered tiny is unknown"):
            set_up(distilled(models, "pix2pix"),
                  options(teachers, "pix2pix", student_netG="tiny", student_budget="macs=7x", name="b"))  # fmt: skip
    finally:
        del builders._builders["tiny"]
    record = json.loads((teachers.parent / "student" / "student.json").read_text())
    assert record["build"]["factory"] == "test_student_hosts:registered"
    opt = host_options(teachers.parent, **{**record["host_options"], "isTrain": False})
    tested = set_up(_switch(models.find_model_using_name("pix2pix")), opt, seed=9)
    assert same(tested.netG.state_dict(), model.netG.state_dict())


def test_students_are_initialised_by_the_host(models: ModuleType, teachers: Path) -> None:
    """As its own networks are: with a deviation of zero every filter is."""
    for kind in ("separable", "widths"):
        model = set_up(distilled(models, "pix2pix"), options(teachers, "pix2pix", **KINDS[kind], init_gain=0.0))
        filters = [p for p in model.netG.parameters() if p.ndim == 4]
        assert filters and not any(p.any() for p in filters)


class TestHostsThatBuildOtherwise:
    def test_define_G_without_names(
        self, models: ModuleType, teachers: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is asked for, so it does not matter what the host's arguments are called."""
        original = models.networks.define_G
        monkeypatch.setattr(models.networks, "define_G", lambda *given, **named: original(*given, **named))
        set_up(distilled(models, "pix2pix"), options(teachers, "pix2pix", student_ngf=4))
        with pytest.raises(KDError, match="define_G of this host has no argument 'input_nc'"):
            set_up(distilled(models, "pix2pix"), options(teachers, "pix2pix", **KINDS["separable"]))

    @pytest.mark.parametrize("error", [ValueError, KeyError, NotImplementedError])
    def test_names_are_refused_in_any_way(
        self, models: ModuleType, teachers: Path, monkeypatch: pytest.MonkeyPatch, error: type
    ) -> None:
        original = models.networks.define_G

        @functools.wraps(original)
        def define_G(input_nc, output_nc, ngf, netG, *more, **named):  # type: ignore[no-untyped-def]
            if netG != "resnet_6blocks":
                raise error(f"no generator {netG}")
            return original(input_nc, output_nc, ngf, netG, *more, **named)

        monkeypatch.setattr(models.networks, "define_G", define_G)
        model = set_up(distilled(models, "pix2pix"), options(teachers, "pix2pix", student_netG="resnet_2blocks"))
        assert inspect_state_dict(model.netG.state_dict()).depth == 2

    def test_what_it_refuses_otherwise_is_its_own_error(
        self, models: ModuleType, teachers: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opt = options(teachers, "pix2pix", norm="group")
        with pytest.raises(KDError, match=r"the host cannot build its networks: .*group"):
            set_up(distilled(models, "pix2pix"), opt)

    def test_define_G_imported_by_name(
        self, models: ModuleType, teachers: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host_class = models.find_model_using_name("pix2pix")
        own = sys.modules[host_class.__module__]
        monkeypatch.setattr(own, "define_G", models.networks.define_G, raising=False)
        with building_students(host_class, StudentRequest(conv="separable")):
            arguments = {"input_nc": 3, "output_nc": 3, "ngf": 4, "netG": "resnet_2blocks", "norm": "instance"}
            found = inspect_state_dict(own.define_G(**arguments).state_dict())
        assert (found.depth, found.conv) == (2, "separable") and own.define_G is models.networks.define_G

    @pytest.mark.parametrize("netG", ["resnet_2blocks", "unet_32"])
    def test_padding_of_the_host(self, netG: str, models: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        """DeepLIIF passes --padding to define_G, for U-Nets as well, which always pad with zeros."""
        host_class = models.find_model_using_name("pix2pix")

        def define_G(input_nc, output_nc, ngf, netG, norm, use_dropout, padding_type="reflect"):  # type: ignore[no-untyped-def]
            raise AssertionError("the plugin builds these")

        monkeypatch.setattr(sys.modules[host_class.__module__], "define_G", define_G, raising=False)
        widths = (4, 5, 6) if netG == "resnet_2blocks" else (4, 5, 6, 7, 8)
        with building_students(host_class, StudentRequest(widths=widths)):
            build = sys.modules[host_class.__module__].define_G
            found = inspect_state_dict(build(3, 3, 4, netG, "batch", False, "zero").state_dict())
            assert (found.stages, found.padding) == (widths, "zero" if netG == "resnet_2blocks" else "reflect")
            with pytest.raises(KDError, match="padding 'replicate' is only known to the host: use reflect or zero"):
                build(3, 3, 4, netG, "batch", False, "replicate")

    def test_upsampling_of_the_host(self, models: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        """DeepLIIF passes --upsample to define_G: the plugin's students have transposed convolutions."""
        host_class = models.find_model_using_name("pix2pix")

        def define_G(input_nc, output_nc, ngf, netG, norm, use_dropout, upsample="convtranspose"):  # type: ignore[no-untyped-def]
            raise AssertionError("the plugin builds these")

        monkeypatch.setattr(sys.modules[host_class.__module__], "define_G", define_G, raising=False)
        with building_students(host_class, StudentRequest(widths=(4, 5, 6))):
            build = sys.modules[host_class.__module__].define_G
            assert inspect_state_dict(build(3, 3, 4, "resnet_2blocks", "batch", False).state_dict()).stages == (
                4,
                5,
                6,
            )
            with pytest.raises(KDError, match="upsample 'resize_conv' is only known to the host: use convtranspose"):
                build(3, 3, 4, "resnet_2blocks", "batch", False, "resize_conv")


class TestRecords:
    @pytest.fixture
    def record(self, models: ModuleType, teachers: Path) -> Path:
        (teachers.parent / "student").mkdir()
        model = set_up(distilled(models, "pix2pix"), options(teachers, "pix2pix", **KINDS["factory"]))
        model.save_networks("latest")
        return teachers.parent / "student" / "student.json"

    def opened(self, models: ModuleType, teachers: Path) -> object:
        opt = host_options(teachers.parent, isTrain=False)
        return set_up(_switch(models.find_model_using_name("pix2pix")), opt)

    @pytest.mark.parametrize(
        "changes",
        [
            {"build": {"widths": 5}}, {"build": {"widths": ["4", "5", "6"]}}, {"build": {"conv": "seperable"}},
            {"build": {"factory": "a:b.c"}}, {"build": {"factory": 3}}, {"build": []}, {"students": {"G": None}},
            {"host_options": {"netG": 3}}, {"host_options": {"ngf": None}}, {"host_options": {"ngf": "4"}},
        ],
    )  # fmt: skip
    def test_that_were_edited_are_refused(
        self, models: ModuleType, teachers: Path, record: Path, changes: dict
    ) -> None:
        record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))
        with pytest.raises(KDError, match=r"student\.json") as caught:
            self.opened(models, teachers)
        assert "\n" not in str(caught.value)

    def test_call_no_function_of_their_folder(
        self, models: ModuleType, teachers: Path, record: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may be anybody's: nothing in it runs, whatever it is called."""
        monkeypatch.syspath_prepend(str(teachers.parent))
        monkeypatch.syspath_prepend(str(record.parent))
        (record.parent / "evil").mkdir()
        for file in ("payload.py", "evil/__init__.py", "evil/payload.py"):
            (record.parent / file).write_text(f"open({str(teachers.parent / 'ran')!r}, 'w')\nf = None\n")
        for function in ("payload:f", "evil.payload:f", "student.payload:f", "student.evil.payload:f"):
            content = json.loads(record.read_text())
            content["build"]["factory"] = function
            record.write_text(json.dumps(content))
            with pytest.raises(KDError, match=rf"names the function {function}, which is in the checkpoint folder"):
                self.opened(models, teachers)
        assert not (teachers.parent / "ran").exists()

    def test_are_left_aside_when_another_network_is_there(
        self, models: ModuleType, teachers: Path, record: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A generator of the user's own, and one of the family, each trained over by the other."""
        host = set_up(models.find_model_using_name("pix2pix"), host_options(teachers.parent))
        host.save_networks("latest")
        assert current_record(host.opt, record.parent) is None
        assert "belongs to another training than the checkpoint; ignored" in capsys.readouterr().out
        shutil.rmtree(record.parent)
        record.parent.mkdir()
        model = set_up(distilled(models, "pix2pix"), options(teachers, "pix2pix", **KINDS["widths"]))
        for state in (tiny_generator(StudentRequest(3, 3, 4, "")).state_dict(), host.netG.state_dict()):
            torch.save(state, record.parent / "latest_net_G.pth")
            assert current_record(model.opt, record.parent) is None
        torch.save(build_generator(GeneratorSpec("resnet", 3, 3, 4, 6, "instance", False, True)).state_dict(),
                   record.parent / "latest_net_G.pth")  # fmt: skip
        assert current_record(model.opt, record.parent) is None  # of other widths alone

    def test_of_a_run_before_do_not_matter_to_a_fresh_one(
        self, models: ModuleType, teachers: Path, record: Path
    ) -> None:
        plain = set_up(_switch(models.find_model_using_name("pix2pix")), host_options(teachers.parent))
        assert inspect_state_dict(plain.netG.state_dict()).ngf == 4


@pytest.mark.parametrize("name", NETS)
class TestInheritance:
    def test_is_there_at_the_first_step(self, models: ModuleType, teachers: Path, name: str) -> None:
        extra = {"student_init": "teacher", "student_ngf": 4, "student_netG": "resnet_3blocks"}
        model = set_up(distilled(models, name), options(teachers, name, **extra))
        for net in NETS[name]:
            expected = build_generator(GeneratorSpec("resnet", 3, 3, 4, 3, "instance", False, True))
            teacher = build_generator(GeneratorSpec("resnet", 3, 3, 6, 3, "instance", False, True))
            teacher.load_state_dict(torch.load(teachers / f"latest_net_{net}.pth", weights_only=True))
            inherit_weights(expected, teacher)
            assert same(getattr(model, f"net{net}").state_dict(), expected.state_dict())
        before = states(model, NETS[name])
        train_step(model, 2)
        assert not any(same(*pair) for pair in zip(before, states(model, NETS[name]), strict=True))

    def test_is_there_where_a_host_sets_up_late(self, models: ModuleType, teachers: Path, name: str) -> None:
        """As CUT does: a first pass, forward and backward, before the networks are set up."""
        extra = {"student_init": "teacher", "student_ngf": 6, "student_netG": "resnet_3blocks"}
        opt = options(teachers, name, **extra)
        model = distilled(models, name)(opt)
        model.isTrain = True
        images = torch.rand(1, 3, 32, 32)
        model.set_input({"A": images, "B": images, "A_paths": ["a"], "B_paths": ["b"]})
        model.forward()
        model.backward_G()
        model.setup(opt)
        for net in NETS[name]:
            teacher = torch.load(teachers / f"latest_net_{net}.pth", weights_only=True)
            assert same(getattr(model, f"net{net}").state_dict(), teacher)

    def test_of_a_discriminator(
        self, models: ModuleType, teachers: Path, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        host = set_up(models.find_model_using_name(name), host_options(teachers.parent, model=name), seed=5)
        judges = [net.replace("G", "D") for net in NETS[name]]
        for judge in judges:
            torch.save(getattr(host, f"net{judge}").state_dict(), teachers / f"latest_net_{judge}.pth")
        extra = {"discriminator_init": "teacher", "student_ngf": 4}
        model = set_up(distilled(models, name), options(teachers, name, **extra), seed=6)
        for judge in judges:
            own = getattr(model, f"net{judge}").state_dict()
            assert same(own, getattr(host, f"net{judge}").state_dict())
        assert capsys.readouterr().out.count(f" starts from {len(own)} of {len(own)} tensors of") == len(judges)
        with pytest.raises(KDError, match=r"no convolution of netD\w* matches .*--student_ndf and --student_netD"):
            set_up(distilled(models, name), options(teachers, name, **extra, student_ndf=3))
        (teachers / f"latest_net_{judges[0]}.pth").unlink()
        with pytest.raises(KDError, match=f"there is no latest_net_{judges[0]}.pth next to"):
            set_up(distilled(models, name), options(teachers, name, **extra))

    def test_never_overwrites_a_continued_run(self, models: ModuleType, teachers: Path, name: str) -> None:
        (teachers.parent / "student").mkdir()
        extra = {"student_init": "teacher", "student_ngf": 4, "student_netG": "resnet_3blocks"}
        cls = distilled(models, name)
        model = set_up(cls, options(teachers, name, **extra))
        train_step(model, 2)
        model.save_networks("latest")
        again = set_up(cls, options(teachers, name, **extra, continue_train=True), seed=8)
        for ours, theirs in zip(states(again, NETS[name]), states(model, NETS[name]), strict=True):
            assert same(ours, theirs)


@pytest.mark.parametrize("place", HOSTS)
def test_inheritance_in_the_hosts_own_script(place: tuple[Path, str], images: Path, tmp_path: Path) -> None:
    """With a learning rate of zero, what a run saves is what it started from: the teacher, then the run before."""
    folder, form = place
    teacher = tmp_path / "big" / "latest_net_G.pth"
    teacher.parent.mkdir()
    spec = GeneratorSpec("resnet", 3, 3, 4, 3, "instance", False, True)
    torch.save(build_generator(spec).state_dict(), teacher)
    arguments = (
        f"kd run train.py --dataroot {images}/paired --model pix2pix --name small --checkpoints_dir {tmp_path} "
        f"{SMALL} --ndf 4 --n_epochs 1 --n_epochs_decay 0 --save_epoch_freq 1 --no_html --lr 0 "
        f"--distill pixel --teacher {teacher} --student_init teacher --student_netG resnet_3blocks --student_ngf 4"
    ).split()
    arguments = [LAUNCH, *arguments, *host_arguments(folder, form)["train"]]
    succeed(run(arguments, folder, form))
    saved = tmp_path / "small" / "latest_net_G.pth"
    assert same(torch.load(saved, weights_only=True), torch.load(teacher, weights_only=True))  # its norm too
    changed = {key: tensor + 1 for key, tensor in torch.load(saved, weights_only=True).items()}
    torch.save(changed, saved)
    succeed(run([*arguments, "--continue_train"], folder, form))
    assert same(torch.load(saved, weights_only=True), changed)


class TestDiscriminatorNote:
    def say(self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str], **changes: object) -> str:
        set_up(distilled(models, "pix2pix"), options(teachers, "pix2pix", student_ngf=4, **changes))
        return capsys.readouterr().out

    def test_full_size(self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str]) -> None:
        said = self.say(models, teachers, capsys, ndf=64)
        assert "note: netD has 2.77 M parameters" in said and "0.69 M gave the best results" in said

    @pytest.mark.parametrize("changes", [{"ndf": 32}, {"ndf": 64, "student_ndf": 32}])
    def test_small(
        self, models: ModuleType, teachers: Path, capsys: pytest.CaptureFixture[str], changes: dict
    ) -> None:
        assert "netD has" not in self.say(models, teachers, capsys, **changes)


class TestOptions:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"student_widths": "24,x"}, "--student_widths 24,x: give whole numbers such as 24,40,96"),
            ({"student_widths": "24,0,3"}, "--student_widths 24,0,3"),
            ({"student_widths": "4,8,16", "student_ngf": 4}, "--student_ngf and --student_widths both set"),
            ({"student_budget": "macs=7x", "student_ngf": 4}, "--student_ngf and --student_budget both set"),
            ({"student_budget": "macs"}, "--student_budget macs: 'macs' is not a limit"),
            (
                {"student_budget": "latency=50ms"},
                r"latency=50ms@device.json, which kd plan TEACHER --web FOLDER writes; or list .* --latency 50ms",
            ),
            ({"student_factory": "tiny"}, "--student_factory tiny: name a function as package.module:function"),
            ({"student_factory": "a:b", "student_conv": "separable"}, "--student_conv has no effect with"),
            ({"student_factory": "a:b", "student_netG": "unet_32"}, "--student_netG has no effect with"),
            ({"student_conv": "seperable"}, "unknown --student_conv 'seperable': did you mean 'separable'"),
            ({"student_init": "teach"}, "unknown --student_init 'teach': did you mean 'teacher'"),
            ({"student_keep": "l2"}, "unknown --student_keep 'l2'"),
            ({"student_ngf": "many"}, "--student_ngf many: give a whole number"),
            ({"student_ngf": 0}, "--student_ngf 0: give a width of 1 or more"),
            ({"student_ndf": -1}, "--student_ndf -1: give a width of 1 or more"),
        ],
    )
    def test_refuses(self, changes: dict, message: str) -> None:
        with pytest.raises(KDError, match=message):
            DistillConfig.from_namespace(Namespace(distill="pixel", teacher="x", **changes))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"student_netG": "unet_64"},
                "a unet_64 halves its images 6 times, .* these are 32: use unet_32",
            ),
            ({"student_netG": "unet_256"}, "use unet_32, or --crop_size 256"),
            ({"student_netG": "unet_32", "student_conv": "separable"}, "which a unet_32 does not have"),
            ({"student_widths": "4,8"}, "widths 4,8: a resnet_6blocks takes 3"),
            ({"student_netG": "unet_64", "student_budget": "macs=2x"}, "a unet_64 halves its images 6 times"),
            (
                {"student_budget": "params=99999x"},
                "--student_budget params=99999x: no student is small enough",
            ),
            ({"student_factory": "gone:f"}, "the student gone:f cannot be built"),
            ({"student_init": "teacher", "student_netG": "unet_32"}, "--student_init teacher: a unet_32 cannot"),
            (
                {"student_init": "teacher", "student_factory": "test_student_hosts:tiny_generator"},
                "--student_init teacher: weights are inherited between generators of the family, but the student",
            ),
        ],
    )
    def test_refuses_in_a_host(self, models: ModuleType, teachers: Path, changes: dict, message: str) -> None:
        with pytest.raises(KDError, match=message) as caught:
            set_up(distilled(models, "pix2pix"), options(teachers, "pix2pix", **changes))
        assert "\n" not in str(caught.value)

    def test_crop_that_no_unet_fits(self, models: ModuleType, teachers: Path) -> None:
        opt = options(teachers, "pix2pix", student_netG="unet_32")
        opt.crop_size = 40
        with pytest.raises(KDError, match="use a ResNet, or --crop_size 32"):
            set_up(distilled(models, "pix2pix"), opt)

    @pytest.mark.parametrize("given", ["yes", "no", None])
    def test_dropout_of_its_own(self, models: ModuleType, teachers: Path, given: str | None) -> None:
        for no_dropout in (True, False):
            opt = options(teachers, "pix2pix", student_dropout=given, no_dropout=no_dropout)
            network = distilled(models, "pix2pix")(opt).netG
            wanted = given == "yes" if given else not no_dropout
            assert any(isinstance(module, nn.Dropout) for module in network.modules()) is wanted

    def test_what_has_no_effect_is_told(self) -> None:
        message = "--student_keep has no effect without --student_init teacher"
        assert StudentOptions(student_keep="first").notes() == [message]
        assert StudentOptions(student_keep="first", student_init="teacher").notes() == []

    @pytest.mark.parametrize("given", [[], ["--norm", "none", "--netG", "resnet_9blocks"]])
    def test_what_the_teacher_is_unless_named(self, given: list[str]) -> None:
        parser = ArgumentParser()
        parser.add_argument("--norm", default="instance")
        parser.add_argument("--netG", default="unet_256")
        parser.add_argument("--no_dropout", action="store_true")
        keep_from_teacher(CommandLine(parser), GeneratorSpec("resnet", 3, 3, 8, 4, "batch", False, False))
        opt = parser.parse_args(given)
        assert (opt.norm, opt.netG) == (("none", "resnet_9blocks") if given else ("batch", "resnet_4blocks"))
        assert opt.no_dropout

    def test_teachers_norm_in_a_host(self, images: Path, tmp_path: Path) -> None:
        """The end of it: neither norm nor architecture nor the test's options need to be given."""
        (tmp_path / "big").mkdir()
        spec = GeneratorSpec("resnet", 3, 3, 8, 2, "instance", False, True)
        torch.save(build_generator(spec).state_dict(), tmp_path / "big" / "latest_net_G.pth")
        shared = (
            f"--dataroot {images}/paired --model pix2pix --name small --checkpoints_dir {tmp_path} --num_threads 0"
        )
        train = f"{shared} --load_size 32 --crop_size 32 --ndf 4 --n_epochs 1 --n_epochs_decay 0 --save_epoch_freq 1"
        distill = f"--distill wavelet,srp --teacher {tmp_path}/big --student_budget macs=3x --student_conv separable"
        said = succeed(kd(f"run train.py {train} {distill} --student_init teacher", HOST)).stdout
        found = inspect_checkpoint(tmp_path / "small" / "latest_net_G.pth")
        assert (found.netG, found.norm, found.conv) == ("resnet_2blocks", "instance", "separable")
        assert f"ngf {found.ngf} is the widest resnet_2blocks within macs=3x at 32x32" in said
        test = f"{shared} --load_size 32 --crop_size 32 --results_dir {tmp_path}/results"
        succeed(kd(f"run test.py {test}", HOST))
        assert len(list((tmp_path / "results").rglob("*fake_B.png"))) == 4


def test_a_host_that_builds_elsewhere_is_told() -> None:
    class Own:
        pass

    message = r"Own does not build generators with networks\.define_G"
    with pytest.raises(KDError, match=message), building_students(Own, StudentRequest(conv="separable")):
        Own()
    with building_students(Own, StudentRequest()):  # nothing was asked for
        Own()


class TestReplication:
    """Padding by replication has no parameters, so a file looks as one of reflection."""

    @pytest.fixture
    def host(self, tmp_path: Path) -> tuple[BuildCall, Path]:
        """A student of a host that can pad by replication, and a file of a teacher that does."""

        def define_G(input_nc, output_nc, ngf, netG, norm, padding_type="reflect"):  # type: ignore[no-untyped-def]
            network = build_generator(GeneratorSpec("resnet", 3, 3, ngf, 2, norm, False, True))
            if padding_type == "replicate":
                for module in list(network.modules()):
                    for name, child in module.named_children():
                        if isinstance(child, nn.ReflectionPad2d):
                            setattr(module, name, nn.ReplicationPad2d(child.padding))
            return network

        usual = {"input_nc": 3, "output_nc": 3, "netG": "resnet_2blocks", "norm": "instance"}
        file = tmp_path / "latest_net_G.pth"
        torch.save(define_G(**usual, ngf=6, padding_type="replicate").state_dict(), file)
        (tmp_path / "train_opt.txt").write_text("     padding: replicate  \t[default: reflect]\n")
        arguments = {**usual, "ngf": 4, "padding_type": "reflect"}
        return BuildCall(define_G, arguments, define_G(**arguments), True), file

    def test_the_host_builds_such_a_teacher(self, host: tuple[BuildCall, Path]) -> None:
        call, file = host
        built = Built(StudentRequest(), [call], "resnet_2blocks")
        teacher = load_teacher_of(call.network, file, "eval", Namespace(no_dropout=True), built)
        same = call.define_G(**{**call.arguments, "ngf": 6, "padding_type": "replicate"})
        same.load_state_dict(torch.load(file, weights_only=True))
        image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        assert torch.equal(teacher(image), same(image)) and not torch.equal(teacher(image), load_teacher(file)(image))

    def test_a_host_without_it_refuses_the_teacher(self, host: tuple[BuildCall, Path]) -> None:
        call, file = host
        arguments = {name: value for name, value in call.arguments.items() if name != "padding_type"}
        built = Built(StudentRequest(), [replace(call, arguments=arguments)], "resnet_2blocks")
        with pytest.raises(KDError, match=r"latest_net_G\.pth pads by replication, by the options of its training"):
            load_teacher_of(call.network, file, "eval", Namespace(no_dropout=True), built)

    def test_commands_without_a_host_refuse_it(self, host: tuple[BuildCall, Path]) -> None:
        with pytest.raises(
            KDError, match=r"latest_net_G\.pth pads by replication.*: distil it in the host, by kd run"
        ):
            load_generator(host[1])
