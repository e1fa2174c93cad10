"""``kd run train.py --compress``: one command from a data set to all students of all generators."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers.commands import LAUNCH, Forked, environment, kd_inside, run, succeed
from helpers.hosts import HOST, HOSTS, grouped, host_arguments
from helpers.images import paint

from kd_plugin import load_teacher
from kd_plugin.metrics.cost import count_parameters

IMAGES = 5
TRAINING = (
    "--netG resnet_6blocks --ngf 8 --ndf 4 --load_size 36 --crop_size 32 --num_threads 0 --n_epochs 2 "
    "--n_epochs_decay 0 --save_epoch_freq 1 --print_freq 100 --no_html"
)
PIX2PIX = f"--model pix2pix --direction BtoA --no_dropout --norm instance --max_dataset_size 4 {TRAINING}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paired and unpaired data sets."""
    root = tmp_path_factory.mktemp("data")
    for phase in ("train", "test"):
        for i in range(IMAGES):
            paint(root / "paired" / phase / f"{i}.png", 48, 24, i)
            paint(root / "unpaired" / f"{phase}A" / f"{i}.png", 24, 20, 10 + i)
            paint(root / "unpaired" / f"{phase}B" / f"{i}.png", 20, 24, 20 + i)
    return root


def command(data: Path, output: Path, options: str, more: str = "", name: str = "big") -> list[str]:
    """The command line of a training in the embedded host, which has a seed."""
    root = data / ("paired" if "pix2pix" in options else "unpaired")
    words = f"--dataroot {root} --checkpoints_dir {output} --name {name} --seed 5 {options} {more}"
    return [LAUNCH, "kd", "run", "train.py", *words.split()]


def weights(file: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(file, weights_only=True))


def same(ours: Path, theirs: Path) -> bool:
    a, b = weights(ours), weights(theirs)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def described(folder: Path) -> dict:
    return json.loads((folder / "compress" / "training.json").read_text())


@pytest.fixture(scope="module", params=grouped("compressed", HOSTS))
def cycle_gan(
    request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, Path, str]:
    """A CycleGAN that is trained and compressed by one command: its host with the form, folder, and output."""
    folder, form = request.param
    output = tmp_path_factory.mktemp("cycle_gan")
    more = " ".join(host_arguments(folder, form)["train"])
    words = (
        f"--dataroot {data / 'unpaired'} --checkpoints_dir {output} --name big --model cycle_gan {TRAINING} {more}"
    )
    words += " --compress 2x,ngf=4 --compress_epochs 1"
    result = succeed(run([LAUNCH, "kd", "run", "train.py", *words.split()], folder, form))
    return folder, form, output, result.stdout


@pytest.mark.slow
class TestCycleGAN:
    def test_every_generator_has_every_size(self, cycle_gan: tuple[Path, str, Path, str]) -> None:
        output = cycle_gan[2]
        large = count_parameters(load_teacher(output / "big" / "latest_net_G_A.pth"))
        for net in ("G_A", "G_B"):
            for name in ("2x", "ngf4"):
                small = load_teacher(output / f"big_{name}" / f"latest_net_{net}.pth")
                assert count_parameters(small) < large / 2
                for epoch in ("last", "best", "ema"):
                    assert (output / f"big_{name}" / f"{epoch}_net_{net}.pth").is_file()

    def test_each_reads_the_inputs_of_its_training(self, cycle_gan: tuple[Path, str, Path, str], data: Path) -> None:
        generators = described(cycle_gan[2] / "big")["generators"]
        found = {net: (Path(each["inputs"]), each["pairs"], each["direction"]) for net, each in generators.items()}
        root = data / "unpaired"
        assert found == {"G_A": (root / "trainA", False, "AtoB"), "G_B": (root / "trainB", False, "BtoA")}

    def test_the_host_tests_both_directions(self, cycle_gan: tuple[Path, str, Path, str]) -> None:
        """By the command that is printed, and plain ``python`` with the options of the networks."""
        folder, form, output, printed = cycle_gan
        line = next(line for line in printed.splitlines() if "test: kd run test.py" in line and "big_ngf4" in line)
        words = line.partition("kd run test.py ")[2].split()
        for how, more in (("kd run", []), ("plain", ["--netG", "resnet_6blocks", "--ngf", "4", "--no_dropout"])):
            results = output / how.replace(" ", "_")
            arguments = [*words, *more, "--results_dir", str(results), *host_arguments(folder, form)["test"]]
            succeed(run([LAUNCH, *how.split(), "test.py", *arguments], folder, form))
            images = results / "big_ngf4" / "test_latest" / "images"
            for output_name in ("fake_A", "fake_B"):
                assert len(list(images.glob(f"*_{output_name}.png"))) == IMAGES
        for image in sorted((output / "plain").rglob("*_fake_?.png")):
            assert image.read_bytes() == (output / "kd_run" / image.relative_to(output / "plain")).read_bytes()


