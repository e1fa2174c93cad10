"""Read folders of images as the hosts do: their names, their preprocessing, their data sets."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from .errors import ArgumentError, KDError, first_line, unknown_name

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp")  # as in the hosts, in any case
# A test of a host saves an image under the input's name and the name of the attribute.
_SUFFIXES = ("", "_fake_B", "_fake_A", "_fake", "_synthesized_image")

# Images that a test writes for every input: input, translation, ground truth, reconstruction, identity.
_VISUAL = re.compile(r"_(real|fake|rec|idt)(_[AB])?$")

Preprocess = Literal["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"]


class UnusableImageError(KDError):
    """An image cannot be used; the message says why, without its name."""


@dataclass(frozen=True)
class Preprocessing:
    """How images are resized and cropped before a generator, as by the hosts' options of the same names in a test.

    Crops are central, where a host that crops in a test chooses a random place.

    Attributes:
        preprocess: the steps.
        load_size: side of resized images, or width of scaled ones; None for ``crop_size``, as ``test.py``.
        crop_size: side of cropped images.

    Raises:
        ArgumentError: If a value is not valid.
    """

    preprocess: Preprocess = "resize_and_crop"
    load_size: int | None = None
    crop_size: int = 256

    def __post_init__(self) -> None:
        if self.preprocess not in get_args(Preprocess):
            raise ArgumentError(unknown_name("preprocessing", self.preprocess, get_args(Preprocess)))
        if self.crops and self.preprocess != "crop" and self._load_size < self.crop_size:
            raise ArgumentError(
                f"images of {self._load_size} pixels cannot be cropped to {self.crop_size}: load larger ones"
            )

    @property
    def _load_size(self) -> int:
        return self.load_size or self.crop_size

    def __str__(self) -> str:
        """Return a description for a reader."""
        sizes = {
            "resize_and_crop": f"resized to {self._load_size}x{self._load_size}",
            "scale_width": f"scaled to a width of {self._load_size}",
            "scale_width_and_crop": f"scaled to a width of {self._load_size}",
            "crop": "not resized",
            "none": "rounded to multiples of 4 pixels",
        }[self.preprocess]
        whole = self.preprocess == "resize_and_crop" and self._load_size == self.crop_size
        crop = "" if whole or not self.crops else f", centre {self.crop_size}x{self.crop_size}"
        return f"{self.preprocess}: {sizes}{crop}, bicubic"

    @property
    def crops(self) -> bool:
        """Whether images are cropped, so that all have the same size."""
        return "crop" in self.preprocess

    def __call__(self, image: Image.Image, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
        """Return the image as a generator receives it.

        Raises:
            UnusableImageError: If it is too small.
        """
        image = self.resize(image, resample)
        return self.crop(image, *((side - self.crop_size) // 2 for side in image.size)) if self.crops else image

    def resize(self, image: Image.Image, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
        """Return the image before the crop.

        Raises:
            UnusableImageError: If it is too small.
        """
        width, height = image.size
        if self.preprocess == "resize_and_crop":
            image = _resize(image, self._load_size, self._load_size, resample)
        elif self.preprocess.startswith("scale_width") and not (
            width == self._load_size and height >= self.crop_size
        ):
            scaled = int(max(self._load_size * height / width, self.crop_size))
            image = _resize(image, self._load_size, scaled, resample)
        elif self.preprocess == "none":
            image = _resize(image, round(width / 4) * 4, round(height / 4) * 4, resample)
        if self.crops and min(image.size) < self.crop_size:
            raise UnusableImageError(f"its {width}x{height} pixels are less than the crop of {self.crop_size}")
        return image

    def crop(self, image: Image.Image, left: int, top: int) -> Image.Image:
        """Return the crop of a resized image at a position in pixels."""
        return image.crop((left, top, left + self.crop_size, top + self.crop_size))


def _resize(image: Image.Image, width: int, height: int, resample: Image.Resampling) -> Image.Image:
    if min(width, height) < 1:
        raise UnusableImageError(f"its {image.size[0]}x{image.size[1]} pixels are too few")
    return image if image.size == (width, height) else image.resize((width, height), resample)


def find_images(folder: Path) -> list[Path]:
    """Return the images below a folder, in order of their paths; links to folders are followed.

    Raises:
        KDError: If it is not a folder, or has no images.
    """
    if not folder.is_dir():
        raise KDError(f"{folder}: no such folder" if not folder.exists() else f"{folder}: is not a folder")
    files, seen = [], {folder.resolve()}
    for place, folders, names in os.walk(folder, followlinks=True):
        files += [Path(place, name) for name in names if _is_image(name)]
        entered = []
        for name in sorted(folders):
            real = Path(place, name).resolve()
            if real not in seen:  # a link may lead to a folder that was seen, or around in a circle
                seen.add(real)
                entered.append(name)
        folders[:] = entered
    files.sort()
    if not files:
        raise KDError(f"{folder}: no images ({', '.join(EXTENSIONS)}) in this folder or below it")
    return files


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def open_image(file: Path, half: Literal["", "A", "B"] = "") -> Image.Image:
    """Return an image in RGB; ``half`` selects one side of a pair A|B, as in the hosts' aligned data sets.

    Raises:
        UnusableImageError: If the file cannot be read, or has one channel of more than 8 bits, which a conversion
            would clip to white.
    """
    image = _read(file)
    if image.mode.startswith(("I", "F")):
        raise UnusableImageError(f"its mode {image.mode} has more than 8 bits per pixel: convert it to 8 bits")
    image = image.convert("RGB")
    if not half:
        return image
    width, height = image.size
    middle = width // 2
    if not middle:
        raise UnusableImageError(f"its {width}x{height} pixels are not a pair A|B")
    return image.crop((0, 0, middle, height) if half == "A" else (middle, 0, width, height))


def open_labels(file: Path) -> Image.Image:
    """Return a label map, whose 8-bit values (indices of the palette, if any) are classes, and 255 is ignored.

    Raises:
        UnusableImageError: If the file cannot be read, or has colours.
    """
    image = _read(file)
    if image.mode not in ("L", "P"):
        raise UnusableImageError(f"its mode is {image.mode}, a label map has 8-bit values (L) or a palette (P)")
    return Image.fromarray(np.asarray(image))


def _read(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise UnusableImageError("no such file") from None
    except Exception as error:  # damaged files may raise anything
        raise UnusableImageError(f"it cannot be read ({first_line(error, 120)})") from error


def as_array(image: Image.Image, channels: int = 3) -> np.ndarray:
    """Return an RGB image as uint8 (H, W, channels), grey for one channel.

    Raises:
        ArgumentError: If there is no conversion to that number of channels.
    """
    if channels not in (1, 3):
        raise ArgumentError(f"a generator of {channels} channels takes no image files: expected 1 or 3")
    array = np.asarray(image.convert("L") if channels == 1 else image)
    return array.reshape(*array.shape[:2], channels)


def digest_of(array: np.ndarray) -> str:
    """Return the SHA-256 of an image's pixels and shape, in hexadecimal."""
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


