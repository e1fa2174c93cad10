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

from kd_plugin.compression.samples import Samples, load_batches, split_items
from kd_plugin.errors import ArgumentError, KDError
from kd_plugin.pictures import Preprocessing, find_images
from kd_plugin.report.inputs import Item

CROP = Preprocessing("crop", crop_size=4)


def items_in(folder: Path) -> list[Item]:
    return [Item(file.name, file) for file in find_images(folder)]


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    for i in range(5):
        paint(tmp_path / f"{i}.png", 9, 7, i)
    return items_in(tmp_path)


def test_every_epoch_has_every_image_once_in_another_order(items: list[Item]) -> None:
    samples = Samples(items, CROP, seed=1)
    orders = [[samples.place(epoch * 5 + i) for i in range(5)] for epoch in range(4)]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert [samples.place(5 + i) for i in range(5)] == orders[1]  # back in an earlier epoch
    assert orders != [[Samples(items, CROP, seed=2).place(epoch * 5 + i) for i in range(5)] for epoch in range(4)]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_continue_anywhere_with_any_number_of_workers(items: list[Item], workers: int) -> None:
    samples = Samples(items, CROP, seed=3)
    expected = torch.stack([samples[n]["input"] for n in range(12)])
    before = torch.get_rng_state()
    whole = torch.cat([b["input"] for b in load_batches(samples, 0, 13, 3, workers)])  # the last is not complete
    continued = torch.cat([b["input"] for b in load_batches(samples, 6, 12, 2, workers)])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(whole, expected)
    assert torch.equal(continued, expected[6:])


def test_crops_and_flips_are_uniform(tmp_path: Path) -> None:
    """Positions are read off an image of coordinates; counts are within 5 standard deviations of the binomial."""
    values = np.zeros((6, 5, 3), dtype=np.uint8)
    values[..., 0], values[..., 1] = np.indices((6, 5))
    Image.fromarray(values).save(tmp_path / "a.png")
    samples = Samples(items_in(tmp_path), Preprocessing("crop", crop_size=3), seed=0)
    count, found = 3000, Counter()
    for n in range(count):
        pixels = ((samples[n]["input"] + 1) * 127.5).round().int()
        rows, columns = pixels[0, :, 0].tolist(), pixels[1, 0].tolist()
        flipped = columns[0] > columns[-1]
        assert rows == [rows[0] + i for i in range(3)]
        assert columns == [min(columns) + i for i in range(3)][:: -1 if flipped else 1]
        found[rows[0], min(columns), flipped] += 1
    kinds = 4 * 3 * 2
    assert len(found) == kinds
    deviation = math.sqrt(count / kinds * (1 - 1 / kinds))
    assert all(abs(seen - count / kinds) < 5 * deviation for seen in found.values())


def test_a_sample_that_is_not_cropped_or_flipped_is_the_image_of_a_test(items: list[Item]) -> None:
    preprocessing = Preprocessing(crop_size=8)
    samples = Samples(items, preprocessing, seed=0, flip=False, channels=1)
    for n in range(5):
        image = preprocessing(Image.open(items[samples.place(n)].file).convert("RGB")).convert("L")
        expected = (torch.from_numpy(np.asarray(image).copy()).float() / 255 - 0.5) / 0.5  # as the hosts
        torch.testing.assert_close(samples[n]["input"][0], expected, rtol=0, atol=1.2e-7)  # a bit of float32 at 1


def test_images_to_train_on_are_cropped(items: list[Item]) -> None:
    with pytest.raises(ArgumentError, match="the preprocessing scale_width does not crop"):
        Samples(items, Preprocessing("scale_width"), seed=0)
    with pytest.raises(ArgumentError, match="there are no images to train on"):
        Samples([], CROP, seed=0)


