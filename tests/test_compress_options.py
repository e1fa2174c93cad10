"""``--compress``: what is refused before a training begins, and how its parts decide."""

from __future__ import annotations

import importlib
import json
import random
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.hosts import HOST, HOSTS, imported_host
from helpers.images import paint
from helpers.launch import make_importable
from helpers.models import distilling
from PIL import Image

from kd_plugin.cli import main
from kd_plugin.compression.trained import Trained, TrainedGenerator, student_folder
from kd_plugin.errors import CheckpointError, HostError, OptionError
from kd_plugin.files import sha256
from kd_plugin.host.launch import compress_after
from kd_plugin.host.launch.compress_after import CompressingAfter
from kd_plugin.host.launch.import_hooks import _patch_models
from kd_plugin.host.model import compress_later
from kd_plugin.host.model.inputs import find_inputs
from kd_plugin.host.options.compress import device_option
from kd_plugin.pictures import Preprocessing

SMALL = "--netG resnet_6blocks --ngf 8 --crop_size 32 --load_size 36 --no_dropout --norm instance"
SMALL += " --n_epochs 5 --n_epochs_decay 0"


@pytest.fixture(params=[HOSTS[1], *HOSTS[2:]])
def parse(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    """Parse a command line as ``kd run`` does; the checkpoints are in ``tmp_path / "out"``."""
    if not request.param[1]:
        make_importable()
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(compress_later, "_later", None)
    with imported_host(*request.param) as models:
        _patch_models(models)

        def parse(arguments: str, script: str = "train") -> Namespace:
            module = importlib.import_module(f"options.{script}_options")
            places = f"--dataroot {tmp_path} --checkpoints_dir {tmp_path / 'out'} --name big {arguments}"
            source = (Path(str(module.__file__)).parent / "base_options.py").read_text(encoding="utf-8")
            places += " --gpu_ids -1" if not request.param[1] and "--gpu_ids" in source else ""
            monkeypatch.setattr(sys, "argv", [f"{script}.py", *places.split()])
            return getattr(module, f"{script.title()}Options")().parse()

        yield parse


@pytest.fixture
def refuse(parse: Callable, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Parse a command line that is wrong; return the one line that says so. Nothing is written."""

    def refuse(arguments: str, script: str = "train") -> str:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as ended:
            parse(arguments, script)
        assert ended.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0]

    return refuse


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ("--compress 7y", "--compress 7y: the student '7y': macs 7y: give an amount"),
            ("--compress 7x,,16x", "--compress 7x,,16x: a student is missing between commas"),
            ("--compress 7x,7x", "two students are named 7x"),
            ("--compress width=3", "unknown setting 'width': did you mean 'widths'"),
            (f"--compress 1000x {SMALL}", "--compress 1000x: no student is small enough"),
            (f"--compress 2x+distill=perceptual {SMALL}", "perceptual_network is '': name the function that builds"),
            ("--compress 2x --compress_epochs 0", "--compress_epochs 0: give 1 or more"),
            ("--compress 2x --compress_epochs few", "--compress_epochs few: give a whole number"),
            ("--compress_epochs 3", "--compress_epochs 3 has no effect without --compress"),
            ("--compress_epochs 3 --comprss 2x", "did you mean --compress"),
            (f"--compress 2x --preprocess none {SMALL}", "--preprocess none leaves images of several sizes"),
            (f"--compress 2x --preprocess scale_width {SMALL}", "give --preprocess scale_width_and_crop"),
            (f"--compress 2x {SMALL} --load_size 20", "images of 20 pixels cannot be cropped to 32"),
            (f"--compress 2x {SMALL} --crop_size 30 --netG unet_128", "multiples of 128, not 30"),
            (f"--compress 2x {SMALL} --n_epochs 3 --save_epoch_freq 2", "the last epoch, 3, would not be saved"),
            (f"--compress 2x {SMALL} --output_nc 2", "returns (1, 2, 32, 32)"),
            (f"--compress ngf=12+init=teacher {SMALL}", "cannot inherit the weights of a narrower teacher"),
        ],
    )
    def test_before_the_training(self, refuse: Callable[..., str], arguments: str, reason: str) -> None:
        assert reason in refuse(f"--model pix2pix {arguments}")

    def test_with_a_distillation(self, refuse: Callable[..., str], teachers: Path) -> None:
        line = refuse(f"--model pix2pix --compress 7x --distill pixel --teacher {teachers}")
        assert "--compress 7x" in line and "remove one of the two" in line

    def test_in_a_test(self, refuse: Callable[..., str]) -> None:
        assert "--compress is a training option: remove it" in refuse("--model pix2pix --compress 7x", "test")

    def test_a_folder_of_something_else(self, refuse: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "out" / "big_2x").mkdir(parents=True)
        (tmp_path / "out" / "big_2x" / "photo.png").touch()
        assert "big_2x exists: rename or delete it" in refuse(f"--model pix2pix --compress 2x {SMALL}")

    def test_a_training_of_the_same_name(self, refuse: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "out" / "big").mkdir(parents=True)
        (tmp_path / "out" / "big" / "latest_net_G.pth").touch()
        line = refuse(f"--model pix2pix --compress 2x {SMALL}")
        assert "would overwrite" in line and "--continue_train" in line and "--epoch_count 6" in line

    def test_a_description_that_is_damaged(self, refuse: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "out" / "big" / "compress").mkdir(parents=True)
        (tmp_path / "out" / "big" / "compress" / "training.json").write_text("{}")
        assert "training.json: not the description of a training" in refuse(f"--model pix2pix --compress 2x {SMALL}")

    def test_without_the_runner(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """The models of a patch and of a subclass distil."""
        with imported_host(HOST, "2025"):
            module = importlib.import_module("models.pix2pix_model")
            options = importlib.import_module("options.train_options").TrainOptions()
            monkeypatch.setattr(sys, "argv", ["train.py", "--dataroot", "x", "--compress", "7x"])
            monkeypatch.setattr(sys, "excepthook", sys.excepthook)
            parser = options.initialize(ArgumentParser(prog="train.py"))
            with pytest.raises(SystemExit):
                distilling(module.Pix2PixModel).modify_commandline_options(parser, True)
        assert "--compress 7x: needs kd run train.py with a model of the host" in capsys.readouterr().err

    def test_nothing_is_kept_after_a_refusal(self, refuse: Callable[..., str]) -> None:
        refuse("--model pix2pix --compress 1000x " + SMALL)
        assert compress_later.take_command() == []


def test_accepted(parse: Callable, tmp_path: Path) -> None:
    opt = parse(f"--model pix2pix --compress 2x,ngf=4+conv=separable {SMALL}")
    assert opt.compress == "2x,ngf=4+conv=separable"
    with pytest.raises(HostError, match="ended without a training"):
        compress_later.take_command()


def test_the_device_is_that_of_the_training() -> None:
    assert device_option(Namespace()) == []
    for ids in ("-1", [], [-1]):
        assert device_option(Namespace(gpu_ids=ids)) == ["--device", "cpu"]
    assert device_option(Namespace(gpu_ids="0,1")) == []
    assert device_option(Namespace(gpu_ids=[2, 3])) == ["--device", "cuda:2"]


class Model:
    """A host's model that is built, with what is read of it."""

    def __init__(self, opt: Namespace, **networks: torch.nn.Module) -> None:
        self.opt, self.model_names = opt, list(networks)
        for name, network in networks.items():
            setattr(self, f"net{name}", network)


class TestBuiltModels:
    @pytest.fixture
    def later(self, parse: Callable) -> Callable[..., None]:
        opt = parse(f"--model pix2pix --compress 2x {SMALL}")

        def look(loader: Any = "loader", **networks: torch.nn.Module) -> None:
            compress_later.look_at(Model(opt, **networks), loader)

        return look

    def test_a_network_of_another_family_is_refused(self, later: Callable[..., None]) -> None:
        with pytest.raises(OptionError, match=r"--compress: the generator G: .* use kd compress"):
            later(G=torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)))

    def test_a_host_that_makes_its_data_set_otherwise_is_refused(self, later: Callable[..., None]) -> None:
        with pytest.raises(HostError, match=r"without data\.create_dataset"):
            later(loader=None, G=torch.nn.Identity())


