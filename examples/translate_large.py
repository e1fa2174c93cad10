"""Translate an image of any size above 8 pixels tile by tile, with ONNX Runtime, NumPy and Pillow alone.

    kd export stain_small --tiles --size 512 -o stain.onnx
    python translate_large.py stain.onnx slide.png translated.png

The statistics of the generator's norms are computed once, of parts that are spread over the image, or with
--thumbnail of a thumbnail. All tiles share them, and overlap by more than the generator sees: there are no seams.

An image larger than memory is an array uint8 (H, W, 3) in a file of NumPy, slide.npy, which is read and written in
parts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

Image.MAX_IMAGE_PIXELS = None  # large images are what this is for
SAMPLE = 16  # parts of which statistics are computed, at most


class TiledStudent:
    """An exported generator for tiles, from and to uint8 images (H, W, 3).

    Args:
        file: that of the tiles; the statistics' is next to it.
        tile: side of a tile, if the file takes any size.
        threads: number of threads; 0 for one per core.
    """

    def __init__(self, file: Path, tile: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._tiles = onnxruntime.InferenceSession(str(file), options)
        self._statistics = onnxruntime.InferenceSession(str(file.with_suffix(".statistics.onnx")), options)
        facts = self._tiles.get_modelmeta().custom_metadata_map
        self.margin, self.stride = int(facts.get("tile margin", 0)), int(facts.get("tile stride", 1))
        shape = self._tiles.get_inputs()[0].shape
        self.grey = shape[1] == 1
        self.height, self.width = (side if isinstance(side, int) else tile for side in shape[2:])

    def statistics(self, images: list[np.ndarray]) -> np.ndarray:
        """Return the statistics of images of one size, uint8 (H, W, C)."""
        return self._statistics.run(None, {"images": np.concatenate([to_values(image) for image in images])})[0]

    def translate(self, tile: np.ndarray, statistics: np.ndarray) -> np.ndarray:
        """Translate a tile, uint8 (H, W, C)."""
        output = self._tiles.run(None, {"images": to_values(tile), "statistics": statistics})[0][0]
        return ((output.transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).astype(np.uint8)


def to_values(image: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W, C) as float32 (1, C, H, W) in [-1, 1]."""
    return image.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1


def windows(length: int, tile: int, margin: int) -> Iterator[tuple[int, int, int]]:
    """Yield the start of each tile along a side, and the first and last pixel of it to keep."""
    start, first = 0, 0
    while True:
        last = length if start + tile >= length else start + tile - margin
        yield start, first, last
        if last == length:
            return
        first, start = last, min(last - margin, length - tile)


def tile_of(image: np.ndarray, top: int, left: int, student: TiledStudent) -> np.ndarray:
    """Return a tile; beyond the end of the image, its last row and column are repeated."""
    part = np.asarray(image[top : top + student.height, left : left + student.width])
    missing = student.height - part.shape[0], student.width - part.shape[1]
    return np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), "edge")


