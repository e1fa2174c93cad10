"""Valid and invalid command lines while a host parses them, before anything is built or loaded.

Each test runs on the embedded host, and on the real hosts in the folders of KD_HOSTS.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.hosts import FORMS, HOSTS, imported_host
from helpers.launch import make_importable
from helpers.models import distilling, set_up

from kd_plugin import GeneratorSpec, KDError
from kd_plugin.errors import ArgumentError, OptionError
from kd_plugin.host.launch.import_hooks import _patch_models
from kd_plugin.host.options.names import naming_options
from kd_plugin.networks.checkpoint import inspect_state_dict
from kd_plugin.networks.generator import build_generator

Parse = Callable[..., Namespace]
once = functools.cache(make_importable)


@pytest.fixture(params=[HOSTS[0], *HOSTS[len(FORMS) :]])
def parse(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parse]:
    """Parse a command line as ``kd run train.py`` or ``kd run test.py`` does, until the host has its options."""
    if not request.param[1]:
        once()
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with imported_host(*request.param) as models:
        _patch_models(models)

        def parse(arguments: str, script: str = "train") -> Namespace:
            module = importlib.import_module(f"options.{script}_options")
            shared = f"--checkpoints_dir {tmp_path} --gpu_ids -1" if "gpu_ids" in _source(module) else ""
            shared = shared or f"--checkpoints_dir {tmp_path}"
            monkeypatch.setattr(sys, "argv", [f"{script}.py", *shared.split(), *arguments.split()])
            return getattr(module, f"{script.title()}Options")().parse()

        yield parse


def _source(module: object) -> str:
    folder = Path(str(module.__file__)).parent  # type: ignore[attr-defined]
    return (folder / "base_options.py").read_text()


@pytest.fixture
def refuse(parse: Parse, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Parse a command line that is wrong, and return the one line that says so."""

    def refuse(arguments: str, script: str = "train") -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            parse(arguments, script)
        said = capsys.readouterr().err
        assert caught.value.code == 2 and said.startswith(f"{script}.py: error: ") and said.count("\n") == 1
        return said

    return refuse


def save_teacher(folder: Path, *nets: str, netG: str = "resnet_2blocks", ngf: int = 6) -> Path:
    """Save generators as a host does."""
    folder.mkdir(exist_ok=True)
    unet = netG.startswith("unet")
    depth = int(netG.removeprefix("unet_")).bit_length() - 1 if unet else int(netG[7])
    spec = GeneratorSpec("unet" if unet else "resnet", 3, 3, ngf, depth, "instance", None if unet else False, True)
    for net in nets or ("G",):
        torch.save(build_generator(spec).state_dict(), folder / f"latest_net_{net}.pth")
    return folder


DISTILL = "--dataroot x --name small --model pix2pix --distill wavelet --load_size 64 --crop_size 64"


