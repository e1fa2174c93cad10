"""Unusual images: grey, with alpha, 16 bit, of odd sizes, of one pixel, and damaged files."""

from __future__ import annotations

import gc
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import LAUNCH, run, succeed
from helpers.hosts import FORMS, HOSTS, SMALL, host_arguments
from helpers.images import paint
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from kd_plugin import GeneratorSpec
from kd_plugin.host.model.unreadable import explain_unreadable, find_unreadable
from kd_plugin.networks.generator import build_generator

DAMAGED = {"empty.png": 0, "cut.png": 400, "text.jpg": None}  # number of bytes kept; None: not an image


def colours(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def spoil(folder: Path, name: str) -> Path:
    paint(folder / "whole.png", 32, 32, 1)
    left = DAMAGED[name]
    colours(32, 32).save(folder / "all.png")
    whole = (folder / "all.png").read_bytes()
    (folder / "all.png").unlink()
    (folder / name).write_bytes(b"no picture" if left is None else whole[:left])
    return folder / name


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A loader whose worker has raised waits 5 seconds for it when it is collected; let it be now, and shorter."""
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
    yield
    gc.collect()


class Pictures(Dataset):
    """As the data sets of real hosts, which leave errors to Pillow."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.iterdir())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(np.array(Image.open(self.files[index]).convert("RGB").resize((8, 8))))


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", lambda *error: print("the host's own", file=sys.stderr))


@pytest.mark.usefixtures("hook")
class TestUnreadable:
    @pytest.mark.usefixtures("impatient")
    @pytest.mark.parametrize("workers", [0, 1])
    @pytest.mark.parametrize("name", DAMAGED)
    def test_is_named_after_what_the_host_says(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, workers: int
    ) -> None:
        bad = spoil(tmp_path / "data", name)
        explain_unreadable(tmp_path / "data")
        with pytest.raises((OSError, RuntimeError)) as caught:
            list(DataLoader(Pictures(tmp_path / "data"), num_workers=workers))
        sys.excepthook(caught.type, caught.value, caught.tb)
        first, _, line = capfd.readouterr().err.strip().splitlines()
        assert first == "the host's own"
        assert line.startswith(f"error: {bad}: it cannot be read (")
        assert line.endswith("); repair or remove it")
        del caught

    def test_pictures_of_one_pixel_are_named(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """Hosts scale them to nothing, and Pillow refuses that."""
        paint(tmp_path / "whole.png", 32, 32, 1)
        colours(1, 1).save(tmp_path / "one.png")
        explain_unreadable(tmp_path)
        with pytest.raises(ValueError, match="must be > 0") as caught:
            Image.open(tmp_path / "one.png").resize((0, 0))
        sys.excepthook(caught.type, caught.value, caught.tb)
        assert f"error: {tmp_path / 'one.png'}: it has 1x1 pixels" in capfd.readouterr().err

    def test_other_errors_are_left_alone(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        spoil(tmp_path / "data", "text.jpg")
        explain_unreadable(tmp_path / "data")
        with pytest.raises(OSError) as caught:
            raise OSError("the disk is full")
        sys.excepthook(caught.type, caught.value, caught.tb)
        assert capfd.readouterr().err == "the host's own\n"

    def test_neither_are_errors_in_writing_a_picture(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        spoil(tmp_path / "data", "text.jpg")
        explain_unreadable(tmp_path / "data")
        with pytest.raises(OSError, match="mode") as caught:
            colours(4, 4).convert("RGBA").save(tmp_path / "out.jpg")
        sys.excepthook(caught.type, caught.value, caught.tb)
        assert capfd.readouterr().err == "the host's own\n"

    def test_where_all_can_be_read_that_is_said(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        paint(tmp_path / "whole.png", 32, 32, 1)
        (tmp_path / "notes.pdf").write_text("no picture of a host's")
        explain_unreadable(tmp_path)
        with pytest.raises(OSError) as caught:
            Image.open(tmp_path / "notes.pdf")
        sys.excepthook(caught.type, caught.value, caught.tb)
        assert "all images can be read" in capfd.readouterr().err

    def test_whole_pictures_of_any_kind_are_none(self, tmp_path: Path) -> None:
        for mode in ("L", "RGBA", "P", "1", "I;16", "RGB"):
            name = mode.replace(";", "")
            picture = Image.fromarray(np.ones((4, 4), np.uint16)) if mode == "I;16" else colours(4, 4).convert(mode)
            picture.save(tmp_path / f"{name}.png")
        (tmp_path / "notes.txt").write_text("no picture, and not taken for one")
        (tmp_path / "cached.pkl").write_bytes(pickle.dumps(1))
        assert list(find_unreadable(tmp_path)) == []


PLACES = [HOSTS[0], *HOSTS[len(FORMS) :]]  # the data sets of the embedded host are the same in both forms
KINDS = {
    "grey": colours(64, 32).convert("L"),
    "alpha": colours(64, 32).convert("RGBA"),
    "sixteen": Image.fromarray(np.random.default_rng(0).integers(0, 65535, (32, 64), dtype=np.uint16)),
    "odd": colours(71, 37),
}


def start(place: tuple[Path, str], data: Path, output: Path):  # type: ignore[no-untyped-def]
    folder, form = place
    (output / "big").mkdir(exist_ok=True)
    network = build_generator(GeneratorSpec("resnet", 3, 3, 4, 2, "instance", False, True))
    torch.save(network.state_dict(), output / "big" / "latest_net_G.pth")
    command = (
        f"kd run train.py --dataroot {data} --checkpoints_dir {output} --name small --model pix2pix {SMALL} "
        f"--preprocess none --n_epochs 1 --n_epochs_decay 0 --distill wavelet,srp --teacher {output}/big --ndf 4 "
        f"--no_html --print_freq 1 --save_latest_freq 1 --save_epoch_freq 1"
    )
    return run([LAUNCH, *command.split(), *host_arguments(folder, form)["train"]], folder, form)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.slow
class TestHosts:
    def test_unusual_pictures_train(self, place: tuple[Path, str], tmp_path: Path) -> None:
        """All kinds in one data set, of two sizes."""
        (tmp_path / "data" / "train").mkdir(parents=True)
        for name, picture in KINDS.items():
            picture.save(tmp_path / "data" / "train" / f"{name}.png")
        result = succeed(start(place, tmp_path / "data", tmp_path))
        log = (tmp_path / "small" / "loss_log.txt").read_text()
        assert log.count("wavelet: ") == len(KINDS) and "nan" not in log, result.stdout
        weights = torch.load(tmp_path / "small" / "latest_net_G.pth", weights_only=True)
        assert all(tensor.isfinite().all() for tensor in weights.values())

    def test_a_damaged_one_ends_the_run_by_its_name(self, place: tuple[Path, str], tmp_path: Path) -> None:
        """What was saved before it came is whole."""
        train = tmp_path / "data" / "train"
        for i in range(5):
            paint(train / f"{i}.png", 64, 32, i)
        bad = train / "3.png"
        bad.write_bytes(bad.read_bytes()[:400])
        result = start(place, tmp_path / "data", tmp_path)
        assert result.returncode == 1 and str(bad) in result.stderr.strip().splitlines()[-1]
        for file in (tmp_path / "small").glob("*.pth"):
            torch.load(file, weights_only=True)
