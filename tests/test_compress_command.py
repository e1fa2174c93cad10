"""``kd compress``: from a checkpoint and a folder of images to a student and its page, interrupted anywhere."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import LAUNCH, Forked, environment, run, run_twice, succeed
from helpers.generators import save_generator
from helpers.hosts import HOSTS, host_arguments
from helpers.images import paint
from helpers.visdom_server import visdom_server, windows
from PIL import Image

from kd_plugin import GeneratorSpec, load_teacher
from kd_plugin.cli import main
from kd_plugin.compression.samples import Samples, split_items
from kd_plugin.compression.settings import DEFAULT_TERMS
from kd_plugin.compression.state import STATE
from kd_plugin.networks.discriminator import build_discriminator
from kd_plugin.networks.generator import build_generator
from kd_plugin.pictures import Preprocessing, find_images
from kd_plugin.report.inputs import Item
from kd_plugin.watch.log import LossLog

TEACHER = GeneratorSpec("resnet", 3, 3, 12, 1, "instance", False, True)
IMAGES = 12
DEFAULTS = ("ssim", "feature", "gram", "tv", "wavelet")
DEFAULT_LOSSES = "ssim x 50, feature x 30, gram x 10, tv x 5, wavelet x 10"
QUICK = ("--size", "16", "--load-size", "18", "--steps", "6", "--num-threads", "0", "--validation", "0.3")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a teacher, its discriminator, inputs of several sizes, pairs, and real images."""
    folder = tmp_path_factory.mktemp("compress")
    torch.manual_seed(0)
    (folder / "big").mkdir()
    torch.save(build_generator(TEACHER).state_dict(), folder / "big" / "latest_net_G.pth")
    for i in range(IMAGES):
        paint(folder / "photos" / f"{i % 3}" / f"{i}.png", 24 + i, 40 - i, i)
        paint(folder / "pairs" / f"{i}.png", 48, 24, i)
        paint(folder / "real" / f"{i}.png", 30, 24, 100 + i)
    return folder


def compress(output: Path, *arguments: object, status: int = 0) -> Path:
    assert main(["compress", *map(str, arguments), "-o", str(output)]) == status
    return output


def named(place: Path, images: str = "photos") -> list[object]:
    option = "--pairs" if images == "pairs" else "--images"
    return [place / "big" / "latest_net_G.pth", option, place / images, *QUICK]


def weights(file: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(file, weights_only=True))


def same(ours: Path, theirs: Path) -> bool:
    """Whether all checkpoints of two folders have equal tensors."""
    files = sorted(file.relative_to(theirs) for file in theirs.rglob("*_net_G.pth"))
    assert len(files) >= 4
    for file in files:
        a, b = weights(ours / file), weights(theirs / file)
        if a.keys() != b.keys() or not all(torch.equal(a[key], b[key]) for key in a):
            return False
    return True


