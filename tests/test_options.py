"""What a host's command line says, wrong and right, while the host parses it: nothing is built or loaded yet.

Each test runs on the embedded host, and on the real hosts in the folders of KD_HOSTS.
"""

from __future__ import annotations

import functools
import importlib
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import FORMS, HOSTS, imported_host
from launch import make_importable

from kd_plugin import GeneratorSpec
from kd_plugin.host.patches import _patch_models
from kd_plugin.networks import build_generator

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
        assert f"--teacher_G_A {tmp_path}/facades_big is a folder: give one file of it" in said

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
        assert f"--teacher {folder}/{name} is a discriminator, and a teacher is a generator: give {give}\n" in said

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
        assert f"multiples of 128, and these are {size}: add {advice}\n" in refuse(given)
        assert parse(f"{given} {advice}").netG == (student.removeprefix("--student_netG ") or "unet_128")