@pytest.fixture(scope="module")
def pix2pix(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A pix2pix from B to A that is trained on a part of its data set, and compressed; and what was printed."""
    output = tmp_path_factory.mktemp("pix2pix")
    result = succeed(run(command(data, output, PIX2PIX, "--compress 2x --compress_epochs 3"), HOST))
    return output, result.stdout


@pytest.mark.slow
@pytest.mark.xdist_group("compressed-pix2pix")
class TestPix2Pix:
    def test_the_training_is_the_same_as_without(self, pix2pix: tuple[Path, str], data: Path, tmp_path: Path) -> None:
        succeed(run(command(data, tmp_path, PIX2PIX), HOST))
        for net in ("G", "D"):
            assert same(pix2pix[0] / "big" / f"latest_net_{net}.pth", tmp_path / "big" / f"latest_net_{net}.pth")

    def test_only_the_images_of_the_data_set_are_read(self, pix2pix: tuple[Path, str], data: Path) -> None:
        generator = described(pix2pix[0] / "big")["generators"]["G"]
        assert generator["pairs"] and generator["direction"] == "BtoA"
        links = sorted(Path(generator["inputs"]).iterdir())
        assert [link.resolve() for link in links] == [data / "paired" / "train" / f"{i}.png" for i in range(4)]
        assert "3 images to train on, 1 held out" in pix2pix[1]

    def test_the_losses_are_those_of_the_teachers_images(self, pix2pix: tuple[Path, str]) -> None:
        losses = "ssim x 50, feature x 30, gram x 10, tv x 5, wavelet x 10"  # without the ground truth
        assert f"{losses}; 3 images" in pix2pix[1]

    def test_the_record_is_that_of_a_student_of_the_host(
        self, pix2pix: tuple[Path, str], data: Path, tmp_path: Path
    ) -> None:
        record = json.loads((pix2pix[0] / "big_2x" / "student.json").read_text())
        assert (record["model"], record["direction"], record["dataset_mode"]) == ("pix2pix", "BtoA", "aligned")
        words = f"--dataroot {data / 'paired'} --checkpoints_dir {pix2pix[0]} --name big_2x --results_dir {tmp_path}"
        arguments = [*words.split(), "--load_size", "32", "--crop_size", "32"]
        result = succeed(run([LAUNCH, "kd", "run", "test.py", *arguments], HOST))
        assert "--model pix2pix" in result.stdout and "--direction BtoA" in result.stdout
        assert len(list(tmp_path.rglob("*_fake_B.png"))) == IMAGES

    def test_the_same_command_repeats_nothing(self, pix2pix: tuple[Path, str], data: Path) -> None:
        output = pix2pix[0]
        files = {file: file.stat().st_mtime_ns for file in output.rglob("*.pth")}
        result = succeed(run(command(data, output, PIX2PIX, "--compress 2x --compress_epochs 3"), HOST))
        assert "has ended" in result.stdout and "not repeated" in result.stdout
        assert {file: file.stat().st_mtime_ns for file in output.rglob("*.pth")} == files

    def test_another_size_is_added(self, pix2pix: tuple[Path, str], data: Path) -> None:
        output = pix2pix[0]
        teacher = (output / "big" / "latest_net_G.pth").stat().st_mtime_ns
        student = (output / "big_2x" / "latest_net_G.pth").stat().st_mtime_ns
        succeed(run(command(data, output, PIX2PIX, "--compress 2x,ngf=3 --compress_epochs 1"), HOST))
        assert load_teacher(output / "big_ngf3" / "latest_net_G.pth").spec.ngf == 3
        assert (output / "big" / "latest_net_G.pth").stat().st_mtime_ns == teacher
        assert (output / "big_2x" / "latest_net_G.pth").stat().st_mtime_ns == student

    def test_a_student_of_its_own_terms_is_added(self, pix2pix: tuple[Path, str], tmp_path: Path) -> None:
        """The options of the losses are those of the other one, which is there already."""
        output = pix2pix[0]
        words = "--distill srp --srp-layers middle --srp-size 8 --student 2x --student ngf=2+distill=ssim --epochs 1"
        succeed(kd_inside(f"compress --training {output / 'big'} {words}", tmp_path))
        record = json.loads((output / "big_ngf2_ssim" / "student.json").read_text())
        assert record["distillation"]["distill"] == "ssim"

    def test_other_options_do_not_overwrite_the_teacher(self, pix2pix: tuple[Path, str], data: Path) -> None:
        result = run(command(data, pix2pix[0], PIX2PIX, "--lr 0.1 --compress 2x --compress_epochs 3"), HOST)
        assert result.returncode == 2
        assert "--lr 0.1: the training" in result.stderr and "with 0.0002" in result.stderr
        assert len(result.stderr.splitlines()) == 1

    def test_stopped_while_it_compresses_it_goes_on(
        self, pix2pix: tuple[Path, str], data: Path, tmp_path: Path
    ) -> None:
        words = command(data, tmp_path, PIX2PIX, "--compress 2x --compress_epochs 3")
        process = Forked(words, HOST, environment())
        log = tmp_path / "big" / "compress" / "G" / "2x" / "loss_log.txt"
        limit = time.monotonic() + 120
        while not log.is_file() and time.monotonic() < limit:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGTERM)
        stopped = process.finish()
        assert stopped.returncode == 128 + signal.SIGTERM, stopped.stdout + stopped.stderr
        assert not (tmp_path / "big_2x").exists()
        teacher = (tmp_path / "big" / "latest_net_G.pth").stat().st_mtime_ns
        result = succeed(run(words, HOST))
        assert "not repeated" in result.stdout and "continuing after step" in result.stdout
        assert (tmp_path / "big" / "latest_net_G.pth").stat().st_mtime_ns == teacher
        for epoch in ("latest", "last", "best", "ema"):
            name = f"{epoch}_net_G.pth"
            assert same(tmp_path / "big_2x" / name, pix2pix[0] / "big_2x" / name)

    def test_killed_in_the_training_it_is_continued_and_compressed(self, data: Path, tmp_path: Path) -> None:
        words = command(data, tmp_path, PIX2PIX, "--compress 2x --compress_epochs 1")
        killed = Forked(words, HOST, environment(KD_STOP_AFTER="1")).finish()
        assert killed.returncode == 9
        assert not (tmp_path / "big" / "compress").exists() and not (tmp_path / "big_2x").exists()
        refused = run(words, HOST)
        assert (
            refused.returncode == 2 and "would overwrite" in refused.stderr and "--continue_train" in refused.stderr
        )
        result = succeed(run([*words, "--continue_train", "--epoch_count", "2"], HOST))
        assert "epoch 2 of 2" in result.stdout and "epoch 1 of 2" not in result.stdout
        assert (tmp_path / "big_2x" / "latest_net_G.pth").is_file()
        assert "not repeated" in succeed(run(words, HOST)).stdout

    def test_a_training_that_has_ended_before_is_compressed(self, data: Path, tmp_path: Path) -> None:
        succeed(run(command(data, tmp_path, PIX2PIX), HOST))
        teacher = (tmp_path / "big" / "latest_net_G.pth").read_bytes()
        more = "--compress ngf=3 --compress_epochs 1 --continue_train --epoch_count 3"
        succeed(run(command(data, tmp_path, PIX2PIX, more), HOST))
        assert (tmp_path / "big_ngf3" / "latest_net_G.pth").is_file()
        assert (tmp_path / "big" / "latest_net_G.pth").read_bytes() == teacher

    def test_a_training_that_fails_is_not_compressed(self, data: Path, tmp_path: Path) -> None:
        for i in range(IMAGES):
            paint(tmp_path / "paired" / "train" / f"{i}.png", 48, 24, i)
        (tmp_path / "paired" / "train" / "1.png").write_bytes(b"damaged")  # is not among those that are compared
        result = run(command(tmp_path, tmp_path / "out", PIX2PIX, "--compress 2x"), HOST)
        assert result.returncode == 1 and "cannot read the image" in result.stderr
        assert not (tmp_path / "out" / "big" / "compress").exists()
        assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == ["big"]


@pytest.mark.slow
def test_a_teacher_that_has_changed_is_not_compressed(pix2pix: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    shutil.copytree(pix2pix[0], tmp_path / "copy")
    file = tmp_path / "copy" / "big" / "latest_net_G.pth"
    torch.save({key: value + 1 for key, value in weights(file).items()}, file)
    for arguments in (f"compress --training {file.parent} --macs 3x", f"compress --training {file.parent} --macs 2x"):
        result = kd_inside(arguments, tmp_path)
        assert result.returncode == 2 and "latest_net_G.pth has changed since the training" in result.stderr