def sample(image: np.ndarray, student: TiledStudent) -> list[np.ndarray]:
    """Return the parts of an image, of about the size of a tile; of more than ``SAMPLE``, some spread evenly."""
    starts, sides = [], []
    for length, tile in zip(image.shape[:2], (student.height, student.width), strict=True):
        parts = -(-length // tile)
        side = length // parts // student.stride * student.stride
        chosen = np.linspace(0, parts - 1, min(parts, int(SAMPLE**0.5))).round()
        starts.append((chosen * length / parts).astype(int))
        sides.append(side)
    return [
        np.asarray(image[top : top + sides[0], left : left + sides[1]]) for top in starts[0] for left in starts[1]
    ]


def thumbnail(image: np.ndarray, student: TiledStudent) -> list[np.ndarray]:
    """Return an image at the size of a tile, or below."""
    step = max(1, -(-max(image.shape[:2]) // (4 * max(student.height, student.width))))  # of more pixels than needed
    small = Image.fromarray(np.asarray(image[::step, ::step]).squeeze())
    small.thumbnail((student.width, student.height), Image.Resampling.BICUBIC)
    array = np.asarray(small).reshape(small.height, small.width, -1)
    missing = (max(0, 2 * student.stride - side) for side in array.shape[:2])  # of a long strip
    array = np.pad(array, (*((0, more) for more in missing), (0, 0)), "edge")
    rows, columns = (side // student.stride * student.stride for side in array.shape[:2])
    return [array[:rows, :columns]]


def read(file: Path, grey: bool) -> np.ndarray:
    """Return an image, uint8 (H, W, C); that of a NumPy file stays on the disk."""
    if file.suffix == ".npy":
        return np.load(file, mmap_mode="r")
    with Image.open(file) as image:
        array = np.asarray(image.convert("L" if grey else "RGB"))
    return array[..., None] if grey else array


def main() -> int:
    """Translate an image; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="file of kd export --tiles")
    parser.add_argument("source", type=Path, help="image, or .npy")
    parser.add_argument("target", type=Path, help="the translated image, or .npy")
    parser.add_argument("--thumbnail", action="store_true", help="statistics of a thumbnail, not of parts")
    parser.add_argument("--tile", type=int, default=512, help="side of a tile, if the file takes any (default: 512)")
    parser.add_argument("--threads", type=int, default=0, help="number of threads (default: one per core)")
    options = parser.parse_args()
    for file in (options.model, options.model.with_suffix(".statistics.onnx"), options.source):
        if not file.is_file():
            parser.error(f"{file}: no such file")
    if options.target.suffix not in (".npy", *Image.registered_extensions()) or not options.target.parent.is_dir():
        parser.error(f"{options.target}: give an image or .npy in a folder that exists")
    if options.target.resolve() == options.source.resolve():
        parser.error(f"{options.target}: is the source: give another file")
    student = TiledStudent(options.model, options.tile, options.threads)
    if not student.margin:
        parser.error(f"{options.model} is not for tiles: write it with kd export --tiles")
    least = 2 * student.margin + student.stride
    if min(student.height, student.width) < least or options.tile % student.stride:
        parser.error(f"--tile {options.tile}: give a multiple of {student.stride}, {least} or more")
    try:
        image = read(options.source, student.grey)
    except (OSError, ValueError) as error:
        parser.error(f"{options.source}: cannot be read ({error})")
    if min(image.shape[:2]) < 2 * student.stride:
        parser.error(f"{options.source}: is smaller than {2 * student.stride} pixels")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != (1 if student.grey else 3):
        parser.error(
            f"{options.source}: is {image.dtype} {image.shape}, not uint8 (H, W, {1 if student.grey else 3})"
        )
    begun = time.perf_counter()
    statistics = student.statistics((thumbnail if options.thumbnail else sample)(image, student))
    height, width = (
        max(-(-length // student.stride) * student.stride, tile)
        for length, tile in zip(image.shape[:2], (student.height, student.width), strict=True)
    )
    output, count = None, 0
    partial = options.target.with_name(f".{options.target.stem}.partial{options.target.suffix}")
    for top, first_row, last_row in windows(height, student.height, student.margin):
        for left, first_column, last_column in windows(width, student.width, student.margin):
            tile = student.translate(tile_of(image, top, left, student), statistics)
            if output is None:
                shape = (*image.shape[:2], tile.shape[2])
                if options.target.suffix == ".npy":
                    output = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
                else:
                    output = np.empty(shape, np.uint8)
            kept = output[first_row:last_row, first_column:last_column]  # cut at the end of the image
            rows, columns = first_row - top, first_column - left
            kept[:] = tile[rows : rows + kept.shape[0], columns : columns + kept.shape[1]]
            count += 1
    assert output is not None
    if options.target.suffix != ".npy":
        Image.fromarray(output.squeeze()).save(partial)
    partial.replace(options.target)
    print(f"{count} tiles in {time.perf_counter() - begun:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