class TestSeveralImages:
    """An input with its ground truth and finished images: the same crop and flip of all."""

    @pytest.fixture
    def pairs(self, tmp_path: Path) -> list[Item]:
        for i in range(3):
            paint(tmp_path / "inputs" / f"{i}.png", 12, 9, i)
            image = Image.open(tmp_path / "inputs" / f"{i}.png")
            inverted = Image.fromarray(255 - np.asarray(image))
            joined = Image.new("RGB", (24, 9))
            joined.paste(image, (0, 0))
            joined.paste(inverted, (12, 0))
            (tmp_path / "pairs").mkdir(exist_ok=True)
            joined.save(tmp_path / "pairs" / f"{i}.png")
        files = find_images(tmp_path / "pairs")
        inputs = find_images(tmp_path / "inputs")
        return [
            Item(file.name, file, "A", file, "B", {"teacher": same}, whole=["teacher"])
            for file, same in zip(files, inputs, strict=True)
        ]

    @pytest.mark.parametrize(
        "preprocessing", [CROP, Preprocessing("resize_and_crop", 8, 4), Preprocessing("scale_width_and_crop", 16, 4)]
    )
    def test_they_are_cropped_and_flipped_alike(self, pairs: list[Item], preprocessing: Preprocessing) -> None:
        samples = Samples(pairs, preprocessing, seed=0)
        seen = set()
        for n in range(12):
            sample = samples[n]
            assert torch.equal(sample["input"], sample["teacher"])
            torch.testing.assert_close(sample["truth"], -sample["input"], rtol=0, atol=2.1 / 127.5)  # two roundings
            seen.add(tuple(sample["input"].flatten().tolist()))
        assert len(seen) > 3

    def test_another_size_of_a_finished_image_cannot_be_cropped_alike(
        self, pairs: list[Item], tmp_path: Path
    ) -> None:
        paint(tmp_path / "inputs" / "1.png", 13, 9, 1)
        samples = Samples(pairs, CROP, seed=0)
        found = {samples.place(n): int(samples[n]["unusable"]) for n in range(3)}
        assert found == {0: -1, 1: 1, 2: -1}
        resized = Samples(pairs, Preprocessing("resize_and_crop", 8, 4), seed=0)
        assert all(resized[n]["unusable"] == -1 for n in range(3))


def test_the_next_image_takes_the_place_of_one_that_cannot_be_read(items: list[Item]) -> None:
    whole = Samples(items, CROP, seed=5, flip=False, crop=False)
    pixels = {whole.place(n): whole[n]["input"] for n in range(5)}
    for bad in (4, 0):
        items[bad].file.write_bytes(items[bad].file.read_bytes()[:60])
    samples = Samples(items, CROP, seed=5, flip=False, crop=False)
    for n in range(5):
        place = samples.place(n)
        sample = samples[n]
        assert torch.equal(
            sample["input"], pixels[{4: 1, 0: 1}.get(place, place)]
        )  # the next of 4 is 0, which is bad
        assert sample["unusable"] == (place if place in (4, 0) else -1)
    for item in items:
        item.file.write_bytes(b"")
    with pytest.raises(KDError, match=r"none of the 5 images can be used: .*cannot be read"):
        samples[0]


def test_further_sequences_are_in_the_batches(items: list[Item]) -> None:
    samples, real = Samples(items, CROP, seed=0), Samples(items[:2], CROP, seed=1)
    batches = list(load_batches(samples, 2, 8, 3, 0, {"real": real}))
    numbers = [[2, 3, 4], [5, 6, 7]]
    for batch, of in zip(batches, numbers, strict=True):
        assert torch.equal(batch["input"], torch.stack([samples[n]["input"] for n in of]))
        assert torch.equal(batch["real.input"], torch.stack([real[n]["input"] for n in of]))


class TestSplit:
    @staticmethod
    def items(count: int, folder: str = "photos") -> list[Item]:
        names = [f"{i // 7}/{i}.jpg" for i in range(count)]
        return [Item(name, Path(folder, name)) for name in names]

    @staticmethod
    def held_out(items: list[Item], share: float) -> list[str]:
        return [item.name for item in split_items(items, share)[1]]

    @pytest.mark.parametrize("count, share, held", [(40, 0.1, 4), (2000, 0.1, 200), (7, 0.5, 4), (3, 0.1, 1)])
    def test_it_is_the_share(self, count: int, share: float, held: int) -> None:
        assert len(self.held_out(self.items(count), share)) == held

    def test_adding_an_image_moves_at_most_one(self) -> None:
        before: set[str] = set()
        for count in range(2, 200):
            names = {item.name for item in self.items(count)}
            now = set(self.held_out(self.items(count), 0.1))
            new = names - {item.name for item in self.items(count - 1)}
            assert len((before ^ now) - new) <= 1
            before = now

    def test_it_depends_on_names_below_the_folder_alone(self) -> None:
        assert self.held_out(self.items(50), 0.3) == self.held_out(self.items(50, "/other/photos"), 0.3)

    @pytest.mark.parametrize("share", [0.0001, 0.9999])
    def test_both_sides_have_an_image(self, share: float) -> None:
        training, held = split_items(self.items(3), share)
        assert sorted(item.name for item in training + held) == sorted(item.name for item in self.items(3))
        assert training and held

    def test_the_only_image_is_trained_on(self) -> None:
        names = [f"n{number}.png" for number in range(60)]
        assert all(len(split_items([Item(name, Path(name))], 0.5)[0]) == 1 for name in names)

    def test_no_share_is_no_image(self) -> None:
        assert split_items(self.items(3), 0) == (self.items(3), [])
        assert split_items(self.items(1), 0.0001) == (self.items(1), [])
        with pytest.raises(ArgumentError, match="a share of 1 of the images"):
            split_items(self.items(3), 1)
