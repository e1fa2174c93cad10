"""The images of a training without a host: random crops and flips that depend on a seed and a number alone.

A training that continues at sample *n* therefore sees the same images as one that was not interrupted, whatever the
batch size and the number of workers, and leaves the global RNG states unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from ..errors import ArgumentError
from ..pictures import Preprocessing, as_array, name_of, open_image

_STEP, _ORDER = 0, 1  # streams of random numbers


class Samples(Dataset[torch.Tensor]):
    """An endless sequence of random crops of images; every image occurs once in each epoch.

    ``samples[n]`` is (C, S, S), float32 in [-1, 1], with S the size of the crop.

    Args:
        files: the images.
        preprocessing: how they are resized and cropped; it must crop, so that all samples have one size.
        seed: of order, crops and flips.
        flip: whether half of the samples are flipped horizontally.
        channels: 3, or 1 for grey.

    Raises:
        ArgumentError: If there are no images, or they are not cropped.
    """

    def __init__(
        self, files: Sequence[Path], preprocessing: Preprocessing, seed: int, flip: bool = True, channels: int = 3
    ) -> None:
        if not files:
            raise ArgumentError("there are no images to train on")
        if not preprocessing.crops:
            raise ArgumentError(
                f"the preprocessing {preprocessing.preprocess} does not crop, so that images differ in size: use "
                "resize_and_crop, crop or scale_width_and_crop"
            )
        self._files, self._preprocessing = list(files), preprocessing
        self._seed, self._flip, self._channels = seed, flip, channels
        self._order = (-1, np.empty(0, dtype=int))  # of the last epoch that was asked for

    @property
    def epoch_length(self) -> int:
        """The number of samples of an epoch."""
        return len(self._files)

    def file(self, number: int) -> Path:
        """Return the image of a sample."""
        epoch, place = divmod(number, len(self._files))
        if self._order[0] != epoch:
            generator = np.random.default_rng([self._seed, _ORDER, epoch])
            self._order = epoch, generator.permutation(len(self._files))
        return self._files[int(self._order[1][place])]

    def __getitem__(self, number: int) -> torch.Tensor:
        """Return a sample.

        Raises:
            UnusableImageError: If its image cannot be used.
        """
        generator = np.random.default_rng([self._seed, _STEP, number])
        image = self._preprocessing.resize(open_image(self.file(number)))
        left, top = (int(generator.integers(side - self._preprocessing.crop_size + 1)) for side in image.size)
        image = self._preprocessing.crop(image, left, top)
        if self._flip and generator.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        array = as_array(image, self._channels).transpose(2, 0, 1)
        return torch.from_numpy(array.astype(np.float32) / 127.5 - 1)


def load_batches(samples: Samples, start: int, stop: int, batch: int, workers: int) -> Iterable[torch.Tensor]:
    """Return the batches (B, C, S, S) of the samples from ``start`` to ``stop - 1``, in order.

    Args:
        samples: the sequence.
        start, stop: numbers of samples; a last incomplete batch is left out.
        batch: number of samples in a batch.
        workers: number of processes that load them; 0 for none.
    """
    # The loader would draw a seed for its workers from the global RNG.
    generator = torch.Generator().manual_seed(0)
    numbers = range(start, stop)
    return DataLoader(
        samples, batch, sampler=numbers, num_workers=workers, drop_last=True, generator=generator, pin_memory=False
    )


def split_files(files: Sequence[Path], folder: Path, share: float) -> tuple[list[Path], list[Path]]:
    """Divide images into those to train on and those to validate with, by the hash of their names.

    Adding or removing images does not move others. At least one image is on each side if there are two or more.

    Args:
        files: images below ``folder``.
        folder: their names are relative to it.
        share: share of the images to validate with, at least 0 and below 1.

    Raises:
        ArgumentError: If the share is not valid.
    """
    if not 0 <= share < 1:
        raise ArgumentError(f"a share of {share:g} of the images for validation: give at least 0 and below 1")
    places = {file: _place(name_of(file, folder)) for file in files}
    held = [file for file in files if places[file] < share]
    if share and len(files) > 1 and len(held) in (0, len(files)):
        lowest, *_, highest = sorted(files, key=lambda file: places[file])
        held = [lowest] if not held else [file for file in files if file != highest]
    return [file for file in files if file not in set(held)], held


def _place(name: str) -> float:
    """Return a number in [0, 1) that depends on a name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48
