"""The embedded host has the family's interface in both forms."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import pytest
import torch
from helpers.commands import run, succeed
from helpers.hosts import FORMS, HOST, imported_host
from helpers.models import host_options
from PIL import Image

TRAIN = "train.py --model pix2pix --netG resnet_6blocks --ngf 4 --ndf 4 --load_size 32 --crop_size 32 --num_threads 0"
BRIEF = " --n_epochs 1 --n_epochs_decay 0 --max_dataset_size 1 --print_freq 1"


def train(cwd: Path, data: Path, more: str, form: str = "2025"):  # type: ignore[no-untyped-def]
    command = [str(HOST / "train.py"), *(TRAIN + BRIEF).split()[1:], "--dataroot", str(data), *more.split()]
    return run(command, cwd, form)


@pytest.mark.parametrize("form", FORMS)
def test_forms_differ_where_hosts_do(form: str, tmp_path: Path) -> None:
    """The signature of define_G, and the moment a network gets its initial weights."""
    with imported_host(HOST, form) as models:
        takes_gpus = "gpu_ids" in inspect.signature(models.networks.define_G).parameters
        options = host_options(tmp_path, init_type="normal", init_gain=0.5)
        model = models.find_model_using_name("pix2pix")(options)
        weight = model.netG.model[10].conv_block[1].weight
        before = weight.std().item()
        model.setup(options)
        assert takes_gpus == (form == "2020")
        early = abs(before - 0.5) < 0.05
        assert early == (form == "2020") and weight.std().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("form", FORMS)
def test_a_seed_decides_everything(form: str, images: Path, tmp_path: Path) -> None:
    results = []
    for name in ("one", "two", "other"):
        more = f"--name {name} --save_epoch_freq 1 --no_html --seed {3 if name != 'other' else 4}"
        succeed(train(tmp_path, images / "paired", more, form))
        results.append(torch.load(tmp_path / "checkpoints" / name / "latest_net_G.pth", weights_only=True))
    one, two, other = results
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_web_page_shows_the_images(images: Path, tmp_path: Path) -> None:
    succeed(train(tmp_path, images / "paired", "--name page --display_freq 1"))
    web = tmp_path / "checkpoints" / "page" / "web"
    page = (web / "index.html").read_text()
    pictures = sorted(f.name for f in (web / "images").glob("*.png"))
    assert len(pictures) == 3 and all(name in page for name in pictures)


def test_visdom_is_optional_and_says_what_it_needs(images: Path, tmp_path: Path) -> None:
    result = train(tmp_path, images / "paired", "--name v --display_id 1 --display_port 9")
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    try:
        import visdom  # noqa: F401
    except ImportError:
        assert 'pip install "kd_plugin[visdom]"' in last
    else:
        assert "no visdom server" in last and "-port 9" in last


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "train"), "train"),
        (lambda folder: [f.unlink() for f in (folder / "train").iterdir()], "train"),
        (lambda folder: (folder / "train" / "0.png").write_bytes(b"no picture"), "0.png"),
        (lambda folder: Image.new("RGB", (16, 8)).save(folder / "train" / "0.png"), ""),
    ],
)
def test_bad_data_is_named(spoil, message: str, images: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = tmp_path / "data"
    shutil.copytree(images / "paired", data)
    spoil(data)
    result = train(tmp_path, data, "--name bad --no_html --preprocess crop --max_dataset_size 9 --serial_batches")
    assert result.returncode != 0 and message in result.stderr.splitlines()[-1]