class Data:
    """A data set of a host: crops of images, or of halves of pairs."""

    def __init__(self, folder: Path, change: Callable = lambda tensor: tensor, half: str = "", grey: bool = False):
        self.A_paths = sorted(map(str, folder.glob("*.png")))
        self._change, self._half, self._grey = change, half, grey

    def __len__(self) -> int:
        return len(self.A_paths)

    def __getitem__(self, number: int) -> dict[str, Any]:
        image = Image.open(self.A_paths[number]).convert("RGB")
        if self._half:
            image = image.crop((0, 0, image.width // 2, image.height))
        if self._grey:
            image = image.convert("L")
        image = image.resize((20, 20), Image.Resampling.BICUBIC)
        left, top = random.randint(0, 4), random.randint(0, 4)
        image = image.crop((left, top, left + 16, top + 16))
        if random.random() > 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = np.asarray(image, dtype=np.float32).reshape(16, 16, -1).transpose(2, 0, 1)
        return {"A": self._change(torch.from_numpy(pixels / 127.5 - 1)), "A_paths": self.A_paths[number]}


class TestInputs:
    PREPROCESSING = Preprocessing("resize_and_crop", 20, 16)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for i in range(4):
            paint(tmp_path / "images" / f"{i}.png", 40, 30, i)
        return tmp_path / "images"

    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize("grey", [False, True])
    def test_any_crop_and_flip_is_recognised(self, folder: Path, seed: int, grey: bool) -> None:
        random.seed(seed)
        inputs = find_inputs(Namespace(dataset=Data(folder, grey=grey)), "A", self.PREPROCESSING)
        assert [file.name for file in inputs.files] == ["0.png", "1.png", "2.png", "3.png"] and not inputs.half

    def test_the_half_of_a_pair_is_recognised(self, folder: Path) -> None:
        assert find_inputs(Data(folder, half="A"), "A", self.PREPROCESSING).half

    def test_random_numbers_are_not_used_up(self, folder: Path) -> None:
        random.seed(3)
        torch.manual_seed(3)
        find_inputs(Data(folder, lambda image: image + 0 * torch.rand(1)), "A", self.PREPROCESSING)
        drawn = random.random(), torch.rand(1)
        random.seed(3)
        torch.manual_seed(3)
        assert drawn == (random.random(), torch.rand(1))

    @pytest.mark.parametrize(
        "change",
        [
            lambda image: image / 2 + 0.5,  # of another range
            lambda image: image.flip(1),  # upside down
            lambda image: (image + 0.1).clamp(-1, 1),
            lambda image: image.flip(0),  # BGR
        ],
    )
    def test_other_images_are_refused(self, folder: Path, change: Callable) -> None:
        with pytest.raises(OptionError, match=r"Data makes another image of .*0.png"):
            find_inputs(Data(folder, change), "A", self.PREPROCESSING)

    def test_another_size_is_refused(self, folder: Path) -> None:
        with pytest.raises(OptionError, match="Data makes another image"):
            find_inputs(Data(folder), "A", Preprocessing("resize_and_crop", 24, 16))

    def test_a_data_set_without_files_is_refused(self, folder: Path) -> None:
        data = Data(folder)
        with pytest.raises(HostError, match="gives no image B with its path"):
            find_inputs(data, "B", self.PREPROCESSING)
        data.__class__ = type("Generated", (Data,), {"A_paths": property(lambda self: [str(folder / "0.png")])})
        vars(data).clear()
        vars(data).update(_change=lambda tensor: tensor, _half="", _grey=False)
        with pytest.raises(HostError, match="Generated has no list of files"):
            find_inputs(data, "A", self.PREPROCESSING)

    def test_their_own_folder_or_links(self, folder: Path, tmp_path: Path) -> None:
        data = Data(folder)
        assert find_inputs(data, "A", self.PREPROCESSING).folder(tmp_path / "links") == folder
        assert not (tmp_path / "links").exists()
        data.A_paths = data.A_paths[:3]
        place = find_inputs(data, "A", self.PREPROCESSING).folder(tmp_path / "links")
        assert sorted(file.resolve().name for file in place.iterdir()) == ["0.png", "1.png", "2.png"]


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, Trained]:
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "latest_net_G.pth").write_bytes(b"weights")
    generator = TrainedGenerator(sha256(folder / "latest_net_G.pth"), "photos", False, "AtoB")
    found = Trained("pix2pix", "AtoB", "aligned", "crop", 36, 32, False, {"G": generator}, {"lr": "0.1"})
    found.write(folder)
    return folder, found


