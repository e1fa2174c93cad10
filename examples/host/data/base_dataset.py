"""Base class of data sets: read, resize, crop and normalise images."""

import random
from abc import ABC, abstractmethod
from argparse import ArgumentParser, Namespace
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, get_worker_info

Size = tuple[int, int]  # width, height


def data_error(message: str) -> BaseException:
    """Return the exception to raise: SystemExit in the main process, RuntimeError in a worker."""
    return SystemExit(message) if get_worker_info() is None else RuntimeError(message)


class BaseDataset(Dataset[dict[str, Any]], ABC):
    """A data set defined by the options."""

    def __init__(self, opt: Namespace) -> None:
        self.opt = opt
        self.root: str = opt.dataroot
        resized = opt.preprocess in ("resize_and_crop", "scale_width_and_crop")
        if resized and opt.load_size < opt.crop_size:
            raise SystemExit(
                f"--load_size {opt.load_size} is smaller than --crop_size {opt.crop_size}:"
                f" give --load_size {opt.crop_size} or more, or a smaller --crop_size"
            )

    @staticmethod
    def modify_commandline_options(parser: ArgumentParser, is_train: bool) -> ArgumentParser:
        """Add the options of this data set and change defaults."""
        return parser

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the tensors (C, H, W) in [-1, 1] and the paths of one item."""

    def channels(self) -> tuple[int, int]:
        """Return the channels of A and B, which --direction BtoA swaps."""
        nc = (self.opt.input_nc, self.opt.output_nc)
        return nc if self.opt.direction == "AtoB" else nc[::-1]


class Params(NamedTuple):
    """Random parameters of an item, shared by the two images of a pair."""

    left: int
    top: int
    flip: bool


def open_image(path: str) -> Image.Image:
    """Read an image as RGB."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise data_error(f"cannot read the image {path} ({exc}): repair or remove it") from None


def resized(opt: Namespace, size: Size) -> Size:
    """Return the size of an image after resizing, before cropping."""
    width, height = size
    if opt.preprocess == "resize_and_crop":
        return opt.load_size, opt.load_size
    if opt.preprocess.startswith("scale_width"):
        return opt.load_size, max(round(opt.load_size * height / width), opt.crop_size)
    if opt.preprocess == "none":  # generators downsample by at least 4
        return max(4, round(width / 4) * 4), max(4, round(height / 4) * 4)
    return size


def get_params(opt: Namespace, size: Size) -> Params:
    """Draw the crop position and the flip for an image of this original size."""
    width, height = resized(opt, size)
    left = random.randint(0, max(0, width - opt.crop_size))
    top = random.randint(0, max(0, height - opt.crop_size))
    return Params(left, top, not opt.no_flip and random.random() < 0.5)


def to_tensor(image: Image.Image, opt: Namespace, params: Params, grayscale: bool, path: str) -> torch.Tensor:
    """Resize, crop and flip an image; return float32 (C, H, W) in [-1, 1], C = 1 if grayscale else 3."""
    if grayscale:
        image = image.convert("L")
    size = resized(opt, image.size)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    if "crop" in opt.preprocess:
        if min(image.size) < opt.crop_size:
            raise data_error(
                f"{path} is {image.width}x{image.height}, smaller than --crop_size {opt.crop_size}: give a"
                " smaller --crop_size, or --preprocess resize_and_crop"
            )
        left, top = params.left, params.top
        image = image.crop((left, top, left + opt.crop_size, top + opt.crop_size))
    if params.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    array = np.array(image, dtype=np.float32) / 127.5 - 1  # (H, W) or (H, W, 3)
    return torch.from_numpy(array[None] if grayscale else np.ascontiguousarray(array.transpose(2, 0, 1)))
