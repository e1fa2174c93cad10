"""``--val_images``: the student is measured against its teacher after every epoch, and its best weights are kept."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers.images import paint
from helpers.models import distil_options, distilling, set_up, train_step
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from kd_plugin import load_teacher
from kd_plugin.errors import OptionError

SIDE = 32
OPTIONS = {"distill": "pixel", "preprocess": "resize_and_crop", "load_size": 36, "crop_size": SIDE, "lr": 0.01}


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    for i in range(3):
        paint(tmp_path / "val" / "A" / f"{i}.png", 40, 44, i)
        paint(tmp_path / "val" / "B" / f"{i}.png", 48, 40, 50 + i)
    return tmp_path / "val"


def psnr(student: Path, teacher: Path, folder: Path) -> float:
    """The mean over the images, computed by scikit-image on the images that the networks give."""
    networks = [load_teacher(student, "train"), load_teacher(teacher)]
    values = []
    for file in sorted(folder.glob("*.png")):
        image = Image.open(file).convert("RGB").resize((36, 36), Image.Resampling.BICUBIC).crop((2, 2, 34, 34))
        tensor = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            pair = [(network(tensor)[0].permute(1, 2, 0).numpy() + 1) / 2 * 255 for network in networks]
        ours, theirs = (array.clip(0, 255).astype(np.uint8) for array in pair)
        values.append(peak_signal_noise_ratio(theirs, ours))
    return float(np.mean(values))


def train(cls: type, options: object, epochs: int, end: str) -> object:
    """Train for a few epochs, as the loop of a host does that sets the learning rate at the ``end`` or ``start``."""
    model = set_up(cls, options)
    for epoch in range(1, epochs + 1):
        if end == "start":
            model.update_learning_rate()
        for step in range(2):
            train_step(model, seed=10 * epoch + step)
        model.save_networks("latest")
        model.save_networks(epoch)
        if end == "end":
            model.update_learning_rate()
    return model


@pytest.mark.parametrize("end", ["end", "start"])
@pytest.mark.parametrize(("name", "direction"), [("pix2pix", "AtoB"), ("cycle_gan", "AtoB"), ("cycle_gan", "BtoA")])
def test_the_best_weights_are_those_of_the_epoch_of_highest_psnr(
    models: ModuleType,
    teachers: Path,
    held_out: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    direction: str,
    end: str,
) -> None:
    folder, nets = teachers.parent / "student", {"pix2pix": ["G"], "cycle_gan": ["G_A", "G_B"]}[name]
    images = held_out / "A" if name == "pix2pix" else held_out
    options = distil_options(teachers, model=name, direction=direction, val_images=str(images), **OPTIONS)
    if direction == "BtoA":
        (teachers / "train_opt.txt").write_text("direction: BtoA\n")
    train(distilling(models.find_model_using_name(name)), options, 3, end)
    printed = capsys.readouterr().out
    for net in nets:
        side = "A" if name == "pix2pix" or net.endswith("A") == (direction == "AtoB") else "B"
        teacher = teachers / f"latest_net_{net}.pth"
        found = [psnr(folder / f"{epoch}_net_{net}.pth", teacher, held_out / side) for epoch in (1, 2, 3)]
        lines = re.findall(rf"validation of {net} after epoch (\d): ([\d.]+) dB .* epoch (\d)", printed)
        assert [(int(epoch), float(value)) for epoch, value, _ in lines] == [
            (i + 1, round(value, 2)) for i, value in enumerate(found)
        ]
        chosen = int(np.argmax(found)) + 1
        assert int(lines[-1][2]) == chosen
        best = torch.load(folder / f"best_net_{net}.pth", weights_only=True)
        kept = torch.load(folder / f"{chosen}_net_{net}.pth", weights_only=True)
        assert best.keys() == kept.keys() and all(torch.equal(value, kept[key]) for key, value in best.items())


@pytest.mark.parametrize("name", ["pix2pix", "cycle_gan"])
def test_a_training_is_unchanged(models: ModuleType, teachers: Path, held_out: Path, name: str) -> None:
    """With dropout, whose masks are drawn from the host's random numbers, and batch norm, which keeps statistics."""
    trained = []
    for images in ("", str(held_out if name == "cycle_gan" else held_out / "A")):
        more = {"norm": "batch", "no_dropout": False}
        options = distil_options(teachers, model=name, val_images=images, **OPTIONS, **more)
        model = train(distilling(models.find_model_using_name(name)), options, 2, "end")
        nets = [getattr(model, f"net{net}") for net in model.model_names]  # type: ignore[attr-defined]
        trained.append([*(value for net in nets for value in net.state_dict().values()), torch.get_rng_state()])
    assert all(torch.equal(a, b) for a, b in zip(*trained, strict=True))


def test_it_continues_where_it_was(models: ModuleType, teachers: Path, held_out: Path) -> None:
    """The history is part of the state; an epoch that was measured is not measured again."""
    cls = distilling(models.find_model_using_name("pix2pix"))
    options = distil_options(teachers, val_images=str(held_out / "A"), **OPTIONS)
    train(cls, options, 2, "end")
    folder = teachers.parent / "student"
    state = torch.load(folder / "latest_distill_state.pth", weights_only=True)["bests"]["G"]
    assert [epoch for epoch, _ in state["history"]] == [1, 2]
    options.continue_train, options.epoch_count = True, 3
    model = set_up(cls, options)
    model.update_learning_rate()
    assert model._run._validation.bests["G"].state_dict()["history"] == state["history"]
    train_step(model)
    model.update_learning_rate()
    assert [epoch for epoch, _ in model._run._validation.bests["G"].history] == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "place", "message"),
    [
        ("pix2pix", "nowhere", "no such folder"),
        ("pix2pix", "empty", "no images"),
        ("cycle_gan", "A", "needs the inputs of each in A/ and B/"),
    ],
)
def test_a_folder_without_images_is_refused_before_the_training(
    models: ModuleType, teachers: Path, held_out: Path, name: str, place: str, message: str
) -> None:
    (held_out / "empty").mkdir()
    options = distil_options(teachers, model=name, val_images=str(held_out / place), **OPTIONS)
    with pytest.raises(OptionError, match=rf"--val_images .*{message}"):
        set_up(distilling(models.find_model_using_name(name)), options)


def test_images_that_the_networks_do_not_take_are_refused(models: ModuleType, teachers: Path, held_out: Path) -> None:
    options = distil_options(teachers, val_images=str(held_out / "A"), **{**OPTIONS, "preprocess": "trim"})
    with pytest.raises(OptionError, match=r"--val_images .*unknown preprocessing 'trim'"):
        set_up(distilling(models.find_model_using_name("pix2pix")), options)