def digest_of_files(files: Iterable[Path], folder: Path) -> str:
    """Return the SHA-256 of the names of files in a folder and their sizes in bytes, in hexadecimal."""
    listed = sorted((file.relative_to(folder).as_posix(), file.stat().st_size) for file in files)
    return hashlib.sha256(repr(listed).encode()).hexdigest()


def match_images(names: Sequence[str], folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Find the image of each name in a folder, whatever its extension, or as a host's ``test.py`` names results.

    Args:
        names: names without extension, relative to the folder of the inputs, with ``/`` between their parts.
        folder: the folder.

    Returns:
        The file of each name that has one, and the files of no name.

    Raises:
        KDError: If the folder has no images, or one of them belongs to several names.
    """
    by_name = {name_of(file, folder): file for file in find_images(folder)}
    found: dict[str, Path] = {}
    owners: dict[Path, str] = {}
    for name in names:
        flat = name.rpartition("/")[2]  # hosts save the results of all subfolders in one
        for candidate in (f"{stem}{suffix}" for suffix in _SUFFIXES for stem in dict.fromkeys((name, flat))):
            if candidate in by_name:
                file = by_name[candidate]
                if file in owners:
                    raise KDError(
                        f"{file}: belongs to the inputs {owners[file]} and {name}: keep the inputs' folders, so that "
                        "each has its own"
                    )
                found[name], owners[file] = file, name
                break
    used = set(found.values())
    known = {name.rpartition("/")[2] for name in names}
    unused = [file for file in by_name.values() if file not in used]
    return found, [file for file in unused if _VISUAL.sub("", file.stem) not in known]


def name_of(file: Path, folder: Path) -> str:
    """Return the name of an image in a folder, without extension, with ``/`` between its parts."""
    return file.relative_to(folder).with_suffix("").as_posix()


def data_set(root: Path, phase: str = "test") -> Mapping[str, Path]:
    """Return the folders of a host's data set by role: ``"AB"`` of pairs, or ``"A"`` and ``"B"``.

    Raises:
        KDError: If it is neither an aligned nor an unaligned data set.
    """
    if (root / phase).is_dir():
        return {"AB": root / phase}
    sides = {side: root / f"{phase}{side}" for side in "AB"}
    if all(folder.is_dir() for folder in sides.values()):
        return sides
    raise KDError(
        f"{root}: not a data set of the hosts: expected {phase}/ with pairs A|B, or {phase}A/ and {phase}B/"
    )
