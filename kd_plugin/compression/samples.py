"""The images of a training without a host: random crops and flips that depend on a seed and a number alone.

A training that continues at sample *n* therefore sees the same images as one that was not interrupted, whatever the
batch size and the number of workers, and leaves the global RNG states unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ..errors import ArgumentError, KDError
from ..pictures import Preprocessing, UnusableImageError, as_array, open_image
from ..processes import process_count, process_rank
from ..report.inputs import Item

_STEP, _ORDER = 0, 1  # streams of random numbers
_MOST_UNUSABLE = 0.01  # share of the images


class Samples(Dataset[dict[str, torch.Tensor]]):
    """An endless sequence of random crops of images; every image occurs once in each epoch.

    ``samples[n]`` has the same crop of all images of an item, (C, S, S), float32 in [-1, 1], with S the size of the
    crop: the ``"input"``; its ``"truth"``, and finished images by the key of their subject, if the item has them; and
    ``"unusable"``, the number of the item if its images cannot be used, else -1. The next usable item then takes its
    place.

    Args:
        items: the images.
        preprocessing: how they are resized and cropped; it must crop, so that all samples have one size.
        seed: of order, crops and flips.
        flip: whether half of the samples are flipped horizontally.
        crop: whether crops are at random positions, or central.
        channels: of the input: 3, or 1 for grey.
        out_channels: of all other images.

    Raises:
        ArgumentError: If there are no images, or they are not cropped.
    """

    def __init__(
        self,
        items: Sequence[Item],
        preprocessing: Preprocessing,
        seed: int,
        flip: bool = True,
        crop: bool = True,
        channels: int = 3,
        out_channels: int = 3,
    ) -> None:
        if not items:
            raise ArgumentError("there are no images to train on")
        if not preprocessing.crops:
            raise ArgumentError(
                f"the preprocessing {preprocessing.preprocess} does not crop, so that images differ in size: use "
                "resize_and_crop, crop or scale_width_and_crop"
            )
        self.items, self._preprocessing = list(items), preprocessing
        self._seed, self._flip, self._crop = seed, flip, crop
        self._channels, self._out_channels = channels, out_channels
        self._order = (-1, np.empty(0, dtype=int))  # of the last epoch that was asked for

    @property
    def epoch_length(self) -> int:
        """The number of samples of an epoch."""
        return len(self.items)

    def place(self, number: int) -> int:
        """Return the number of the item of a sample."""
        epoch, place = divmod(number, len(self.items))
        if self._order[0] != epoch:
            generator = np.random.default_rng([self._seed, _ORDER, epoch])
            self._order = epoch, generator.permutation(len(self.items))
        return int(self._order[1][place])

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Return a sample.

        Raises:
            KDError: If no item can be used.
        """
        first = self.place(number)
        reason = ""
        for step in range(len(self.items)):
            item = self.items[(first + step) % len(self.items)]
            try:
                images = self._draw(item, np.random.default_rng([self._seed, _STEP, number]))
            except UnusableImageError as error:
                reason = reason or f"{item.file}: {error}"
                continue
            return {**images, "unusable": torch.tensor(first if step else -1)}
        raise KDError(f"none of the {len(self.items)} images can be used: {reason}")

    def problem(self, number: int) -> str:
        """Return why an item, given its number, cannot be used; "" if it can."""
        try:
            self._draw(self.items[number], np.random.default_rng(0))
        except UnusableImageError as error:
            return str(error)
        return ""

    def _draw(self, item: Item, generator: np.random.Generator) -> dict[str, torch.Tensor]:
        opened = {"input": open_image(item.file, item.half)}
        if item.truth:
            opened["truth"] = open_image(item.truth, item.truth_half)
        opened |= {key: open_image(file) for key, file in item.finished.items()}
        images = {key: self._preprocessing.resize(image) for key, image in opened.items()}
        size, crop = images["input"].size, self._preprocessing.crop_size
        for key, image in images.items():
            if image.size != size:
                raise UnusableImageError(
                    f"its {key} has {image.size[0]}x{image.size[1]} pixels, the input {size[0]}x{size[1]}"
                )
        left, top = (int(generator.integers(side - crop + 1)) if self._crop else (side - crop) // 2 for side in size)
        flip = self._flip and generator.random() < 0.5
        drawn = {}
        for key, image in images.items():
            image = self._preprocessing.crop(image, left, top)
            if flip:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            array = as_array(image, self._channels if key == "input" else self._out_channels).transpose(2, 0, 1)
            drawn[key] = torch.from_numpy(array.astype(np.float32) / 127.5 - 1)
        return drawn


@dataclass(frozen=True)
class _Failure:
    """The message of an error, which a process that loads images would wrap into a long one."""

    message: str


class _Joined(Dataset[Any]):
    """The samples of several sequences with the same number; the names of all but the first are prefixed."""

    def __init__(self, samples: Samples, others: Mapping[str, Samples]) -> None:
        self._samples, self._others = samples, others

    def __getitem__(self, number: int) -> dict[str, torch.Tensor] | _Failure:
        try:
            more = {
                f"{name}.{key}": value for name, other in self._others.items() for key, value in other[number].items()
            }
            return {**self._samples[number], **more}
        except KDError as error:
            return _Failure(str(error))


def _collate(samples: list[Any]) -> Any:
    failed = next((sample for sample in samples if isinstance(sample, _Failure)), None)
    return failed or default_collate(samples)


class _Numbers(Sampler[int]):
    """The numbers of the samples of this process, of all processes' in turn."""

    def __init__(self, start: int, stop: int) -> None:
        self._start, self._stop = start, stop

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._start + process_rank(), self._stop, process_count()))