class TestTrained:
    def test_is_read_as_written(self, trained: tuple[Path, Trained]) -> None:
        assert Trained.read(trained[0]) == trained[1]
        assert Trained.read(trained[0].parent) is None

    @pytest.mark.parametrize(
        "change",
        [
            {"format": 2}, {"generators": {}}, {"generators": {"../G": {}}}, {"direction": "up"},
            {"load_size": "big"}, {"sets": [["../x"]]}, {"sets": 3}, {"preprocess": "zoom"},
            {"other": 1}, {"test": None},
        ],
    )  # fmt: skip
    def test_other_content_is_refused(self, trained: tuple[Path, Trained], change: dict[str, Any]) -> None:
        file = trained[0] / "compress" / "training.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        with pytest.raises(CheckpointError, match="not the description of a training"):
            Trained.read(trained[0])

    def test_the_teacher_must_be_the_same(self, trained: tuple[Path, Trained]) -> None:
        trained[1].check_teachers(trained[0])
        (trained[0] / "latest_net_G.pth").write_bytes(b"others")
        with pytest.raises(CheckpointError, match="has changed since"):
            trained[1].check_teachers(trained[0])
        (trained[0] / "latest_net_G.pth").unlink()
        with pytest.raises(CheckpointError, match="is missing"):
            trained[1].check_teachers(trained[0])

    def finish(self, folder: Path, found: Trained, name: str) -> None:
        target = student_folder(folder, name)
        target.mkdir()
        teachers = {net: {"sha256": generator.sha256} for net, generator in found.generators.items()}
        (target / "student.json").write_text(json.dumps({"teachers": teachers}))

    def test_students_that_began_together_stay_together(self, trained: tuple[Path, Trained]) -> None:
        folder, found = trained
        assert found.missing_sets(["7x", "16x"], folder) == [["7x", "16x"]]
        begun = replace(found, sets=[["7x", "16x"]])
        assert begun.missing_sets(["4x", "16x", "7x"], folder) == [["7x", "16x"], ["4x"]]
        assert begun.missing_sets(["7x"], folder) == [["7x"]]  # the other is not wanted any more
        self.finish(folder, found, "7x")  # killed between the two
        assert begun.missing_sets(["7x", "16x"], folder) == [["7x", "16x"]]
        assert begun.missing_sets(["7x"], folder) == []
        self.finish(folder, found, "16x")
        assert begun.missing_sets(["7x", "16x", "4x"], folder) == [["4x"]]

    def test_a_folder_of_something_else_is_refused(self, trained: tuple[Path, Trained]) -> None:
        folder, found = trained
        student_folder(folder, "7x").mkdir()
        assert not found.is_finished(folder, "7x")  # empty
        (student_folder(folder, "7x") / "photo.png").touch()
        with pytest.raises(CheckpointError, match="big_7x: holds something else"):
            found.is_finished(folder, "7x")