class TestTeachers:
    """They are looked at before anything that follows from them is."""

    def test_that_are_not_there(self, refuse: Callable[..., str], tmp_path: Path) -> None:
        save_teacher(tmp_path / "facades_big")
        assert "--teacher nowhere: no such file or folder\n" in refuse(f"{DISTILL} --teacher nowhere")
        for text in ("facades_big", f"{tmp_path}/facades_bg", "facades_bg"):
            said = refuse(f"{DISTILL} --teacher {text}")
            assert f"--teacher {text}: no such file or folder, did you mean {tmp_path}/facades_big?\n" in said
        said = refuse(f"{DISTILL} --teacher {tmp_path}/facades_big/latest_net_H.pth")
        assert f"did you mean {tmp_path}/facades_big/latest_net_G.pth?\n" in said
        said = refuse(f"{DISTILL} --teacher_G_A {tmp_path}/facades_big")
        assert f"--teacher_G_A {tmp_path}/facades_big is a folder: give a file in it" in said

    def test_of_another_epoch(self, refuse: Callable[..., str], tmp_path: Path) -> None:
        folder = save_teacher(tmp_path / "big")
        said = refuse(f"{DISTILL} --teacher {folder} --teacher_epoch 7")
        assert f"--teacher {folder}: there is no 7_net_G*.pth; it holds latest_net_G.pth (" in said

    @pytest.mark.parametrize("name", ["latest_net_D.pth", "judge.pth"])
    @pytest.mark.parametrize("netD", ["basic", "pixel"])
    def test_that_are_discriminators(self, refuse: Callable[..., str], tmp_path: Path, name: str, netD: str) -> None:
        networks = sys.modules["models.networks"]
        folder = save_teacher(tmp_path / "big")
        torch.save(networks.define_D(6, 4, netD).state_dict(), folder / name)
        said = refuse(f"{DISTILL} --teacher {folder}/{name}")
        give = f"{folder}/latest_net_G.pth" if "_net_D" in name else "a file such as latest_net_G.pth"
        assert f"--teacher {folder}/{name} is a discriminator, but a teacher is a generator: give {give}\n" in said

    @pytest.mark.parametrize(
        ("sizes", "size", "advice"),
        [
            ("--load_size 64 --crop_size 64", 64, "--load_size 128 --crop_size 128"),
            ("--load_size 286 --crop_size 200", 200, "--crop_size 256"),
            ("--load_size 64 --crop_size 64 --preprocess crop", 64, "--crop_size 128"),
            (
                "--load_size 100 --preprocess scale_width_and_crop --crop_size 96",
                96,
                "--load_size 128 --crop_size 128",
            ),
        ],
    )
    @pytest.mark.parametrize("student", ["", "--student_netG unet_64"])
    def test_that_take_other_sizes(
        self,
        refuse: Callable[..., str],
        parse: Parse,
        tmp_path: Path,
        sizes: str,
        size: int,
        advice: str,
        student: str,
    ) -> None:
        """What is advised is then taken, by teacher and student."""
        folder = save_teacher(tmp_path / "big", netG="unet_128")
        given = f"{DISTILL} --teacher {folder} --student_ngf 4 {student} {sizes}"
        assert f"multiples of 128, but these are {size}: add {advice}\n" in refuse(given)
        assert parse(f"{given} {advice}").netG == (student.removeprefix("--student_netG ") or "unet_128")


