"""The measurement on held-out images, and the choice of the weights."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.images import paint
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from torch import nn

from kd_plugin import GeneratorSpec
from kd_plugin.compression.outputs import checkpoint
from kd_plugin.compression.selection import Candidate, select
from kd_plugin.compression.validation import Best, HeldOut, translator_of
from kd_plugin.errors import KDError
from kd_plugin.networks.checkpoint import save_weights
from kd_plugin.networks.generator import build_generator
from kd_plugin.networks.translator import ModuleTranslator
from kd_plugin.pictures import Preprocessing
from kd_plugin.report.inputs import Item
from kd_plugin.report.measures.quality import MOST_PSNR
from kd_plugin.report.store import Store

SPEC = GeneratorSpec("resnet", 3, 3, 4, 1, "batch", True, False)
CROP = Preprocessing("crop", crop_size=16)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_generator(SPEC)


TEACHER = network(0).requires_grad_(False).eval()


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    for i in range(4):
        paint(tmp_path / f"{i}.png", 24, 20, i)
    return [Item(f"{i}.png", tmp_path / f"{i}.png") for i in range(4)]


def held_out(items: list[Item]) -> HeldOut:
    return HeldOut(items, CROP, lambda images: TEACHER(images))


def saved(network: nn.Module, item: Item, train: bool = False) -> np.ndarray:
    """The image that a host's test saves."""
    image = Image.open(item.file).convert("RGB").crop((4, 2, 20, 18))
    tensor = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        output = copy.deepcopy(network).train(train)(tensor)[0].permute(1, 2, 0)
    return ((output.numpy() + 1) / 2 * 255).clip(0, 255).astype(np.uint8)


def test_the_psnr_is_that_of_scikit_image_on_the_images_as_saved(items: list[Item]) -> None:
    student = network(1)
    values = [peak_signal_noise_ratio(saved(TEACHER, item), saved(student, item)) for item in items]
    assert held_out(items).psnr(translator_of(student, mode="eval")) == pytest.approx(np.mean(values), abs=1e-6)


def test_an_equal_network_has_the_highest_value(items: list[Item]) -> None:
    assert held_out(items).psnr(translator_of(TEACHER, mode="eval")) == MOST_PSNR


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_measurement_changes_nothing(items: list[Item], mode: str) -> None:
    """With dropout and batch norm in the mode of a test without running statistics, too."""
    student, measured = network(1).train(), held_out(items)
    before = [value.clone() for value in student.state_dict().values()]
    numbers = torch.get_rng_state()
    first = measured.psnr(translator_of(student, mode=mode))  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), numbers)
    torch.manual_seed(5)
    assert measured.psnr(translator_of(student, mode=mode)) == first  # type: ignore[arg-type]
    assert student.training and all(p.requires_grad for p in student.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, student.state_dict().values(), strict=True))


def test_images_that_cannot_be_used_are_left_out(items: list[Item]) -> None:
    whole = held_out(items[1:]).psnr(translator_of(network(1)))
    items[0].file.write_bytes(b"")
    measured = held_out(items)
    assert [item.name for item in measured.items] == ["1.png", "2.png", "3.png"]
    assert measured.psnr(translator_of(network(1))) == whole
    for item in items:
        item.file.write_bytes(b"")
    with pytest.raises(KDError, match=r"none of the 4 images for validation can be used: .*0.png"):
        held_out(items)


def test_the_best_is_the_highest_and_is_kept(tmp_path: Path) -> None:
    best, trained = Best(), network(1)
    kept = {}
    for step, psnr in ((1, 20.0), (2, 25.0), (3, 24.0), (4, 25.0)):
        with torch.no_grad():
            next(trained.parameters()).add_(1)
        if best.add(step, psnr, trained):
            kept = copy.deepcopy(trained.state_dict())
    assert (best.step, best.psnr) == (2, 25.0)
    assert best.over_images(4) == [(4.0, 20.0), (8.0, 25.0), (12.0, 24.0), (16.0, 25.0)]
    torch.save(best.state_dict(), tmp_path / "state.pth")
    again = Best()
    again.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    assert (again.step, again.psnr, again.history) == (best.step, best.psnr, best.history)
    assert again.weights.keys() == kept.keys()
    assert all(torch.equal(value, kept[key]) for key, value in again.weights.items())


def test_the_weights_of_highest_psnr_are_chosen(items: list[Item], tmp_path: Path) -> None:
    """The nearer to the teacher, the higher; every measure has an interval."""
    trained, students = network(1), {}
    for name, shares in {"a": (0.1, 0.9, 0.5), "b": (0.9, 0.2, 0.3)}.items():
        (tmp_path / name).mkdir()
        for epoch, share in zip(("last", "best", "ema"), shares, strict=True):
            mixed = {
                key: torch.lerp(value, TEACHER.state_dict()[key], share) if value.is_floating_point() else value
                for key, value in trained.state_dict().items()
            }
            save_weights(mixed, checkpoint(tmp_path / name, epoch))
        students[name] = Candidate(name, tmp_path / name, trained)
    teacher = ModuleTranslator(copy.deepcopy(TEACHER), "", "teacher", mode="eval")
    steps = {name: {"last": 9, "best": 4, "ema": 9} for name in students}
    with Store(tmp_path / "results.db") as store:
        found = select([*students.values()], teacher, items, CROP, store, steps, mode="eval")
    assert {name: selection.chosen for name, selection in found.items()} == {"a": "best", "b": "last"}
    assert "best (step 4) has the highest PSNR to the teacher on 4 held-out images" in found["a"].why
    for name, selection in found.items():
        for epoch, measures in selection.measures.items():
            network_of = network(1)
            network_of.load_state_dict(torch.load(checkpoint(tmp_path / name, epoch), weights_only=True))
            values = [peak_signal_noise_ratio(saved(TEACHER, item), saved(network_of, item)) for item in items]
            # The report divides by 255 in float32: 6e-8 of a value, in a squared difference of some 1e-3.
            assert measures["PSNR"].value == pytest.approx(np.mean(values), abs=1e-3)
            assert measures.keys() == {
                "PSNR", "SSIM", "L1", *("LL3", "LH3", "HL3", "HH3", "LH2", "HL2", "HH2", "LH1", "HL1", "HH1")
            }  # fmt: skip
            assert all(value.low <= value.value <= value.high for value in measures.values())
