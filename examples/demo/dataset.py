"""The demo's data set: photographs from the scikit-image wheel, and degraded crops of them.

Pairs are in the host's aligned format, the input A on the left and the ground truth B on the right of one PNG. Whole
photographs are held out, so test crops do not overlap with training images. Nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from kd_plugin.errors import KDError

TRAIN_PHOTOGRAPHS = (
    "astronaut.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
TEST_PHOTOGRAPHS = ("chelsea.png", "coffee.png")

_PAPER = np.array([190.0, 175.0, 150.0])  # the tone that old prints fade towards


@dataclass(frozen=True)
class Task:
    """How pairs are created from photographs.

    Attributes:
        crop_size: side of the network input, in pixels.
        tile_size: side of the training tiles, from which the host takes random crops.
        tiles: number of training tiles per photograph.
        test_crops: number of test crops per held-out photograph, evenly spaced.
        blur: standard deviation of the Gaussian blur of the input, in pixels.
        contrast, saturation: factors applied to the input, 0 to 1.
        noise: standard deviation of the noise of the input, in grey levels of 255.
        detail: minimum standard deviation of a training tile, in grey levels; skips black sky.
    """

    crop_size: int = 64
    tile_size: int = 96
    tiles: int = 48
    test_crops: int = 24
    blur: float = 0.8
    contrast: float = 0.6
    saturation: float = 0.5
    noise: float = 2.0
    detail: float = 12.0


def photograph_folder() -> Path:
    """Return the folder of the photographs in the installed scikit-image, without importing it.

    Raises:
        KDError: scikit-image is not installed, or lacks the photographs.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise KDError('the demo needs the photographs in scikit-image: pip install "kd_plugin[demo]"')
    folder = Path(spec.origin).parent / "data"
    missing = [name for name in (*TRAIN_PHOTOGRAPHS, *TEST_PHOTOGRAPHS) if not (folder / name).is_file()]
    if missing:
        raise KDError(
            f"{folder} has no {', '.join(missing)}: install scikit-image from its wheel, "
            "pip install --force-reinstall --only-binary :all: scikit-image"
        )
    return folder


def degrade(image: np.ndarray, task: Task, generator: np.random.Generator) -> np.ndarray:
    """Degrade an image (H, W, 3) uint8 to look like an old print: blurred, faded, noisy; same shape and dtype."""
    soft = Image.fromarray(image).filter(ImageFilter.GaussianBlur(task.blur))
    pale: np.ndarray = np.asarray(ImageEnhance.Color(soft).enhance(task.saturation), dtype=np.float64)
    faded = _PAPER + (pale - _PAPER) * task.contrast
    grainy: np.ndarray = faded + generator.normal(0, task.noise, faded.shape)
    return grainy.round().clip(0, 255).astype(np.uint8)


def make_pairs(source: Path, folder: Path, task: Task, seed: int) -> dict[str, list[str]]:
    """Write the pairs to ``folder/train`` and ``folder/test``; return the file names by phase."""
    made: dict[str, list[str]] = {}
    for phase, names in (("train", TRAIN_PHOTOGRAPHS), ("test", TEST_PHOTOGRAPHS)):
        (folder / phase).mkdir(parents=True, exist_ok=True)
        made[phase] = []
        for number, name in enumerate(names):
            generator = np.random.default_rng([seed, phase == "test", number])
            with Image.open(source / name) as opened:
                photograph = np.asarray(opened.convert("RGB"))
            tiles = random_tiles(photograph, task, generator) if phase == "train" else even_crops(photograph, task)
            for index, tile in enumerate(tiles):
                pair = np.concatenate((degrade(tile, task, generator), tile), axis=1)  # (H, 2W, 3)
                file = f"{Path(name).stem}_{index:03d}.png"
                Image.fromarray(pair).save(folder / phase / file)
                made[phase].append(file)
    return made


def random_tiles(photograph: np.ndarray, task: Task, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield ``task.tiles`` tiles at random positions, without those of low contrast."""
    size, found = task.tile_size, 0
    height, width = photograph.shape[:2]
    while found < task.tiles:
        top, left = (int(generator.integers(0, side - size + 1)) for side in (height, width))
        tile = photograph[top : top + size, left : left + size]
        if tile.std(axis=(0, 1)).mean() >= task.detail:
            found += 1
            yield np.rot90(tile, int(generator.integers(4))).copy()


def even_crops(photograph: np.ndarray, task: Task) -> Iterator[np.ndarray]:
    """Yield ``task.test_crops`` crops, evenly spaced over the cells of a grid, without selection."""
    size = task.crop_size
    rows, columns = (side // size for side in photograph.shape[:2])
    for cell in np.linspace(0, rows * columns - 1, task.test_crops).round().astype(int):
        top, left = size * (int(cell) // columns), size * (int(cell) % columns)
        yield photograph[top : top + size, left : left + size]