class TestCommand:
    """``kd compress --training``."""

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ("--macs 7x --images photos", "--images photos: is determined by --training"),
            ("--macs 7x -o small", "--output small: is determined by --training"),
            ("", "name the students, such as --macs 7x,16x"),
            (
                "--macs 7x --distill ssim --srp-layers a",
                "--srp-layers a has no effect: srp is not among the terms (ssim)",
            ),
        ],
    )
    def test_refuses(
        self, trained: tuple[Path, Trained], capsys: pytest.CaptureFixture[str], arguments: str, reason: str
    ) -> None:
        assert main(["compress", "--training", str(trained[0]), *arguments.split()]) == 2
        assert reason in capsys.readouterr().err
        assert Trained.read(trained[0]) == trained[1]  # nothing was begun

    def test_needs_a_finished_training(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["compress", "--training", str(tmp_path), "--macs", "7x"]) == 2
        assert "has no compress/training.json, which kd run train.py --compress writes" in capsys.readouterr().err


class TestAfterTheScript:
    @pytest.fixture
    def became(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        commands: list[list[str]] = []
        monkeypatch.setattr(compress_after, "take_command", lambda: ["compress"])
        monkeypatch.setattr(compress_after, "_become", commands.append)
        return commands

    @pytest.mark.parametrize("ended", [None, SystemExit(), SystemExit(0)])
    def test_that_ended_well(self, became: list[list[str]], ended: BaseException | None) -> None:
        try:
            with CompressingAfter():
                if ended:
                    raise ended
        except SystemExit:
            pass
        assert became == [["compress"]]

    @pytest.mark.parametrize("ended", [SystemExit(1), SystemExit("failed"), KeyboardInterrupt(), ValueError()])
    def test_that_failed(self, became: list[list[str]], ended: BaseException) -> None:
        with pytest.raises(type(ended)), CompressingAfter():
            raise ended
        assert became == []

    def test_without_the_option(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compress_later, "_later", None)
        monkeypatch.setattr(compress_after, "_become", pytest.fail)
        with CompressingAfter():
            pass

    @pytest.mark.parametrize(("code", "status"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 15)", 143)])
    def test_the_status_under_torchrun(self, monkeypatch: pytest.MonkeyPatch, code: str, status: int) -> None:
        """The other processes still use this one, so the command runs beside it, and is alone in its environment."""
        monkeypatch.setattr(compress_after.signal, "signal", lambda number, handler: None)
        script = f"import os, sys; assert 'RANK' not in os.environ; {code}"
        run = compress_after._run
        monkeypatch.setattr(compress_after, "_run", lambda command, env: run([sys.executable, "-c", script], env))
        monkeypatch.setattr(compress_after, "take_command", lambda: ["compress"])
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(SystemExit) as ended, CompressingAfter():
            pass
        assert ended.value.code == status
