"""Write the two ONNX files that translate an image tile by tile, and measure how far that is from the whole."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from ..errors import ArgumentError
from . import onnx_file
from .graph import STATISTICS, Graph
from .images import batch_of
from .parity import Parity, compare
from .settings import statistics_path
from .tiling import STRIDE, tile_margin, tile_networks, translate_tiles


@dataclass(frozen=True)
class Seams:
    """How far images of 2 x 2 tiles are from the whole.

    Attributes:
        margin: by which tiles overlap on each side, in pixels.
        seams: of the tiles, to the image translated at once with the same statistics.
        thumbnail: of the tiles with statistics of a thumbnail, to the generator's image.
        parts: of the tiles with statistics of its four quarters, to the generator's image.
    """

    margin: int
    seams: Parity
    thumbnail: Parity
    parts: Parity


class TileFiles:
    """The two files of a generator; a function that translates images of the size of a tile with both.

    Args:
        module: the generator in the form of :func:`~kd_plugin.export.network.deployed`; it is changed.
        file: of the tiles; that of the statistics is next to it.
        height, width: of a tile in pixels.
        channels: of the input.
        dynamic: whether tiles may have any size.
        metadata: texts to save in both, by name.

    Raises:
        ArgumentError: If tiles are too small, or the generator has no statistics of an image.
        KDError: If the network cannot be exported.
    """

    def __init__(
        self,
        module: nn.Module,
        file: Path,
        height: int,
        width: int,
        channels: int,
        dynamic: bool,
        metadata: Mapping[str, str],
    ) -> None:
        whole, self._tiles = tile_networks(module)
        self._tile, self._channels = (height, width), channels
        with torch.no_grad():
            count = len(whole(torch.zeros(1, channels, height, width)))
        self.margin = tile_margin(self._tiles, count, channels)
        if min(self._tile) <= 2 * self.margin:
            raise ArgumentError(
                f"tiles of {width}x{height} pixels: an output pixel depends on {self.margin} pixels on each side, so "
                f"tiles must be larger than {2 * self.margin}; {4 * self.margin} or more is efficient"
            )
        about = {**metadata, "tile margin": str(self.margin), "tile stride": str(STRIDE)}
        graph = Graph(self._tiles, height, width, channels, dynamic=dynamic, multiple=STRIDE, metadata=about)
        sides = replace(graph, module=whole, dynamic=True, output=STATISTICS)
        onnx_file.write(sides, statistics_path(file))
        onnx_file.write(replace(graph, statistics=count), file)
        self._statistics, self._translate = onnx_file.Runner(statistics_path(file)), onnx_file.Runner(file)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Translate images, float32 (B, C, H, W) in [-1, 1], one after the other."""
        parts = [
            self._translate(image, statistics=self._statistics(image)) for image in np.split(images, len(images))
        ]
        return np.concatenate(parts)

    def measure(self, generator: Callable[[torch.Tensor], torch.Tensor], pictures: Sequence[Image.Image]) -> Seams:
        """Return how far images of 2 x 2 tiles are from those of the generator."""
        height, width = (2 * (side - self.margin) for side in self._tile)
        batches = [batch_of([picture], height, width, self._channels, False) for picture in pictures]

        def at_once(images: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                output: torch.Tensor = self._tiles(images, torch.from_numpy(self._of_thumbnail(images.numpy())))
            return output

        def tiled(statistics: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
            found = statistics(images)
            return translate_tiles(
                torch.from_numpy(images),
                self._tile,
                self.margin,
                lambda part: torch.from_numpy(self._translate(part.numpy(), statistics=found)),
            ).numpy()

        thumbnail = functools.partial(tiled, self._of_thumbnail)
        return Seams(
            self.margin,
            compare(at_once, thumbnail, batches),
            compare(generator, thumbnail, batches),
            compare(generator, functools.partial(tiled, self._of_quarters), batches),
        )

    def _of_thumbnail(self, images: np.ndarray) -> np.ndarray:
        small = F.interpolate(torch.from_numpy(images), self._tile, mode="bicubic", antialias=True)
        return self._statistics(small.numpy())

    def _of_quarters(self, images: np.ndarray) -> np.ndarray:
        halves = np.split(images, 2, axis=2)
        return self._statistics(np.concatenate([part for half in halves for part in np.split(half, 2, axis=3)]))
