"""Colorization in a host: one input channel, two output channels, and options set by the data set after ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.commands import LAUNCH, run, succeed
from helpers.hosts import SMALL, host_arguments, real_hosts

FOLDERS = [folder for folder in real_hosts() if (folder / "models" / "colorization_model.py").is_file()]


@pytest.mark.hosts
@pytest.mark.skipif(not FOLDERS, reason="KD_HOSTS is not set: no host with a colorization model was run")
@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_is_distilled_and_tested(folder: Path, images: Path, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    more = host_arguments(folder, "")
    (tmp_path / "data").mkdir()
    for phase in ("train", "test"):
        (tmp_path / "data" / phase).symlink_to(images / "unpaired" / f"{phase}A")

    def start(how: str, name: str, given: str = "") -> str:
        phase = "train" if "train" in how else "test"
        shared = f"--dataroot {tmp_path}/data --checkpoints_dir {tmp_path} --model colorization --name {name} {given}"
        if phase == "train":
            shared += f" {SMALL} --n_epochs 1 --n_epochs_decay 0 --save_epoch_freq 1 --print_freq 1 --ndf 4 "
            shared += "--display_freq 1 --update_html_freq 1"
        else:
            shared += f" --load_size 32 --crop_size 32 --results_dir {tmp_path}/results"
        return succeed(run([LAUNCH, *how.split(), *shared.split(), *more[phase]], folder)).stdout

    start("plain train.py", "big", "--ngf 6")
    said = start("kd run train.py", "small", f"--distill wavelet,srp --teacher {tmp_path}/big --student_ngf 4")
    assert "x fewer parameters" in said
    weights = torch.load(tmp_path / "small" / "latest_net_G.pth", weights_only=True)
    assert weights["model.1.weight"].shape[:2] == (4, 1)
    start("kd run test.py", "small")
    assert len(list((tmp_path / "results").rglob("*fake_B_rgb.png"))) == 4
