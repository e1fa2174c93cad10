"""The settings of ``kd compress``, what the teacher's training adds to them, and the images they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.images import paint
from PIL import Image

from kd_plugin.compression.data import find_data
from kd_plugin.compression.settings import CompressSettings
from kd_plugin.compression.teachers import Teacher, open_teacher
from kd_plugin.errors import ArgumentError, KDError
from kd_plugin.pictures import Preprocessing

TRAINED = {"preprocess": "crop", "load_size": "143", "crop_size": "128", "no_flip": "True", "gan_mode": "vanilla"}


def settings(**changes: Any) -> CompressSettings:
    return CompressSettings(**{"output": Path("out"), "images": Path("photos"), **changes})


class TestPreprocessing:
    @pytest.mark.parametrize(
        ("given", "trained", "wanted"),
        [
            ({}, {}, Preprocessing("resize_and_crop", 286, 256)),
            ({"size": 128}, {}, Preprocessing("resize_and_crop", 143, 128)),
            ({"size": 128, "load_size": 128}, {}, Preprocessing("resize_and_crop", 128, 128)),
            ({}, TRAINED, Preprocessing("crop", 143, 128)),
            ({"preprocess": "resize_and_crop", "size": 64}, TRAINED, Preprocessing("resize_and_crop", 143, 64)),
            ({"size": 256}, {**TRAINED, "preprocess": "resize_and_crop"}, Preprocessing("resize_and_crop", 286, 256)),
            ({}, {"preprocess": "none"}, Preprocessing("crop", 286, 256)),
            ({}, {"preprocess": "scale_width"}, Preprocessing("scale_width_and_crop", 286, 256)),
            ({}, {"preprocess": "trim", "crop_size": "all"}, Preprocessing("resize_and_crop", 286, 256)),
        ],
    )
    def test_it_is_that_of_the_teachers_training_unless_given(
        self, given: dict[str, Any], trained: dict[str, str], wanted: Preprocessing
    ) -> None:
        found, notes = settings(**given).preprocessing(trained)
        assert found == wanted
        assert bool(notes) == (trained.get("preprocess") in ("none", "scale_width"))

    def test_flips_and_the_adversarial_loss(self) -> None:
        assert settings().flips({}) and not settings().flips(TRAINED)
        assert not settings(flip=False).flips({})
        assert not settings(augment=False).flips({})
        assert (settings().gan({}), settings().gan(TRAINED)) == ("lsgan", "vanilla")
        assert settings(gan_mode="lsgan").gan(TRAINED) == "lsgan"


def test_the_length() -> None:
    assert settings().length(10) == 2000
    assert settings(epochs=3).length(10) == 30
    assert settings(steps=7).length(10) == 7
    assert settings(minutes=5).length(10) is None
    assert settings(minutes=5, steps=7).length(10) == 7
    assert settings(minutes=5, epochs=2).length(10) == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "name the inputs in one way"),
        ({"pairs": Path("pairs")}, "name the inputs in one way"),
        (
            {"images": None, "pairs": Path("p"), "teacher_images": Path("t")},
            "belong to a folder of inputs, not to pairs",
        ),
        ({"epochs": 1, "steps": 1}, "in epochs and in steps"),
        ({"minutes": 0}, "minutes 0: give a number above 0"),
        ({"minutes": float("inf")}, "minutes inf: give a number above 0"),
        ({"lr": -1.0}, "lr -1: give a number above 0"),
        ({"batch": 0}, "batch 0: give a number above 0"),
        ({"workers": -1}, "workers -1: give 0 or more"),
        ({"lambda_L1": float("nan")}, "lambda_L1 nan: give 0 or more"),
        ({"teacher_cache": Path("c")}, "without augmentation"),
        ({"teacher_cache": Path("c"), "augment": False, "teacher_mode": "train"}, "a network in eval mode"),
    ],
)
def test_what_has_no_meaning_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        settings(**changes)


def test_the_learning_rate_is_that_of_the_hosts_beside_a_discriminator_only() -> None:
    assert settings().learning_rate == settings(images=None, pairs=Path("pairs")).learning_rate == 0.002
    assert settings(real=Path("horses")).learning_rate == 0.0002
    assert settings(real=Path("horses"), lr=0.003).learning_rate == settings(lr=0.003).learning_rate == 0.003


class TestImages:
    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        for i in range(100):
            paint(tmp_path / "photos" / f"{i:03d}.png", 20, 18, i % 5)
        return tmp_path / "photos"

    @staticmethod
    def find(photos: Path, crop: int = 16, **changes: Any) -> Any:
        finished = changes.pop("teacher", None)
        teacher: Teacher = open_teacher(None, load=None, images=finished or photos)  # type: ignore[arg-type]
        chosen = settings(images=photos, **changes)
        return find_data(chosen, teacher, "AtoB", Preprocessing("crop", crop_size=crop))

    def test_a_tenth_is_held_out(self, photos: Path) -> None:
        data = self.find(photos)
        assert len(data.held_out) == 10
        names = [item.name for item in data.training + data.held_out]
        assert sorted(names) == [f"{i:03d}.png" for i in range(100)]
        assert [item.name for item in self.find(photos).held_out] == [item.name for item in data.held_out]
        assert self.find(photos, validation=0.0).held_out == []

    @pytest.mark.parametrize("kind", ["empty", "no image", "small", "16 bit"])
    def test_one_in_a_hundred_that_cannot_be_used_is_left_out(self, photos: Path, kind: str) -> None:
        def spoil(file: Path) -> None:
            if kind == "empty":
                file.write_bytes(b"")
            elif kind == "no image":
                file.write_text("not an image")
            elif kind == "small":
                paint(file, 20, 15, 0)
            else:
                Image.fromarray(np.full((20, 20), 4000, np.uint16)).save(file)

        spoil(photos / "007.png")
        data = self.find(photos)
        (problem,) = (p for p in data.problems if p.fatal)
        assert problem.what.endswith("007.png") and problem.reason.endswith(": left out")
        assert len(data.training) + len(data.held_out) == 99
        spoil(photos / "008.png")
        with pytest.raises(KDError, match=r"2 of 100 images cannot be used, more than one in a hundred: .*007.png, "):
            self.find(photos)

    def test_grey_and_transparent_images_and_those_of_a_palette_are_used(self, photos: Path) -> None:
        for i, mode in enumerate(("L", "RGBA", "P", "1", "CMYK")):
            target = photos / f"{i:03d}.{'jpg' if mode == 'CMYK' else 'png'}"
            image = Image.open(photos / f"{i:03d}.png").convert(mode)
            (photos / f"{i:03d}.png").unlink()
            image.save(target)
        data = self.find(photos)
        assert len(data.training) + len(data.held_out) == 100 and not data.problems

    def test_inputs_without_a_finished_image_are_left_out(self, photos: Path, tmp_path: Path) -> None:
        for i in range(0, 100, 2):
            paint(tmp_path / "made" / f"{i:03d}.jpg", 20, 18, i)
        data = self.find(photos, teacher=tmp_path / "made")
        items = data.training + data.held_out
        assert sorted(item.name for item in items) == [f"{i:03d}.png" for i in range(0, 100, 2)]
        assert all(item.finished["teacher"].stem == item.file.stem for item in items)
