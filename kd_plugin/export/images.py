"""Images on which an exported file is compared with its network, or calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..errors import KDError
from ..networks.translator import to_tensor
from ..pictures import UnusableImageError, as_array, find_images, open_image


def read_images(folder: Path, count: int) -> tuple[list[Image.Image], int]:
    """Return images of a folder in RGB, evenly spaced over it, and the number of those that cannot be read.

    Args:
        folder: with images of any size, in any subfolders.
        count: the largest number of images.

    Raises:
        KDError: If there are none, or none can be read.
    """
    files = find_images(folder)
    images, reason = [], ""
    for number in np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int):
        try:
            images.append(open_image(files[number]))
        except UnusableImageError as error:
            reason = reason or f"{files[number]}: {error}"
    if not images:
        raise KDError(f"no image can be used: {reason}")
    return images, min(count, len(files)) - len(images)


def draw_images(count: int, side: int = 256) -> list[Image.Image]:
    """Return random images with the spectrum of photographs: amplitudes that fall with the frequency.

    Args:
        count: number of images.
        side: of each in pixels.
    """
    generator = np.random.default_rng(0)
    rows, columns = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / side)
    mixing = np.array([[1.0, 0.2, 0.1], [1.0, 0.0, -0.1], [1.0, -0.2, 0.1]])  # of brightness and two colours
    images = []
    for _ in range(count):
        planes = []
        for _ in range(3):
            phases = np.exp(2j * np.pi * generator.random(amplitude.shape))
            plane = np.fft.irfft2(amplitude * phases, s=(side, side))
            planes.append(plane / plane.std())
        values = np.stack(planes, axis=-1) @ mixing.T  # (side, side, 3)
        images.append(Image.fromarray((128 + 50 * values).clip(0, 255).astype(np.uint8)))
    return images


def batch_of(images: Sequence[Image.Image], height: int, width: int, channels: int, frames: bool) -> torch.Tensor:
    """Return images at a size as a batch: uint8 (B, H, W, C), or float32 (B, C, H, W) in [-1, 1].

    Args:
        images: in RGB.
        height, width: in pixels.
        channels: 3, or 1 for grey.
        frames: whether to return 8-bit images.
    """
    resized = [image.resize((width, height), Image.Resampling.BICUBIC) for image in images]
    arrays = [as_array(image, channels) for image in resized]
    return torch.from_numpy(np.stack(arrays)) if frames else to_tensor(arrays)