class TestMistakes:
    """Each is answered in one line, where the host's usage has a hundred."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--distill wavelet srp", "--distill wavelet srp: separate terms with commas: --distill wavelet,srp"),
            (
                "--distill=wavelet, srp:G",
                "--distill wavelet, srp:G: separate terms with commas: --distill wavelet,srp:G",
            ),
            ("--distill wavelet --lambda_wavlet 5", "--lambda_wavlet 5: did you mean --lambda_wavelet?"),
            ("--distill wavelet --student_nfg=5", "--student_nfg=5: did you mean --student_ngf?"),
            ("--distill wavelet --n_epoch_decays 5", "--n_epoch_decays 5: did you mean --n_epochs_decay?"),
            ("--distill wavelet --xyzzy 5", "unrecognized arguments: --xyzzy 5"),
            ("--distil wavelet", "ambiguous option: --distil could match --distill, --distill_taps, --distill_share"),
            ("--distill", "argument --distill: expected one argument"),
        ],
    )
    def test_in_training(self, refuse: Callable[..., str], tmp_path: Path, arguments: str, message: str) -> None:
        shared = (
            f"--dataroot x --name small --model pix2pix --preprocess none --teacher {save_teacher(tmp_path / 'big')}"
        )
        assert f"{message}\n" in refuse(f"{shared} {arguments}")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--distill wavelet", "--distill is a training option: remove it from test.py"),
            ("--amp bf16", "--amp is a training option: remove it from test.py"),
            (
                "--distill=wavelet --student_ngf 24 --gone 3",
                "--distill, --student_ngf are training options: remove them from test.py",
            ),
        ],
    )
    @pytest.mark.parametrize("model", ["--model pix2pix", ""])
    def test_training_options_in_a_test(
        self, refuse: Callable[..., str], arguments: str, message: str, model: str
    ) -> None:
        assert f"{message}\n" in refuse(f"--dataroot x --name small {model} {arguments}", "test")

    def test_that_stand_for_what_is_missing(self, refuse: Callable[..., str]) -> None:
        line = refuse("--dataroot x --name small --model pix2pix --distill wavelet --techer checkpoints/big")
        assert "unrecognized arguments: --techer: did you mean --teacher?" in line

    @pytest.mark.parametrize("script", ["train", "test"])
    def test_without_our_options_are_the_hosts_to_answer(
        self, parse: Parse, capsys: pytest.CaptureFixture[str], script: str
    ) -> None:
        with pytest.raises(SystemExit):
            parse("--dataroot x --name small --model pix2pix --lambda_wavlet 5", script)
        said = capsys.readouterr().err
        assert said.startswith("usage: ") and "unrecognized arguments: --lambda_wavlet 5" in said

    def test_options_of_the_data_set_are_none(
        self, parse: Parse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They come after the model's, and may have names like ours."""
        monkeypatch.setattr(importlib.import_module("data"), "get_option_setter", lambda name: _add_teacher_dir)
        given = f"{DISTILL} --teacher {save_teacher(tmp_path / 'big')} --student_ngf 4 --teacher_dir 5"
        assert parse(given).teacher_dir == "5"


def _add_teacher_dir(parser: ArgumentParser, is_train: bool) -> ArgumentParser:
    parser.add_argument("--teacher_dir")
    return parser


class TestForgottenModel:
    """Hosts take a CycleGAN then."""

    GIVEN = "--name small --distill wavelet --student_ngf 4 --load_size 32 --crop_size 32"

    @pytest.mark.parametrize("single", [False, True])
    def test_teachers_of_pix2pix(
        self, refuse: Callable[..., str], parse: Parse, tmp_path: Path, single: bool
    ) -> None:
        teacher = save_teacher(tmp_path / "big") / ("latest_net_G.pth" if single else "")
        said = refuse(f"{self.GIVEN} --dataroot x --teacher {teacher}")
        found = (
            "is the generator of a pix2pix" if single else "contains latest_net_G.pth, as saved by --model pix2pix"
        )
        assert (
            f"--teacher {teacher} {found}, but this is --model cycle_gan, the default: give --model pix2pix" in said
        )
        parse(f"{self.GIVEN} --dataroot x --teacher {teacher} --model pix2pix")

    def test_teachers_of_a_cyclegan(self, refuse: Callable[..., str], parse: Parse, tmp_path: Path) -> None:
        teacher = save_teacher(tmp_path / "big", "G_A", "G_B")
        said = refuse(f"{self.GIVEN} --dataroot x --teacher {teacher} --model pix2pix")
        assert "latest_net_G_A.pth, latest_net_G_B.pth, as saved by --model cycle_gan, but this is" in said
        parse(f"{self.GIVEN} --dataroot x --teacher {teacher}")
        parse(f"{self.GIVEN} --dataroot x --teacher {teacher}/latest_net_G_A.pth --model pix2pix")

    def test_pairs(self, refuse: Callable[..., str], parse: Parse, tmp_path: Path, images: Path) -> None:
        teacher = save_teacher(tmp_path / "big", "G", "G_A")
        given = f"{self.GIVEN} --teacher {teacher} --dataroot {images}"
        said = refuse(f"{given}/paired")
        assert f"--dataroot {images}/paired has train/, but no trainA/: paired images, as for pix2pix" in said
        assert "this is --model cycle_gan, the default: give --model pix2pix, or confirm --model cycle_gan" in said
        for more in ("/paired --model cycle_gan", "/unpaired", "/paired --model pix2pix"):
            parse(f"{given}{more}")