@pytest.fixture(scope="module")
def finished(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two students, trained without an interruption."""
    output = tmp_path_factory.mktemp("finished") / "small"
    return compress(output, *named(place), "--macs", "2x,4x", "--print-freq", 2)


class TestOneCommand:
    def test_the_students_are_generators_within_their_budgets(self, finished: Path) -> None:
        report = json.loads((finished / "report.json").read_text())
        teacher, *students = (s for s in report["directions"][0]["subjects"] if s["role"] in ("teacher", "student"))
        assert [student["label"] for student in students] == ["2x", "4x"]
        for student, factor in zip(students, (2, 4), strict=True):
            assert student["cost"]["macs"] <= teacher["cost"]["macs"] / factor
            network = load_teacher(finished / student["label"] / "latest_net_G.pth")
            assert sum(p.numel() for p in network.parameters()) == student["cost"]["params"]

    def test_the_chosen_weights_have_the_highest_validation_psnr(self, finished: Path) -> None:
        report = json.loads((finished / "report.json").read_text())
        direction = report["directions"][0]
        (psnr,) = (m for m in direction["measures"] if m["key"] == "psnr_teacher")
        for number, name in enumerate(("2x", "4x")):
            selection = json.loads((finished / name / "student.json").read_text())["selection"]
            values = {epoch: selection["measures"][epoch]["PSNR"]["value"] for epoch in ("last", "best", "ema")}
            chosen = selection["chosen"]
            assert values[chosen] == max(values.values())
            assert f"{values[chosen]:.2f} dB" in selection["why"]
            kept = weights(finished / name / f"{chosen}_net_G.pth")
            latest = weights(finished / name / "latest_net_G.pth")
            assert all(torch.equal(kept[key], latest[key]) for key in kept)
            # The report measures the file again, on the same images.
            assert psnr["values"][f"student{number + 1}"]["value"] == pytest.approx(values[chosen], abs=1e-9)
            assert selection["images"] == direction["images"]
            for measured in selection["measures"].values():
                for value in measured.values():
                    assert value["low"] <= value["value"] <= value["high"]
                assert {"PSNR", "SSIM", "L1", "LL3", "HH1"} <= measured.keys()

    def test_training_and_validation_share_no_image(self, finished: Path) -> None:
        state = torch.load(finished / STATE, weights_only=True)
        held_out = json.loads((finished / "report.json").read_text())["directions"][0]["images"]
        assert int(state["plan"]["settings"]["images"].split()[0]) + held_out == IMAGES

    def test_the_page_has_the_choice_and_the_curves(self, finished: Path) -> None:
        page = (finished / "index.html").read_text()
        for heading in ("Choice of the weights", "Training", "Trade-off", "Validation PSNR", "Loss: wavelet"):
            assert heading in page
        assert "http-equiv" not in page  # it is complete
        assert "share_" not in page

    def test_the_log_is_that_of_a_host(self, finished: Path) -> None:
        log = LossLog(finished / "2x" / "loss_log.txt")
        log.update()
        assert [entry.images for entry in log.entries] == [1, 2, 4, 6]
        for entry in log.entries:
            shares = [value for name, value in entry.losses.items() if name.startswith("share_")]
            assert len(shares) == len(DEFAULTS)
            assert sum(shares) == pytest.approx(1, abs=1e-3)
            assert set(DEFAULTS) <= entry.losses.keys()

    def test_one_student_is_in_the_folder_itself_and_equals_that_of_several(
        self, place: Path, finished: Path, tmp_path: Path
    ) -> None:
        alone = compress(tmp_path / "alone", *named(place), "--macs", "4x")
        assert same(alone, finished / "4x")

    def test_a_student_may_have_its_own_learning_rate(self, place: Path, finished: Path, tmp_path: Path) -> None:
        both = compress(tmp_path / "both", *named(place), "--student", "2x+lr=0.01", "--student", "4x")
        alone = compress(tmp_path / "alone", *named(place), "--macs", "2x", "--lr", 0.01)
        assert same(both / "2x_lr0.01", alone) and not same(alone, finished / "2x")
        assert same(both / "4x", finished / "4x")
        for name, rate in (("2x_lr0.01", 0.01), ("4x", 0.002)):
            assert json.loads((both / name / "student.json").read_text())["distillation"]["lr"] == rate
        assert "learning rate 0.01 (2x_lr0.01), 0.002 (4x)" in (both / "index.html").read_text()

    def test_a_student_may_have_its_own_terms(self, place: Path, finished: Path, tmp_path: Path) -> None:
        """Features and weights too; options of a term hold for all students that have it."""
        own = ["frequency", "gram", "wavelet"]
        options = ["--wavelet-levels", 2, "--frequency-alpha", 0.5]
        words = ["--distill", "wavelet,srp,pixel", *options]
        words += ["--student", f"2x+distill={'/'.join(own)}+lambda_wavelet=20", "--student", "4x"]
        both = compress(tmp_path / "both", *named(place), *words)
        words = ["--distill", ",".join(own), "--lambda-wavelet", 20, *options]
        alone = compress(tmp_path / "alone", *named(place), "--macs", "2x", *words)
        words = ["--distill", "wavelet,srp,pixel", *options[:2]]
        usual = compress(tmp_path / "usual", *named(place), "--macs", "4x", *words)
        name = "2x_frequency-gram-wavelet_lambda_wavelet20"
        assert same(both / name, alone) and same(both / "4x", usual)
        taught = json.loads((both / name / "student.json").read_text())["distillation"]
        assert taught == json.loads((alone / "student.json").read_text())["distillation"]
        page = (both / "index.html").read_text()
        assert f"{name}: frequency x" in page and "4x: wavelet x 100, srp x 1000, pixel x 50" in page
        words = ["--student", f"2x+distill={'/'.join(own)}+lambda_wavelet=20", *options]
        assert same(compress(tmp_path / "single", *named(place), *words), alone)

    @pytest.mark.slow
    @pytest.mark.parametrize("host", HOSTS)
    @pytest.mark.parametrize("how", ["kd run", "plain"])
    def test_the_printed_commands_run_it_in_a_host(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], host: tuple[Path, str], how: str
    ) -> None:
        """The host's images are the network's."""
        output = compress(tmp_path / "small", *named(place), "--netG", "resnet_6blocks", "--ngf", 2)
        start = "kd run test.py" if how == "kd run" else "python test.py"
        line = re.search(rf"in a host: {start} (.*)", capsys.readouterr().out)
        assert line is not None
        folder, form = host
        arguments = [*line[1].split(), *host_arguments(folder, form)["test"], "--results_dir", str(tmp_path / "out")]
        script = ["kd", "run", "test.py"] if how == "kd run" else ["plain", "test.py"]
        succeed(run([LAUNCH, *script, *arguments], folder, form))
        (fake,) = tmp_path.glob("out/small/test_latest/images/3_fake.png")
        image = Image.open(place / "photos" / "0" / "3.png").convert("RGB").resize((16, 16), Image.Resampling.BICUBIC)
        tensor = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            pixels = load_teacher(output / "latest_net_G.pth")(tensor)[0].permute(1, 2, 0).numpy()
        wanted = ((pixels + 1) / 2 * 255).clip(0, 255).astype(np.uint8)
        assert np.abs(np.asarray(Image.open(fake)).astype(int) - wanted).max() <= 1


class TestInterrupted:
    @pytest.mark.slow
    @pytest.mark.parametrize("moment", ["after a save", "before a save"])
    def test_killed_and_continued_is_uninterrupted(
        self, place: Path, finished: Path, tmp_path: Path, moment: str
    ) -> None:
        line = ["-m", "kd_plugin", "compress", *map(str, named(place)), "--macs", "2x,4x", "--print-freq", "2"]
        output, save = tmp_path / "small", "3" if moment == "after a save" else "100"
        process = Forked([*line, "--save-freq", save, "-o", str(output)], tmp_path, environment())
        log, deadline = output / "4x" / "loss_log.txt", time.monotonic() + 60
        while time.monotonic() < deadline and not (log.is_file() and log.read_text().count("\n") > 2):
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.finish().returncode == -signal.SIGKILL
        done = torch.load(output / STATE, weights_only=True)["done"] if (output / STATE).is_file() else 0
        assert done in ((0, 3, 6) if moment == "after a save" else (0, 6))  # 6 if it was faster than the signal
        compress(output, *named(place), "--macs", "2x,4x", "--print-freq", 2, "--save-freq", save)
        assert same(output, finished)
        texts = [
            re.sub(r"time: \S+, data: [^)]+", "", (f / "2x" / "loss_log.txt").read_text()) for f in (output, finished)
        ]
        entries = [LossLog(folder / "2x" / "loss_log.txt") for folder in (output, finished)]
        for entry in entries:
            entry.update()
        assert [e.images for e in entries[0].entries][-1] == [e.images for e in entries[1].entries][-1] == 6
        assert texts[0].splitlines()[-1].split("share")[0] == texts[1].splitlines()[-1].split("share")[0]

    @pytest.mark.slow
    def test_a_signal_saves_and_the_same_command_continues(self, place: Path, finished: Path, tmp_path: Path) -> None:
        output = tmp_path / "small"
        line = ["compress", *map(str, named(place)), "--macs", "2x,4x", "--print-freq", "2", "-o", str(output)]
        process = Forked(["-m", "kd_plugin", *line], tmp_path, environment())
        log, deadline = output / "4x" / "loss_log.txt", time.monotonic() + 60
        while time.monotonic() < deadline and not log.is_file():
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGINT)
        ended = process.finish()
        if ended.returncode:  # it was not faster than the signal
            assert ended.returncode == 130, ended.stderr
            assert "saved: the same command continues" in ended.stdout or "interrupted; the same" in ended.stderr
            assert "Traceback" not in ended.stderr
        assert main(line) == 0
        assert same(output, finished)

    def test_a_complete_training_is_not_trained_again(self, place: Path, tmp_path: Path) -> None:
        output = compress(tmp_path / "small", *named(place))
        before = (output / STATE).read_bytes()
        first = weights(output / "latest_net_G.pth")
        compress(output, *named(place))
        assert (output / STATE).read_bytes() == before
        assert all(torch.equal(first[k], v) for k, v in weights(output / "latest_net_G.pth").items())

    def test_minutes_beside_steps_only_stop_it(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = compress(tmp_path / "small", *named(place), "--minutes", 1e-9)
        assert "stopped after 1 of 6 steps, saved: the same command continues" in capsys.readouterr().out
        assert 'http-equiv="refresh"' in (output / "index.html").read_text()
        compress(output, *named(place))
        whole = compress(tmp_path / "whole", *named(place))
        assert same(output, whole)

    def test_minutes_alone_fix_the_number_of_steps(self, place: Path, tmp_path: Path) -> None:
        arguments = [a for a in named(place) if a not in ("--steps", "6")]
        output = compress(tmp_path / "small", *arguments, "--minutes", 0.04, "--validation", 0)
        state = torch.load(output / STATE, weights_only=True)
        assert state["steps"] == state["done"] >= 50
        before = (output / STATE).read_bytes()
        compress(output, *arguments, "--minutes", 0.04, "--validation", 0)
        assert (output / STATE).read_bytes() == before

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            (["--steps", "7"], "has a training with steps 6, not 7"),
            (["--seed", "1"], "has a training with seed 0, not 1"),
            (["--lr", "0.1"], "has a training with learning rate 0.002, beta1 0.5, not 0.1, beta1 0.5"),
            (
                ["--distill", "pixel"],
                f"has a training with losses {DEFAULT_LOSSES}, not pixel x 50",
            ),
            (
                ["--ngf", "2"],
                "with students resnet_1blocks, ngf 4, not resnet_1blocks, ngf 2",
            ),
        ],
    )
    def test_other_settings_are_refused(
        self, place: Path, tmp_path: Path, changed: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = tmp_path / "small"
        compress(output, *named(place), "--minutes", 1e-9)
        before = (output / STATE).read_bytes()
        compress(output, *named(place), *changed, status=2)
        assert message in capsys.readouterr().err
        assert (output / STATE).read_bytes() == before
        compress(output, *named(place), *changed, "--minutes", 1e-9, "--fresh")
        assert (output / STATE).read_bytes() != before

    def test_another_teacher_is_refused(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        torch.save(build_generator(TEACHER).state_dict(), tmp_path / "latest_net_G.pth")
        compress(tmp_path / "small", *named(place), "--minutes", 1e-9)
        compress(tmp_path / "small", tmp_path / "latest_net_G.pth", *named(place)[1:], status=2)
        assert "has a training with teacher " in capsys.readouterr().err


class TestLosses:
    def test_pairs_add_the_ground_truth(self, place: Path, tmp_path: Path) -> None:
        output = compress(tmp_path / "small", *named(place, "pairs"), "--print-freq", 1)
        log = LossLog(output / "loss_log.txt")
        log.update()
        assert all("L1" in entry.losses for entry in log.entries)
        measures = json.loads((output / "report.json").read_text())["directions"][0]["measures"]
        assert {m["against"] for m in measures} == {"ground truth", "teacher"}

    def test_real_images_add_an_adversary_that_starts_from_the_teachers(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = compress(tmp_path / "new", *named(place), "--real", place / "real", "--size", 32, "--load-size", 32)
        assert "the discriminator" not in capsys.readouterr().out
        log = LossLog(output / "loss_log.txt")
        log.update()
        assert {"GAN", "D_real", "D_fake"} <= log.entries[0].losses.keys()
        big = tmp_path / "big"
        big.mkdir()
        (big / "latest_net_G.pth").write_bytes((place / "big" / "latest_net_G.pth").read_bytes())
        state = {f"model.{key}": value for key, value in build_discriminator(3, 4).state_dict().items()}
        torch.save(state, big / "latest_net_D.pth")
        arguments = [big, *named(place)[1:], "--real", place / "real", "--size", 32, "--load-size", 32]
        output = compress(tmp_path / "old", *arguments)
        assert f"the discriminator starts from {big / 'latest_net_D.pth'}" in capsys.readouterr().out
        saved = torch.load(output / STATE, weights_only=True)["students"][""]["objectives"]["GAN"]["network"]
        assert saved["0.weight"].shape == (4, 3, 4, 4)

    @pytest.mark.parametrize(
        "losses, warned",
        [
            (["--distill", "wavelet"], True),
            (["--distill", "wavelet,srp"], True),
            (["--distill", "wavelet,srp,pixel"], False),
            (["--distill", "wavelet", "--wavelet-bands", "all"], False),
            ([], False),
        ],
    )
    def test_losses_that_cannot_see_colours_are_noted(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], losses: list[str], warned: bool
    ) -> None:
        compress(tmp_path / "small", *named(place), *losses, "--minutes", 1e-9)
        assert ("cannot see the overall colours" in capsys.readouterr().out) == warned

    def test_terms_have_their_settings(self, place: Path, tmp_path: Path) -> None:
        settings = ("--distill", "wavelet,pixel", "--lambda_wavelet", "7", "--wavelet_levels", "1")
        output = compress(tmp_path / "small", *named(place), *settings)
        record = json.loads((output / "student.json").read_text())["distillation"]
        assert record["terms"] == {"wavelet": "7", "pixel": "50"}
        assert record["options"] == {"wavelet_levels": "1"}


def test_the_help_has_the_default_terms(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compress", "--help"])
    weights = (f"--lambda-{name} {weight}" for name, weight in DEFAULT_TERMS.items() if weight is not None)
    assert f"(default: {', '.join([','.join(DEFAULT_TERMS), *weights])})" in " ".join(capsys.readouterr().out.split())


class TestTeachers:
    def test_a_function(self, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "my_teacher.py").write_text(
            "from torch import nn\n"
            "def build():\n"
            "    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1), nn.Tanh())\n"
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        import my_teacher  # type: ignore[import-not-found]

        torch.save(my_teacher.build().state_dict(), tmp_path / "weights.pth")
        output = compress(
            tmp_path / "small",
            *("--teacher-function", "my_teacher:build", "--teacher-weights", tmp_path / "weights.pth"),
            *named(place)[1:],
            *("--netG", "resnet_1blocks", "--ngf", 2),
        )
        assert load_teacher(output / "latest_net_G.pth").spec.ngf == 2
        record = json.loads((output / "student.json").read_text())
        assert record["distillation"]["terms"] == {"ssim": "50", "tv": "5", "wavelet": "10"}  # no features are known

    def test_finished_images(self, place: Path, tmp_path: Path) -> None:
        """Images of a network, saved under the names of the inputs, teach what the network does."""
        teacher = tmp_path / "made"
        for file in (place / "photos").rglob("*.png"):
            made = teacher / file.relative_to(place / "photos")
            made.parent.mkdir(parents=True, exist_ok=True)
            image = Image.open(file)
            Image.fromarray(255 - np.asarray(image)).save(made)
        arguments = ["--teacher-images", teacher, *named(place)[1:], "--netG", "resnet_1blocks", "--ngf", 4]
        arguments = [a if a != "6" else "150" for a in arguments]
        output = compress(tmp_path / "small", *arguments, "--distill", "pixel", "--lr", 0.003, "--batch-size", 2)
        report = json.loads((output / "report.json").read_text())["directions"][0]
        (psnr,) = (m for m in report["measures"] if m["key"] == "psnr_teacher")
        assert psnr["values"]["student1"]["value"] > psnr["values"]["input"]["value"] + 5

    def test_exported_files(self, place: Path, tmp_path: Path) -> None:
        network = load_teacher(place / "big" / "latest_net_G.pth")
        image = (torch.zeros(1, 3, 16, 16),)
        torch.export.save(torch.export.export(network, image), tmp_path / "teacher.pt2")
        # Terms whose gradient is a sign, so that the rounding of the teacher's images does not reach Adam, which
        # takes whole steps with biases that have no effect.
        arguments = [*named(place)[1:], "--ngf", 2, "--distill", "wavelet,pixel"]
        outputs = [compress(tmp_path / "pt2", tmp_path / "teacher.pt2", *arguments)]
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
        torch.onnx.export(network, image, tmp_path / "teacher.onnx", dynamo=True, verbose=False)
        outputs.append(compress(tmp_path / "onnx", tmp_path / "teacher.onnx", *arguments))
        first, second = (weights(output / "last_net_G.pth") for output in outputs)
        # Adam amplifies rounding; the two have made the same steps.
        assert all((first[key] - second[key]).abs().max() < 1e-3 for key in first)

    def test_one_of_cut_is_tested_with_the_options_of_its_host(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        big = tmp_path / "big"
        big.mkdir()
        (big / "latest_net_G.pth").write_bytes((place / "big" / "latest_net_G.pth").read_bytes())
        (big / "train_opt.txt").write_text("      normG: instance\n")
        compress(tmp_path / "small", big, *named(place)[1:], "--netG", "resnet_6blocks", "--ngf", 2)
        said = capsys.readouterr().out
        end = f"--checkpoints_dir {tmp_path} --name small --load_size 16 --crop_size 16"
        assert f"in a host: kd run test.py --model cut --dataroot DATA {end}\n" in said
        plain = "--netG resnet_6blocks --ngf 2 --normG instance --no_antialias --no_antialias_up"
        assert f"in a host: python test.py --model cut --dataroot DATA {end} {plain}\n" in said
        assert f"DATA/testA has the images, such as those of {place / 'photos'}, and DATA/testB any" in said

    def test_an_antialiased_one_needs_a_function(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        state = {"model.1.weight": torch.zeros(4, 3, 7, 7), "model.7.filt": torch.zeros(4, 1, 3, 3)}
        torch.save(state, tmp_path / "latest_net_G.pth")
        compress(tmp_path / "small", tmp_path / "latest_net_G.pth", *named(place)[1:], status=2)
        error = capsys.readouterr().err
        assert "antialiased generator of contrastive-unpaired-translation" in error
        assert error.endswith("name a function that builds it, with --teacher-function M:F\n")

    def test_with_batch_norm_it_says_how_far_a_hosts_test_is(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        spec = GeneratorSpec("resnet", 3, 3, 8, 1, "batch", False, False)
        file = save_generator(tmp_path / "big", spec, side=16)
        compress(tmp_path / "small", file, *named(place)[1:])
        note = re.search(
            r"note: the teacher has batch norm: .* \((\d+\.\d) dB on the first image\)", capsys.readouterr().out
        )
        assert note is not None and 3 < float(note[1]) < 50
        settings = json.loads((tmp_path / "small" / "report.json").read_text())["settings"]
        assert settings["networks"].startswith("train mode") and "; big: eval mode" in settings["networks"]
        compress(tmp_path / "train", file, *named(place)[1:], "--teacher-mode", "train")
        assert "batch norm" not in capsys.readouterr().out

    def test_a_student_that_is_not_smaller_is_noted(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        compress(tmp_path / "small", *named(place), "--ngf", 14)
        said = capsys.readouterr().out
        assert "note: student is not smaller than the teacher" in said and "fewer than" not in said

    def test_widths_with_commas_are_those_of_one_student(self, place: Path, tmp_path: Path) -> None:
        output = compress(tmp_path / "small", *named(place), "--widths", "2,3,5")
        assert load_teacher(output / "latest_net_G.pth").spec.widths == (2, 3, 5)

    def test_its_training_says_how_images_are_cropped(self, place: Path, tmp_path: Path) -> None:
        big = tmp_path / "big"
        big.mkdir()
        (big / "latest_net_G.pth").write_bytes((place / "big" / "latest_net_G.pth").read_bytes())
        lines = {"crop_size": 16, "load_size": 20, "preprocess": "scale_width_and_crop", "no_flip": True}
        (big / "train_opt.txt").write_text("".join(f"{name:>25}: {value!s:<30}\n" for name, value in lines.items()))
        output = compress(tmp_path / "small", big, "--images", place / "photos", "--steps", 2, "--num-threads", 0)
        settings = json.loads((output / "report.json").read_text())["settings"]
        assert "scale_width_and_crop: scaled to a width of 20, random 16x16" in settings["training images"]
        assert "flipped" not in settings["training images"]


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "kd compress needs a teacher"),
            (["big"], "kd compress needs images"),
            (["big", "--images", "photos"], "kd compress needs a folder for the results"),
            (["none.pth", "--images", "photos", "-o", "x"], "none.pth: no such file"),
            (["bigg", "--images", "photos", "-o", "x"], "bigg: no such file: did you mean big?"),
            (
                ["--teacher-function", "nothing", "--images", "photos", "-o", "x"],
                "name a function as package.module:",
            ),
            (
                ["big", "--images", "photos", "--conv", "seperable", "-o", "x"],
                "the student: conv seperable: choose from",
            ),
            (["big", "--pairs", "set", "-o", "x"], "set: is a whole data set: name its folder set/train"),
            (["big", "--images", "nowhere", "-o", "x"], "nowhere: no such folder"),
            (["big", "--images", "empty", "-o", "x"], "empty: no images"),
            (["big", "--images", "photos", "--pairs", "pairs", "-o", "x"], "name the inputs in one way"),
            (["big", "--images", "photos", "--macs", "7", "-o", "x"], "macs 7: a number needs a unit"),
            (["big", "--images", "photos", "--student", "wide=3", "-o", "x"], "unknown setting 'wide'"),
            (["big", "--images", "photos", "--student", "7x", "--ngf", "4", "-o", "x"], "--ngf and --student both"),
            (
                ["big", "--images", "photos", "--preprocess", "crop", "--size", "64", "-o", "x"],
                "images cannot be used",
            ),
            (["big", "--images", "photos", "--size", "18", "-o", "x"], "such as a multiple of 4"),
            (["big", "--images", "photos", "--distill", "wavlet", "-o", "x"], "did you mean 'wavelet'"),
            (
                ["big", "--images", "photos", "--lambda_srp", "3", "-o", "x"],
                "name the terms as well, such as --distill ssim,feature,gram,tv,wavelet --lambda_wavelet 10",
            ),
            (
                ["big", "--images", "photos", "--lambda_wavelet", "3", "-o", "x"],
                "name the terms as well, such as --distill ssim,feature,gram,tv,wavelet\n",
            ),
            (
                ["big", "--images", "photos", "--distill", "ssim", "--srp-layers", "a", "-o", "x"],
                "--srp-layers a has no effect: srp is not among the terms (ssim)",
            ),
            (
                ["big", "--images", "photos", "--distill", "ssim", "--distill-taps", "a", "-o", "x"],
                "--distill-taps a has no effect: none of the terms (ssim) reads features",
            ),
            (
                ["big", "--images", "photos", "--distill", "pixel", "--student", "7x+distill=ssim", "-o", "x"],
                "--distill pixel has no effect: each student has its own terms",
            ),
            (
                ["big", "--images", "photos", "--student", "7x+distill=ssim", "--wavelet-levels", "2", "-o", "x"],
                "--wavelet_levels has no effect: each student has its own terms",
            ),
            (
                ["big", "--images", "photos", "--student", "7x+distill=ssim", "--srp-layers", "a", "-o", "x"],
                "--srp-layers a has no effect: srp is not among the terms (ssim)",
            ),
            (["big", "--images", "photos", "--stepz", "3", "-o", "x"], "did you mean '--steps'"),
            (["big", "--images", "photos", "--epochs", "3", "--steps", "3", "-o", "x"], "in epochs and in steps"),
            (["big", "--images", "photos", "--validation", "1", "-o", "x"], "a share of 1 of the images"),
            (["big", "--images", "photos", "--teacher-cache", "c", "-o", "x"], "in eval mode (--no-augment)"),
            (["big", "--images", "photos", "-o", "big"], "holds files of something else (latest_net_G.pth)"),
            (["big", "--images", "photos", "--seed", "-1", "-o", "x"], "seed -1: give a whole number of 0 or more"),
            (["big", "--images", "photos", "--beta1", "1.5", "-o", "x"], "beta1 1.5: give at least 0 and below 1"),
            (
                ["big", "--images", "photos", "--real", "real", "--size", "16", "-o", "x"],
                "the discriminator takes images of at least 24 pixels, not 16",
            ),
            (["big", "--images", "photos", "-o", "photos/small"], "would be mixed with the images of photos"),
            (["big", "--images", "photos", "--device", "cuda:9", "-o", "x"], "--device cuda:9"),
        ],
    )
    def test_one_line_says_what_to_do(
        self,
        place: Path,
        arguments: list[str],
        message: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (place / "empty").mkdir(exist_ok=True)
        (place / "set" / "train").mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(place)
        before = sorted(file for file in place.rglob("*"))
        assert main(["compress", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("kd: error: ")
        assert error.count("\n") == 1
        assert message in error
        assert sorted(file for file in place.rglob("*")) == before  # nothing was written

    @pytest.mark.slow
    def test_a_full_disk_is_one_line_and_the_training_continues(
        self, place: Path, finished: Path, tmp_path: Path
    ) -> None:
        """A limit on the size of files stands for the disk."""
        output = tmp_path / "small"
        line = ["compress", *map(str, named(place)), "--macs", "2x,4x", "--save-freq", "2", "-o", str(output)]
        script = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        script += "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
        script += "from kd_plugin.cli import main; sys.exit(main(sys.argv[1:]))"
        ended = Forked(["-c", script, *line], tmp_path, environment()).finish()
        assert ended.returncode == 2, ended.stderr
        assert re.search(r"kd: error: cannot save .* in .*small", ended.stderr)
        assert "Traceback" not in ended.stderr
        assert not [file for file in output.rglob(".*") if file.is_file()]  # no temporary file is left
        assert main(line) == 0
        assert same(output, finished)


class TestImagesThatCannotBeUsed:
    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        for i in range(120):
            paint(tmp_path / "photos" / f"{i:03d}.png", 16, 16, i)
        return tmp_path / "photos"

    def spoil(self, file: Path) -> None:
        """Its header is whole."""
        file.write_bytes(file.read_bytes()[:-40])

    def test_one_that_breaks_in_training_is_replaced_and_named(
        self, place: Path, photos: Path, tmp_path: Path
    ) -> None:
        self.spoil(photos / "007.png")
        arguments = [place / "big", "--images", photos, "--size", 16, "--preprocess", "crop", "--validation", 0]
        output = compress(tmp_path / "small", *arguments, "--epochs", 1, "--num-threads", 0)
        assert "007.png" in (output / "index.html").read_text()
        for i in (8, 9):
            self.spoil(photos / f"{i:03d}.png")
        compress(tmp_path / "other", *arguments, "--epochs", 1, "--num-threads", 0, status=2)

    @pytest.mark.parametrize("which", ["held out", "real"])
    def test_they_are_named_wherever_they_are(self, place: Path, photos: Path, tmp_path: Path, which: str) -> None:
        arguments = [place / "big", "--size", 32, "--load-size", 32, "--steps", 2, "--num-threads", 0, "--ngf", 2]
        items = [Item(file.name, file) for file in find_images(photos)]
        if which == "real":
            arguments += ["--images", place / "photos", "--real", photos, "--distill", "pixel"]
            first = Samples(items, Preprocessing("crop", crop_size=16), seed=1).place(0)
            spoiled = items[first].file
        else:
            arguments += ["--images", photos]
            spoiled = split_items(items, 0.1)[1][0].file
        self.spoil(spoiled)
        output = compress(tmp_path / "small", *arguments)
        (problem,) = json.loads((output / "report.json").read_text())["problems"]
        assert problem["what"] == str(spoiled) and problem["reason"].startswith("it cannot be read (")
        assert spoiled.name in (output / "index.html").read_text()

    def test_too_many_that_are_held_out_end_the_run(
        self, place: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for item in split_items([Item(file.name, file) for file in find_images(photos)], 0.1)[1][:2]:
            self.spoil(item.file)
        compress(tmp_path / "small", place / "big", "--images", photos, "--size", 16, "--steps", 2, status=2)
        assert "2 of 120 images cannot be used, more than one in a hundred" in capsys.readouterr().err

    def test_processes_that_load_images_report_in_one_line(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Finished images of other sizes than the inputs, which are not cropped alike."""
        for i in range(4):
            paint(tmp_path / "photos" / f"{i}.png", 40, 40, i)
            paint(tmp_path / "made" / f"{i}.png", 44, 40, i)
        arguments = ["--teacher-images", tmp_path / "made", "--images", tmp_path / "photos", "--preprocess", "crop"]
        arguments += ["--size", 16, "--ngf", 2, "--netG", "resnet_1blocks", "--num-threads", 2, "--validation", 0]
        compress(tmp_path / "small", *arguments, status=2)
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "Traceback" not in error
        assert "its teacher has 44x40 pixels, the input 40x40" in error


def test_a_discriminator_of_another_kind_is_not_used(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    big = tmp_path / "big"
    big.mkdir()
    (big / "latest_net_G.pth").write_bytes((place / "big" / "latest_net_G.pth").read_bytes())
    torch.save({"head.weight": torch.zeros(3, 3)}, big / "latest_net_D.pth")
    arguments = [big, *named(place)[1:], "--real", place / "real", "--size", 32, "--load-size", 32]
    compress(tmp_path / "small", *arguments)
    said = capsys.readouterr().out
    assert f"note: {big / 'latest_net_D.pth'} is not of the family, so the discriminator starts from random" in said


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_the_printed_commands_of_pairs_run_it_in_a_host(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    host: tuple[Path, str],
) -> None:
    """Named relative to the folder of the command, in the direction from right to left."""
    monkeypatch.chdir(place)
    arguments = ["big", "--pairs", "pairs", *QUICK, "--direction", "BtoA", "--netG", "resnet_6blocks", "--ngf", 2]
    compress(tmp_path / "small", *arguments)
    lines = re.findall(r"in a host: (kd run|python) test.py (.*)", capsys.readouterr().out)
    assert [how for how, _ in lines] == ["kd run", "python"]
    folder, form = host
    for how, line in lines:
        out = tmp_path / how.replace(" ", "_")
        words = [*line.split(), *host_arguments(folder, form)["test"], "--results_dir", str(out)]
        script = ["kd", "run", "test.py"] if how == "kd run" else ["plain", "test.py"]
        succeed(run([LAUNCH, *script, *words], folder, form))
        (fake,) = out.glob("small/pairs_latest/images/3_fake_B.png")
        right = Image.open(place / "pairs" / "3.png").convert("RGB").crop((24, 0, 48, 24))
        image = np.asarray(right.resize((16, 16), Image.Resampling.BICUBIC)).copy()
        with torch.no_grad():
            tensor = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
            pixels = load_teacher(tmp_path / "small" / "latest_net_G.pth")(tensor)[0].permute(1, 2, 0).numpy()
        wanted = ((pixels + 1) / 2 * 255).clip(0, 255).astype(np.uint8)
        assert np.abs(np.asarray(Image.open(fake)).astype(int) - wanted).max() <= 1


class TestWatching:
    def test_the_line_has_the_pace_the_shares_and_the_time_left(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        compress(tmp_path / "small", *named(place))
        lines = [line for line in capsys.readouterr().err.splitlines() if "step" in line]
        found = re.search(r"(\d+)%  ETA (\d+:\d\d)  step (\d) of 6, [\d.]+ steps/s, (.*)", lines[-1])
        assert found is not None
        shares = dict(re.findall(r"(\w+) (\d+)%", found[4]))
        assert set(shares) == set(DEFAULTS) and 97 <= sum(map(int, shares.values())) <= 103

    def test_the_page_of_a_running_training_has_curves_and_samples(self, place: Path, tmp_path: Path) -> None:
        for _ in range(2):
            output = compress(tmp_path / "small", *named(place), "--minutes", 1e-9, "--print-freq", 1)
        page = (output / "index.html").read_text()
        assert 'http-equiv="refresh"' in page and "Step 2 of 6." in page
        assert "Validation PSNR" in page and "Loss: wavelet" in page
        for key in ("input", "teacher", "student1"):
            assert f"training_0_{key}_image.png" in page
        assert "training_0_student1_difference.png" in page
        assert all((output / name).is_file() for name in re.findall(r'src="(images/[^"]+)"', page))

    def test_curves_are_over_all_images_and_need_two_points(self, place: Path, tmp_path: Path) -> None:
        """Also if the last line of the log is not at the end of an epoch."""
        output = compress(tmp_path / "few", *named(place))
        assert "Loss: " not in (output / "index.html").read_text()  # one line of the log
        output = compress(tmp_path / "many", *named(place), "--steps", 18, "--print-freq", 7, "--macs", "2x,4x")
        page = (output / "index.html").read_text()
        assert "Loss: wavelet over 14 images" in page  # the PSNR is measured at the end as well
        assert "Validation PSNR to the teacher over 18 images" in page
        section = page[page.index(">Training<") :]
        assert section.index('class="legend"') < section.index("Validation PSNR")

    def test_a_resumed_training_says_so(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        compress(tmp_path / "small", *named(place), "--minutes", 1e-9)
        assert "continuing" not in capsys.readouterr().out
        compress(tmp_path / "small", *named(place))
        assert "[distill] continuing after step 1\n" in capsys.readouterr().out

    def test_without_a_visdom_server_it_does_not_begin(
        self, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("visdom")
        compress(tmp_path / "small", *named(place), "--visdom", "--display-port", 9, status=2)
        error = capsys.readouterr().err
        assert error.count("kd: error: ") == 1 and "python -m visdom.server" in error


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_joined_batch(place: Path, tmp_path: Path) -> None:
    """The gradients of a step are those of one process with a batch of two, for student and adapters."""
    arguments = [*map(str, named(place)), "--validation", "0", "--ngf", "4"]
    arguments[arguments.index("--steps") + 1] = "1"
    line = ["-m", "kd_plugin", "compress", *arguments, "--distill", "wavelet,srp,pixel,feature", "-o", "two"]
    for process in run_twice(line, tmp_path):
        assert process.returncode == 0, process.stderr
    compress(tmp_path / "one", *line[3:-2], "--batch-size", 2)
    two, one = (torch.load(tmp_path / name / STATE, weights_only=True) for name in ("two", "one"))
    first, second = (state["students"][""]["optimizer"]["state"] for state in (two, one))
    assert len(first) == len(second) > 10
    most = max(float(entry["exp_avg"].abs().max()) for entry in second.values())
    for number, entry in first.items():  # (1 - beta1) times the gradient
        torch.testing.assert_close(entry["exp_avg"], second[number]["exp_avg"], rtol=1e-3, atol=1e-3 * most)


@pytest.mark.slow
def test_visdom_shows_what_kd_watch_shows(place: Path, tmp_path: Path) -> None:
    with visdom_server(tmp_path) as port:
        output = compress(tmp_path / "shown", *named(place), "--visdom", "--display-port", port, "--print-freq", 1)
        live = windows(port, "shown")
        assert {"losses", "terms", "shares", "facts"} - live.keys() <= {"losses"}
        assert any(name.startswith("images_") for name in live)
        assert main(["watch", "shown", "--checkpoints-dir", str(output.parent), "--port", str(port), "--once"]) == 0
        assert windows(port, "shown").keys() == live.keys()


def test_a_student_that_fails_is_dropped_and_named(
    place: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kd_plugin.compression import prepare as module

    build = module.build

    def broken(wish, *arguments):  # type: ignore[no-untyped-def]
        student = build(wish, *arguments)
        if wish.name == "4x":
            next(student.network.parameters()).data.fill_(math.nan)
        return student

    monkeypatch.setattr(module, "build", broken)
    output = compress(
        tmp_path / "small", *named(place), "--macs", "2x,4x", "--max-bad-steps", 1, "--print-freq", 2, status=1
    )
    assert "the student 4x was dropped" in capsys.readouterr().err
    assert same(output / "2x", finished / "2x")
    assert not (output / "4x" / "latest_net_G.pth").exists()
    assert "4x" in (output / "index.html").read_text()


def test_half_precision_and_a_cache_resume_exactly(place: Path, tmp_path: Path) -> None:
    arguments = [*named(place), "--amp", "bf16", "--no-augment", "--teacher-cache", tmp_path / "cache"]
    whole = compress(tmp_path / "whole", *arguments)
    parts = compress(tmp_path / "parts", *arguments, "--minutes", 1e-9)
    compress(parts, *arguments)
    assert same(parts, whole)
    assert list((tmp_path / "cache").rglob("*.pt"))


def test_a_u_net_and_grey_images(place: Path, tmp_path: Path) -> None:
    spec = GeneratorSpec("unet", 1, 1, 8, 5, "batch", True, False)
    torch.save(build_generator(spec).state_dict(), tmp_path / "latest_net_G.pth")
    arguments = [tmp_path / "latest_net_G.pth", *named(place)[1:], "--size", 32, "--load-size", 32, "--macs", "3x"]
    output = compress(tmp_path / "small", *arguments)
    student = load_teacher(output / "latest_net_G.pth")
    assert (student.spec.input_nc, student.spec.output_nc, student.spec.netG) == (1, 1, "unet_32")
