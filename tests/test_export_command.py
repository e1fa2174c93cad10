"""``kd export``: files in their runtimes against the generator in PyTorch, and errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.generators import random_generator, save_generator
from helpers.images import paint
from torch import nn

import kd_plugin
from kd_plugin import GeneratorSpec, load_generator
from kd_plugin.cli import main
from kd_plugin.errors import CheckpointError, KDError
from kd_plugin.export import export as exporting
from kd_plugin.export import onnx_file, openvino_file, program_file
from kd_plugin.export.export import export
from kd_plugin.export.settings import ExportSettings
from kd_plugin.report.measures.quality import MOST_PSNR
from kd_plugin.students import RECORD_NAME, StudentRecord

RESNET = GeneratorSpec("resnet", 3, 3, 8, 2, "instance", False, True)
UNET = GeneratorSpec("unet", 3, 3, 8, 6, "batch", True, False)
CLOSE = 1e-4  # of sums in another order: below a hundredth of a step of 8 bits, 0.0078

pytestmark = pytest.mark.slow  # the exporter of PyTorch takes a second, and is imported for two


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def exported(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    assert main(["export", *map(str, arguments)]) == status
    said = capsys.readouterr()
    return said.err if status else said.out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    before = sorted(Path().rglob("*"))
    said = exported(capsys, *arguments, status=2)
    assert sorted(Path().rglob("*")) == before, "something was left"
    (line,) = said.splitlines()
    return line.removeprefix("kd: error: ")


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def opened(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    if file.suffix == ".onnx":
        return onnx_file.Runner(file)
    if file.suffix == ".xml":
        return openvino_file.open_runner(file)
    return program_file.open_runner(file)


def generated(file: Path, batch: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return load_generator(file)(torch.from_numpy(batch)).numpy()  # type: ignore[no-any-return]


class TestFormats:
    @pytest.mark.parametrize("suffix", ["onnx", "pt2", "xml"])
    @pytest.mark.parametrize("spec", [RESNET, UNET], ids=["resnet", "unet"])
    def test_a_file_gives_the_generators_images(
        self, suffix: str, spec: GeneratorSpec, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if suffix == "xml":
            pytest.importorskip("openvino")
        file = save_generator(folder / "small", spec)
        said = exported(capsys, file, "--size", 64, "--statistics", "running", "-o", f"out.{suffix}")
        batch = images(1, 3, 64, 64)
        np.testing.assert_allclose(opened(Path(f"out.{suffix}"))(batch), generated(file, batch), rtol=0, atol=CLOSE)
        assert said.startswith(f"out.{suffix}: float32 (1, 3, 64, 64), ") and "largest difference" in said
        assert ("dropout is off" in said) == (spec is UNET)

    def test_statistics_are_those_of_the_image_unless_named(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = save_generator(folder / "small", UNET)
        said = exported(capsys, file, "--size", 64, "-o", "out.onnx")
        batch = images(1, 3, 64, 64)
        network = load_generator(file).train()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        with torch.no_grad():
            expected = network(torch.from_numpy(batch)).numpy()
        found = opened(Path("out.onnx"))(batch)
        np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)
        assert np.abs(found - generated(file, batch)).max() > 0.1
        assert "note: picture statistics; those of the other kind, running, give other images: largest" in said

    def test_any_size_and_number_of_images(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = save_generator(folder / "small", RESNET)
        said = exported(capsys, file, "--dynamic", "--size", 64, "-o", "out.onnx")
        assert "float32 (batch, 3, height, width)" in said
        run = opened(Path("out.onnx"))
        for shape in ((1, 3, 64, 64), (3, 3, 50, 71), (2, 3, 32, 128)):
            batch = images(*shape)
            expected = generated(file, batch)[:, :, : shape[2], : shape[3]]
            np.testing.assert_allclose(run(batch), expected, rtol=0, atol=CLOSE)

    def test_any_size_of_a_resnet_as_a_program(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = save_generator(folder / "small", RESNET)
        said = exported(capsys, file, "--dynamic", "--size", 64, "-o", "out.pt2")
        assert "float32 (batch, 3, height, width), sides multiples of 4, 8 or more" in said
        batch = images(3, 3, 36, 100)
        np.testing.assert_allclose(opened(Path("out.pt2"))(batch), generated(file, batch), rtol=0, atol=CLOSE)

    def test_one_image_is_compared_at_two_sizes_and_numbers(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        paint(folder / "photos" / "a.png", 40, 40, 0)
        for name in ("b.png", "c.png"):
            (folder / "photos" / name).write_text("no image")
        save_generator(folder / "small", RESNET)
        said = exported(capsys, "small", "--dynamic", "--size", 32, "--images", "photos")
        assert "on 3 images, of photos" in said and "note: 2 images cannot be read: left out" in said

    @pytest.mark.parametrize("suffix, least", [("onnx", 64), ("pt2", 128)])
    def test_any_size_of_a_u_net(
        self, suffix: str, least: int, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file, out = save_generator(folder / "small", UNET), f"out.{suffix}"
        said = exported(capsys, file, "--dynamic", "--size", least, "--statistics", "running", "-o", out)
        assert "sides multiples of 64" in said and ("128 or more" in said) == (least > 64)
        batch = images(2, 3, 192, least)
        np.testing.assert_allclose(opened(Path(out))(batch), generated(file, batch), rtol=0, atol=CLOSE)

    def test_frames_and_sides_that_differ(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = save_generator(folder / "small", RESNET)
        said = exported(capsys, file, "--uint8", "--size", "50x37", "-o", "out.onnx")
        assert "uint8 (1, 37, 50, 3)" in said
        frames = np.random.default_rng(0).integers(0, 256, (1, 37, 50, 3), dtype=np.uint8)
        expected = (generated(file, frames.transpose(0, 3, 1, 2) / np.float32(127.5) - 1) + 1) * 127.5
        found = opened(Path("out.onnx"))(frames)
        # Rounded down: a value at the edge of two steps may fall to either.
        assert found.dtype == np.uint8
        assert np.abs(expected.transpose(0, 2, 3, 1)[:, :37, :50] - 0.5 - found).max() < 0.5 + 0.01

    def test_grey_images(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        spec = GeneratorSpec("resnet", 1, 3, 4, 1, "batch", False, False)
        file = save_generator(folder / "small", spec)
        said = exported(capsys, file, "--size", 32, "--statistics", "running", "-o", "out.onnx")
        assert "float32 (1, 1, 32, 32)" in said
        batch = images(1, 1, 32, 32)
        np.testing.assert_allclose(opened(Path("out.onnx"))(batch), generated(file, batch), rtol=0, atol=CLOSE)

    @pytest.mark.parametrize("suffix", ["onnx", "pt2", "xml"])
    def test_half_precision_has_half_the_size(
        self, suffix: str, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if suffix == "xml":
            pytest.importorskip("openvino")
        file = save_generator(folder / "small", GeneratorSpec("resnet", 3, 3, 24, 2, "instance", False, True))
        sizes = []
        for option in ([], ["--half"]):
            said = exported(capsys, file, "--size", 32, *option, "-o", f"out.{suffix}", "--force")
            weights = Path("out.bin" if suffix == "xml" else f"out.{suffix}")
            sizes.append(weights.stat().st_size)
            if suffix == "xml":
                assert f"{(Path('out.xml').stat().st_size + sizes[-1]) / 1e6:.2f} MB" in said
        assert sizes[1] < 0.6 * sizes[0]
        batch = images(1, 3, 32, 32)
        found = opened(Path(f"out.{suffix}"))(batch)
        assert found.dtype == np.float32
        assert np.abs(found - generated(file, batch)).max() < 4 * 2 / 255

    def test_eight_bit_integers(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for number in range(12):
            paint(folder / "photos" / f"{number}.png", 40, 40, number)
        # Narrow layers with random weights have large outliers; half of the channels are as in practice.
        spec = GeneratorSpec("resnet", 3, 3, 16, 1, "batch", False, False)
        file = save_generator(folder / "small", spec)
        said = exported(
            capsys,
            file,
            "--size",
            32,
            "--statistics",
            "running",
            "--int8",
            "photos",
            "--images",
            "photos",
            "-o",
            "o.onnx",
        )
        assert "QuantizeLinear" in said and "ConvTranspose" not in said
        assert Path("o.onnx").stat().st_size < 0.5 * file.stat().st_size

    def test_what_the_file_is_is_saved_in_it(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        save_generator(folder / "small", RESNET)
        record = StudentRecord(
            kd_plugin="1",
            model="test",
            direction="AtoB",
            host_options={"netG": "resnet_2blocks", "ngf": 8, "norm": "instance", "no_dropout": True},
            distillation={"distill": "wavelet,srp", "student_mode": "eval"},
            students={"G": {"netG": "resnet_2blocks", "ngf": 8, "input_nc": 3, "output_nc": 3, "norm": "instance"}},
            teachers={"G": {"file": "/home/somebody/big.pth", "sha256": "abc", "netG": "resnet_9blocks"}},
        )
        record.write(folder / "small")
        exported(capsys, "small", "--size", 32)
        found = onnx_file.metadata_of(Path("small.onnx"))
        assert found["images"] == found["translated"] == "float32 (1, 3, 32, 32), RGB, value / 127.5 - 1"
        assert found["normalization statistics"] == "running"  # in which kd compress --eval measured it
        assert (found["terms"], found["teacher sha256"], found["teacher network"]) == (
            "wavelet,srp", "abc", "resnet_9blocks"
        )  # fmt: skip
        assert found["kd_plugin"] == kd_plugin.__version__ and len(found["source sha256"]) == 64
        assert "somebody" not in json.dumps(found)

    def test_what_it_is_of_a_cycle_gan_is_its_own(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The teacher of each direction, also in the default name of the file."""
        for net, seed in (("G_A", 1), ("G_B", 2)):
            save_generator(folder / "checkpoints" / "zebra", RESNET, net, 32, seed)
        described = {"netG": "resnet_2blocks", "ngf": 8, "input_nc": 3, "output_nc": 3, "norm": "instance"}
        record = StudentRecord(
            "1", "cycle_gan", "AtoB", {"netG": "resnet_2blocks"}, {"distill": "wavelet"},
            students={"G_A": described, "G_B": described},
            teachers={"G_A": {"file": "a.pth", "sha256": "aaa"}, "G_B": {"file": "b.pth", "sha256": "bbb"}},
        )  # fmt: skip
        record.write(folder / "checkpoints" / "zebra")
        for direction, digest in (("AtoB", "aaa"), ("BtoA", "bbb")):
            said = exported(capsys, "zebra", "--direction", direction, "--size", 32)
            assert said.startswith(f"zebra_{direction}.onnx: ")
            assert onnx_file.metadata_of(Path(f"zebra_{direction}.onnx"))["teacher sha256"] == digest

    def test_a_name_a_folder_and_a_direction(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for net, seed in (("G_A", 1), ("G_B", 2)):
            save_generator(folder / "checkpoints" / "zebra", RESNET, net, 32, seed)
        assert "name one of latest_net_G_A.pth (AtoB) and latest_net_G_B.pth (BtoA)" in refused(capsys, "zebra")
        exported(capsys, "zebra", "--direction", "BtoA", "--size", 32)
        batch = images(1, 3, 32, 32)
        expected = generated(folder / "checkpoints" / "zebra" / "latest_net_G_B.pth", batch)
        np.testing.assert_allclose(opened(Path("zebra_BtoA.onnx"))(batch), expected, rtol=0, atol=CLOSE)

    def test_a_size_of_the_training(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        save_generator(folder / "small", RESNET)
        (folder / "small" / "train_opt.txt").write_text("        crop_size: 48    \t[default: 256]\n")
        assert "(1, 3, 48, 48)" in exported(capsys, "small")

    def test_a_report_takes_the_file(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The PSNR to the generator is that of equal images, up to pixels at the edge of two steps."""
        file = save_generator(folder / "small", RESNET)
        exported(capsys, file, "--size", 32, "-o", "out.onnx")
        paint(folder / "photos" / "a.png", 32, 32, 1)
        arguments = ["report", "--teacher", str(file), "--student", "out.onnx", "--images", "photos", "--size", "32"]
        assert main([*arguments, "--only", "quality", "-o", "page"]) == 0
        (direction,) = json.loads(Path("page/report.json").read_text())["directions"]
        psnr = next(m for m in direction["measures"] if m["title"] == "PSNR")["values"]["student1"]["value"]
        assert psnr == pytest.approx(MOST_PSNR, abs=1)


class TestRefusals:
    def test_weights_of_openvino_are_not_overwritten(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("openvino")
        save_generator(folder / "small", RESNET)
        Path("out.bin").write_text("mine")
        assert refused(capsys, "small", "-o", "out.xml").startswith("kd export: out.bin exists")
        assert Path("out.bin").read_text() == "mine"

    @pytest.mark.parametrize("options", [[], ["--uint8"], ["--int8", "photos"], ["-o", "out.pt2"]], ids=str)
    def test_a_generator_whose_images_are_not_finite(
        self, options: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        paint(folder / "photos" / "a.png", 32, 32, 1)
        state = random_generator(RESNET).state_dict()
        next(iter(state.values()))[0] = torch.nan
        torch.save(state, folder / "latest_net_G.pth")
        assert refused(capsys, "latest_net_G.pth", "--size", 32, *options).startswith(
            "the generator's images are not"
        )

    def test_a_folder_that_cannot_be_written(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        save_generator(folder / "small", RESNET)
        (folder / "dir.onnx").mkdir()
        assert (
            refused(capsys, "small", "-o", "dir.onnx", "--force") == "kd export: dir.onnx: is a folder: name a file"
        )
        said = refused(capsys, "small", "--size", 32, "-o", "/proc/out.onnx")
        assert said.startswith("/proc/out.onnx: cannot be written (")

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ([], "kd export needs a generator: kd export checkpoints/facades_small -o facades.onnx"),
            (["nothing"], "nothing: no such file"),
            (["photos"], "photos: has no generators"),
            (["text.pth"], "text.pth: is not a PyTorch checkpoint, expected one the host saves as *_net_G*.pth"),
            (["unet", "--size", "100"], "kd export: 100 pixels: a unet_64 takes sides that are multiples of 64"),
            (
                ["unet", "--size", "64", "--dynamic", "-o", "a.pt2"],
                "kd export: 64 pixels: a program for any size of a",
            ),
            (["small", "--size", "8"], "kd export: 8x8 pixels: give 16 or more"),
            (["small", "--size", "big"], "kd export: argument --size: 'big' is not a size: give 256, or 320x256 for"),
            (
                ["small", "-o", "taken.onnx"],
                "kd export: taken.onnx exists: name another file, or replace it, with --force",
            ),
            (["small", "-o", "out.bin"], "kd export: out.bin: a file of the format onnx ends in .onnx"),
            (["small", "-o", "none/out.onnx"], "kd export: none: no such folder: create it first"),
            (
                ["small", "--half", "--int8", "photos"],
                "kd export: half precision and 8-bit integers exclude",
            ),
            (
                ["small", "--int8", "photos", "-o", "a.pt2"],
                "kd export: 8-bit integers are for the formats",
            ),
            (
                ["small", "--dynamic", "-o", "a.pte"],
                "kd export: executorch files take one image of one size: write a",
            ),
            (["small", "--half", "-o", "a.pte"], "kd export: executorch files keep weights in float32: for smaller"),
            (
                ["small", "--format", "executorch", "-o", "a.onnx"],
                "kd export: a.onnx: a file of the format executorch",
            ),
            (["small", "--images", "empty"], "empty: no images (.jpg, .jpeg, .png"),
            (["small", "--int8", "missing"], "missing: no such folder"),
            (
                ["small", "--epoch", "9"],
                "small: there is no 9_net_G*.pth in this folder; it contains",
            ),
            (["small", "--formt", "onnx"], "unknown option of kd export '--formt': did you mean '--format'?"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_one_line_says_what_to_do(
        self, arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        save_generator(folder / "small", RESNET)
        save_generator(folder / "unet", UNET)
        paint(folder / "photos" / "a.png", 32, 32, 1)
        (folder / "empty").mkdir()
        Path("text.pth").write_text("hello")
        Path("taken.onnx").write_text("mine")
        assert refused(capsys, *arguments).startswith(message)
        assert Path("taken.onnx").read_text() == "mine"

    def test_a_missing_package_says_how_to_install_it(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save_generator(folder / "small", RESNET)
        monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
        message = 'ONNX files need the package onnxscript: pip install "kd_plugin[export]"'
        assert refused(capsys, "small", "--size", 32) == message

    def test_an_old_pytorch(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save_generator(folder / "small", RESNET)
        monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
        assert refused(capsys, "small", "--size", 32) == "exporting needs PyTorch 2.6 or newer, and this is 2.5.1+cpu"

    @pytest.mark.parametrize("suffix", ["onnx", "pt2"])
    def test_a_network_that_cannot_be_traced(self, suffix: str, folder: Path) -> None:
        class Moody(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x if x.mean() > 0 else -x

        settings = ExportSettings(folder / f"out.{suffix}", format=suffix, height=32, width=32)  # type: ignore[arg-type]
        with pytest.raises(KDError, match=r"the network cannot be exported.*data-dependent") as caught:
            export(Moody(), settings)
        assert len(str(caught.value)) < 400 and list(folder.iterdir()) == []

    def test_images_that_differ_are_not_written(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A network that is exported with other weights than it is compared with."""
        monkeypatch.setattr(exporting, "deployed", lambda *arguments: random_generator(RESNET, seed=5))
        settings = ExportSettings(folder / "out.onnx", height=32, width=32)
        with pytest.raises(KDError, match=r"images differ: largest difference .*; allowed is a difference"):
            export(random_generator(RESNET), settings)
        assert list(folder.iterdir()) == []

    def test_existing_files_are_replaced_by_force(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        save_generator(folder / "small", RESNET)
        Path("out.onnx").write_text("mine")
        exported(capsys, "small", "--size", 32, "-o", "out.onnx", "--force")
        assert opened(Path("out.onnx"))(images(1, 3, 32, 32)).shape == (1, 3, 32, 32)


class TestLoadGenerator:
    def test_a_student_or_a_teacher_is_ready_to_run_and_to_train(self, folder: Path) -> None:
        file = save_generator(folder / "small", RESNET)
        network: Any = load_generator(str(file))
        assert not network.training and all(p.requires_grad for p in network.parameters())
        batch = torch.from_numpy(images(1, 3, 32, 32))
        torch.testing.assert_close(network(batch), random_generator(RESNET)(batch), rtol=0, atol=0)

    def test_one_outside_the_family_from_its_record(self, folder: Path) -> None:
        torch.save({"weight": torch.zeros(3)}, folder / "latest_net_G.pth")
        with pytest.raises(CheckpointError, match="no first layer of a ResNet or U-Net generator"):
            load_generator(folder / "latest_net_G.pth")
        assert not (folder / RECORD_NAME).exists()