class TestDefaultStudent:
    """A student that the command line does not name is three eighths as wide as its teacher."""

    @pytest.mark.parametrize(("ngf", "wanted"), [(64, 24), (32, 12), (6, 2), (2, 1)])
    def test_width(
        self, parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str], ngf: int, wanted: int
    ) -> None:
        opt = parse(f"{DISTILL} --teacher {save_teacher(tmp_path / 'big', ngf=ngf)}")
        line = f"the student has ngf {wanted}, three eighths of the teacher's {ngf}: use --student_ngf or"
        assert opt.ngf == wanted and line in capsys.readouterr().out
        host_options = (tmp_path / "small" / "train_opt.txt").read_text()
        assert re.search(rf"^ +ngf: {wanted} +\t\[default: 64\]$", host_options, re.MULTILINE)

    @pytest.mark.parametrize(
        ("arguments", "width"),
        [
            ("--ngf 9", 9),
            ("--ngf=9", 9),
            ("--ngf 64", 64),
            ("--student_ngf 5", 5),
            ("--student_widths 4,5,6", 4),
            ("--student_factory a:b", 64),
            ("--student_budget params=2x", None),
        ],
    )
    def test_named(
        self, parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, width: int | None
    ) -> None:
        opt = parse(f"{DISTILL} --teacher {save_teacher(tmp_path / 'big', ngf=16)} {arguments}")
        assert opt.ngf == width or (width is None and 6 < opt.ngf < 16)
        assert "three eighths" not in capsys.readouterr().out and not hasattr(opt, "default_student")

    def test_of_another_architecture(self, parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """It says nothing of the width; but a student that is not smaller was named then."""
        opt = parse(f"{DISTILL} --teacher {save_teacher(tmp_path / 'big', ngf=16)} --student_netG resnet_1blocks")
        assert opt.ngf == 6 and "three eighths" in capsys.readouterr().out and not opt.default_student

    def test_of_a_continued_run(self, parse: Parse, tmp_path: Path) -> None:
        (tmp_path / "small").mkdir()
        (tmp_path / "small" / "latest_net_G.pth").touch()
        opt = parse(f"{DISTILL} --teacher {save_teacher(tmp_path / 'big', ngf=16)} --continue_train")
        assert opt.ngf == 64 and not hasattr(opt, "default_student")

    def test_named_by_a_subclass(self, parse: Parse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        models = sys.modules["models"]
        found = models.find_model_using_name("pix2pix")

        class Own(distilling(found.__mro__[1])):  # type: ignore[misc]
            @classmethod
            def modify_commandline_options(cls, parser: ArgumentParser, is_train: bool = True) -> ArgumentParser:
                parser = super().modify_commandline_options(parser, is_train)
                parser.set_defaults(ngf=10, student_ndf=5)
                return parser

        monkeypatch.setattr(models, "find_model_using_name", lambda name: Own)
        given = f"{DISTILL} --teacher {save_teacher(tmp_path / 'big', ngf=16)}"
        assert (parse(given).ngf, parse(given).ndf, parse(f"{given} --student_ngf 4").ngf) == (10, 5, 4)

    @pytest.mark.parametrize("named", [False, True])
    def test_that_is_not_smaller_is_refused_unless_named(
        self, parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str], named: bool
    ) -> None:
        """A teacher of one channel has no narrower student, and this one is deeper."""
        teacher = save_teacher(tmp_path / "big", netG="resnet_1blocks", ngf=1)
        ngf = "--ngf 1" if named else ""
        opt = parse(f"{DISTILL} --teacher {teacher} --netG resnet_9blocks {ngf}")
        opt.device, opt.gpu_ids = torch.device("cpu"), []
        model_class = sys.modules["models"].find_model_using_name("pix2pix")
        if named:
            set_up(model_class, opt)
            assert "note: the student G is not smaller than its teacher" in capsys.readouterr().out
        else:
            with pytest.raises(KDError, match=r"the student G has .* M parameters, its teacher .* choose a smaller"):
                set_up(model_class, opt)

    def test_of_a_teacher_that_no_file_tells(
        self, parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It is as wide as the host says."""
        (tmp_path / "big").mkdir()
        torch.save({"first.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "big" / "latest_net_G.pth")
        opt = parse(f"{DISTILL} --preprocess none --teacher {tmp_path}/big")
        assert opt.ngf == 64 and opt.default_student and "three eighths" not in capsys.readouterr().out


class TestPrintedOptions:
    """What the host prints and writes to ``train_opt.txt`` is what is then built."""

    def test_are_those_of_the_student(self, parse: Parse, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        teacher = save_teacher(tmp_path / "big", netG="resnet_3blocks", ngf=16)
        student = "--ngf 64 --student_ngf 12 --student_netG resnet_2blocks --student_ndf 5 --student_netD pixel"
        opt = parse(f"{DISTILL} --teacher {teacher} {student} --student_dropout yes --amp bf16")
        printed = capsys.readouterr().out
        built = {
            "ngf": 12, "netG": "resnet_2blocks", "ndf": 5, "netD": "pixel", "no_dropout": False, "norm": "instance",
            "amp": "bf16",
        }  # fmt: skip
        for text in (printed, (tmp_path / "small" / "train_opt.txt").read_text()):
            found = dict(re.findall(r"^ +(\w+): (\S+)", text, re.MULTILINE))
            assert {name: found[name] for name in built} == {name: str(value) for name, value in built.items()}
            assert "distill_amp" not in found
        opt.device, opt.gpu_ids = torch.device("cpu"), []
        model = set_up(sys.modules["models"].find_model_using_name("pix2pix"), opt)
        spec = inspect_state_dict(model.netG.state_dict())
        assert (spec.ngf, spec.netG, spec.norm, spec.dropout) == (12, "resnet_2blocks", "instance", True)
        assert model.netD.net[0].weight.shape[:2] == (5, 6)  # a pixel discriminator's

    @pytest.mark.parametrize("kind", ["--student_widths 5,6,7", "--student_budget params=3x"])
    def test_are_those_of_widths_and_budgets(self, parse: Parse, tmp_path: Path, kind: str) -> None:
        teacher = save_teacher(tmp_path / "big", netG="resnet_3blocks", ngf=16)
        opt = parse(f"{DISTILL} --teacher {teacher} {kind}")
        written = (tmp_path / "small" / "train_opt.txt").read_text()
        opt.device, opt.gpu_ids = torch.device("cpu"), []
        model = set_up(sys.modules["models"].find_model_using_name("pix2pix"), opt)
        ngf = inspect_state_dict(model.netG.state_dict()).ngf
        assert 4 < ngf < 16 and re.search(rf"^ +ngf: {ngf} ", written, re.MULTILINE)

    def test_leave_the_name_of_the_run_alone(self, parse: Parse, tmp_path: Path) -> None:
        """A suffix made of the host's options names the folder in which a test of the same suffix looks."""
        teacher = save_teacher(tmp_path / "big", netG="resnet_3blocks", ngf=16)
        opt = parse(f"{DISTILL} --teacher {teacher} --student_ngf 4 --suffix {{model}}_{{ngf}}")
        assert opt.name == "small_pix2pix_64" and opt.ngf == 4


def test_an_error_of_a_lower_layer_names_the_option() -> None:
    with (
        pytest.raises(OptionError, match=r"^no such module \(--distill_taps; --srp_layers for srp\)$"),
        naming_options(),
    ):
        raise ArgumentError("no such module", argument="taps")
    with pytest.raises(ArgumentError, match=r"^of no option$"), naming_options():
        raise ArgumentError("of no option")
