"""Random crops of images that depend on a seed and a number alone."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.images import paint
from PIL import Image

from kd_plugin.compression.samples import Samples, load_batches, split_files
from kd_plugin.errors import ArgumentError
from kd_plugin.pictures import Preprocessing, find_images

CROP = Preprocessing("crop", crop_size=4)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for i in range(5):
        paint(tmp_path / f"{i}.png", 9, 7, i)
    return find_images(tmp_path)


def test_every_epoch_has_every_image_once_in_another_order(files: list[Path]) -> None:
    samples = Samples(files, CROP, seed=1)
    orders = [[samples.file(epoch * 5 + i) for i in range(5)] for epoch in range(4)]
    assert all(sorted(order) == files for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert [samples.file(5 + i) for i in range(5)] == orders[1]  # back in an earlier epoch
    assert orders != [[Samples(files, CROP, seed=2).file(epoch * 5 + i) for i in range(5)] for epoch in range(4)]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_continue_anywhere_with_any_number_of_workers(files: list[Path], workers: int) -> None:
    samples = Samples(files, CROP, seed=3)
    expected = torch.stack([samples[n] for n in range(12)])
    before = torch.get_rng_state()
    whole = torch.cat([*load_batches(samples, 0, 13, 3, workers)])  # the last is not complete
    continued = torch.cat([*load_batches(samples, 6, 12, 2, workers)])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(whole, expected)
    assert torch.equal(continued, expected[6:])


def test_crops_and_flips_are_uniform(tmp_path: Path) -> None:
    """Positions are read off an image of coordinates; counts are within 5 standard deviations of the binomial."""
    values = np.zeros((6, 5, 3), dtype=np.uint8)
    values[..., 0], values[..., 1] = np.indices((6, 5))
    Image.fromarray(values).save(tmp_path / "a.png")
    samples = Samples([tmp_path / "a.png"], Preprocessing("crop", crop_size=3), seed=0)
    count, found = 3000, Counter()
    for n in range(count):
        pixels = ((samples[n] + 1) * 127.5).round().int()
        rows, columns = pixels[0, :, 0].tolist(), pixels[1, 0].tolist()
        flipped = columns[0] > columns[-1]
        assert rows == [rows[0] + i for i in range(3)]
        assert columns == [min(columns) + i for i in range(3)][:: -1 if flipped else 1]
        found[rows[0], min(columns), flipped] += 1
    kinds = 4 * 3 * 2
    assert len(found) == kinds
    deviation = math.sqrt(count / kinds * (1 - 1 / kinds))
    assert all(abs(seen - count / kinds) < 5 * deviation for seen in found.values())


def test_a_sample_that_is_not_cropped_or_flipped_is_the_image_of_a_test(files: list[Path]) -> None:
    preprocessing = Preprocessing(crop_size=8)
    samples = Samples(files, preprocessing, seed=0, flip=False, channels=1)
    for n in range(5):
        image = preprocessing(Image.open(samples.file(n)).convert("RGB")).convert("L")
        expected = (torch.from_numpy(np.asarray(image).copy()).float() / 255 - 0.5) / 0.5  # as the hosts
        torch.testing.assert_close(samples[n][0], expected, rtol=0, atol=1.2e-7)  # a bit of float32 at 1


def test_images_to_train_on_are_cropped(files: list[Path]) -> None:
    with pytest.raises(ArgumentError, match="the preprocessing scale_width does not crop"):
        Samples(files, Preprocessing("scale_width"), seed=0)
    with pytest.raises(ArgumentError, match="there are no images to train on"):
        Samples([], CROP, seed=0)


class TestSplit:
    @staticmethod
    def names(count: int) -> list[Path]:
        return [Path(f"photos/{i // 7}/{i}.jpg") for i in range(count)]

    def test_adding_images_moves_no_others(self) -> None:
        _, few = split_files(self.names(100), Path("photos"), 0.1)
        _, many = split_files(self.names(2000), Path("photos"), 0.1)
        assert set(few) == set(many) & set(self.names(100))
        assert abs(len(many) - 200) < 5 * math.sqrt(2000 * 0.1 * 0.9)

    def test_it_depends_on_names_below_the_folder_alone(self) -> None:
        here = split_files(self.names(50), Path("photos"), 0.3)[1]
        there = split_files([Path("/other") / file for file in self.names(50)], Path("/other/photos"), 0.3)[1]
        assert [Path("/other") / file for file in here] == there

    @pytest.mark.parametrize("share", [0.0001, 0.9999])
    def test_both_sides_have_an_image(self, share: float) -> None:
        training, held = split_files(self.names(3), Path("photos"), share)
        assert sorted(training + held) == sorted(self.names(3))
        assert training and held

    def test_no_share_is_no_image(self) -> None:
        assert split_files(self.names(3), Path("photos"), 0) == (self.names(3), [])
        assert split_files(self.names(1), Path("photos"), 0.0001) == (self.names(1), [])
        with pytest.raises(ArgumentError, match="a share of 1 of the images"):
            split_files(self.names(3), Path("photos"), 1)