def load_batches(
    samples: Samples,
    start: int,
    stop: int,
    batch: int,
    workers: int,
    others: Mapping[str, Samples] | None = None,
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the batches, (B, C, S, S) each, of the samples from ``start`` to ``stop - 1``, in order.

    On several processes each gets its part of them, as of a ``DistributedSampler``: the same number of batches, whose
    images are together those of a process with their number times as large a batch.

    Args:
        samples: the sequence.
        start, stop: numbers of samples; a last incomplete batch is left out.
        batch: number of samples in a batch of this process.
        workers: number of processes that load them; 0 for none.
        others: further sequences by name, such as real images: ``"real.input"`` is in the batch.

    Raises:
        KDError: If no image of a sequence can be used.
    """
    # The loader would draw a seed for its workers from the global RNG.
    generator = torch.Generator().manual_seed(0)
    whole = batch * process_count()
    stop = start + (stop - start) // whole * whole
    loader = DataLoader(
        _Joined(samples, others or {}),
        batch,
        sampler=_Numbers(start, stop),
        num_workers=workers,
        collate_fn=_collate,
        drop_last=True,
        generator=generator,
    )
    for loaded in loader:
        if isinstance(loaded, _Failure):
            raise KDError(loaded.message)
        yield loaded


def split_items(items: Sequence[Item], share: float) -> tuple[list[Item], list[Item]]:
    """Divide images into those to train on and those to validate with, which have the lowest hashes of their names.

    Adding an image moves at most one other. At least one image is on each side if there are two or more.

    Args:
        items: the images.
        share: share of the images to validate with, at least 0 and below 1.

    Raises:
        ArgumentError: If the share is not valid.
    """
    if not 0 <= share < 1:
        raise ArgumentError(f"a share of {share:g} of the images for validation: give at least 0 and below 1")
    if len(items) < 2:
        return list(items), []
    count = min(max(round(share * len(items)), 1), len(items) - 1) if share else 0
    held = set(sorted(range(len(items)), key=lambda number: _place(items[number].name))[:count])
    both = enumerate(items)
    return [item for i, item in both if i not in held], [items[i] for i in sorted(held)]


def _place(name: str) -> str:
    """Return a digest of a name, in hexadecimal."""
    return hashlib.sha256(name.encode()).hexdigest()


def check_unusable(names: Sequence[str], count: int, reason: str) -> None:
    """Raise a :class:`KDError` if more than one in a hundred images cannot be used.

    Args:
        names: of those.
        count: of all.
        reason: of one of them.
    """
    if len(names) > _MOST_UNUSABLE * count:
        raise KDError(
            f"{len(names)} of {count} images cannot be used, more than one in a hundred: {', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''} ({reason}): remove or convert them"
        )
