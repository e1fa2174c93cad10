"""Translate an image tile by tile as if it were translated at once.

Instance norm computes its statistics over the whole image, so that tiles that are translated one by one differ in
brightness and colour, with seams between them. Here one network computes the statistics of all its norms from a small
version of the image, and another translates tiles with those; where tiles overlap by more than the generator sees,
they are equal, and so there are no seams (thumbnail instance normalization, Chen et al., AAAI 2022).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import ArgumentError, KDError
from .network import replace_modules

# Pixels, of a ResNet, which rounds sides up to multiples of it. Tiles start at multiples of it, so that strided
# convolutions meet the same pixels.
STRIDE = 4
_FIRST, _MOST, _NARROW = 256, 2048, 16  # sides of the image in which to measure what an output pixel depends on


class ImageStatistics(nn.Module):
    """Computes the statistics of a generator's norms for images.

    Those of several images, such as parts of a larger one, are computed over all of them.

    Args:
        network: with instance norms without running statistics; it is changed.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._calls = _Calls()
        self.network = _with_norms(network, lambda norm: _Measured(norm, self._calls))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the factors and offsets (N,) of the norms in the order in which they run, of images (B, C, H, W)."""
        self._calls.values = []
        self.network(images)
        found, self._calls.values = self._calls.values, []
        return torch.cat(found)


class TileGenerator(nn.Module):
    """Translates tiles of an image, with the statistics of the whole.

    Args:
        network: with instance norms without running statistics; it is changed.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._calls = _Calls()
        self.network = _with_norms(network, lambda norm: _Given(norm, self._calls))

    def forward(self, images: torch.Tensor, statistics: torch.Tensor) -> torch.Tensor:
        """Translate tiles (B, C, H, W) in [-1, 1] with statistics (N,) of :class:`ImageStatistics`."""
        self._calls.values = [statistics]
        output: torch.Tensor = self.network(images)
        self._calls.values = []
        return output


class _Calls:
    """The statistics of the norms that have run (measured), or of those that have not yet (given, in one tensor)."""

    def __init__(self) -> None:
        self.values: list[torch.Tensor] = []


class _Measured(nn.Module):
    def __init__(self, norm: nn.InstanceNorm2d, calls: _Calls) -> None:
        super().__init__()
        self.norm, self._calls = norm, calls

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        factor = torch.rsqrt(variance + self.norm.eps)
        if self.norm.affine:
            factor = factor * self.norm.weight
        offset = -mean * factor
        if self.norm.affine:
            offset = offset + self.norm.bias
        self._calls.values += [factor, offset]
        return _affine(x, factor, offset)


class _Given(nn.Module):
    def __init__(self, norm: nn.InstanceNorm2d, calls: _Calls) -> None:
        super().__init__()
        self._channels, self._calls = norm.num_features, calls

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (rest,) = self._calls.values
        sizes = [self._channels, self._channels, len(rest) - 2 * self._channels]
        factor, offset, rest = torch.split(rest, sizes)
        self._calls.values = [rest]
        return _affine(x, factor, offset)


def _affine(x: torch.Tensor, factor: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    return x * factor[:, None, None] + offset[:, None, None]


def _with_norms(network: nn.Module, replacement: Callable[[nn.InstanceNorm2d], nn.Module]) -> nn.Module:
    return replace_modules(network, lambda module: replacement(module) if _is_image_norm(module) else None)  # type: ignore[arg-type]


def _is_image_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.InstanceNorm2d) and module.running_mean is None


def tile_networks(network: nn.Module) -> tuple[ImageStatistics, TileGenerator]:
    """Return the network of the statistics and that of the tiles, of a generator in the form of :func:`deployed`.

    Raises:
        ArgumentError: If no norm has statistics of the image.
    """
    if not any(_is_image_norm(module) for module in network.modules()):
        raise ArgumentError(
            "the generator computes no statistics of an image, so tiles of any image fit: any size works"
        )
    return ImageStatistics(copy.deepcopy(network)).eval(), TileGenerator(network).eval()


def tile_margin(tiles: TileGenerator, statistics: int, channels: int) -> int:
    """Return how far from a pixel of the output the pixels are on which it depends, a multiple of :data:`STRIDE`.

    A value that is not a number changes exactly the outputs that depend on it.

    Args:
        tiles: the generator.
        statistics: number of them.
        channels: of the input.

    Raises:
        KDError: If it depends on pixels at any distance.
    """
    double = copy.deepcopy(tiles).double()  # in which no convolution is computed by a transform over a few pixels
    length = _FIRST
    while length <= _MOST:
        middle, most = length // 2, 0
        for dim in (2, 3):
            images = torch.zeros(1, channels, length, _NARROW, dtype=torch.float64)
            images[:, :, middle : middle + STRIDE] = torch.nan
            images = images.movedim(2, dim)
            with torch.no_grad():
                output = double(images, torch.ones(statistics, dtype=torch.float64))
            changed = output.movedim(dim, 0).isnan().flatten(1).any(dim=1).nonzero()
            most = max(most, middle + STRIDE - 1 - int(changed.min()), int(changed.max()) - middle)
        if most < length // 2 - STRIDE:
            return -(-most // STRIDE) * STRIDE
        length *= 2
    raise KDError("a pixel of the generator's output depends on the whole image: it has no tiles")


@dataclass(frozen=True)
class Window:
    """A tile along a side of an image: from ``start``, of which the pixels from ``first`` up to ``last`` are kept."""

    start: int
    first: int
    last: int


def windows(length: int, tile: int, margin: int) -> Iterator[Window]:
    """Yield the tiles that cover a side of an image, each pixel once.

    Args:
        length: of the side in pixels, at least ``tile``.
        tile: side of a tile, above twice the margin.
        margin: pixels at the ends of a tile to drop, unless they are ends of the image.

    All of them are multiples of :data:`STRIDE`.

    >>> list(windows(24, 16, 4))
    [Window(start=0, first=0, last=12), Window(start=8, first=12, last=24)]
    """
    start, kept = 0, 0
    while True:
        end = start + tile
        last = length if end >= length else end - margin
        yield Window(start, kept, last)
        if last == length:
            return
        kept, start = last, min(last - margin, length - tile)


def translate_tiles(
    images: torch.Tensor, tile: tuple[int, int], margin: int, translate: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Return the translation of images (B, C, H, W), tile by tile.

    Args:
        images: of sides that are multiples of :data:`STRIDE`, and at least the tile's.
        tile: height and width of a tile.
        margin: that of :func:`tile_margin`.
        translate: takes and returns tiles (B, C, *tile).
    """
    output = None
    for row in windows(images.shape[2], tile[0], margin):
        for column in windows(images.shape[3], tile[1], margin):
            part = images[:, :, row.start : row.start + tile[0], column.start : column.start + tile[1]]
            translated = translate(part)
            if output is None:
                output = images.new_zeros(len(images), translated.shape[1], *images.shape[2:])
            output[:, :, row.first : row.last, column.first : column.last] = translated[
                :,
                :,
                row.first - row.start : row.last - row.start,
                column.first - column.start : column.last - column.start,
            ]
    assert output is not None
    return output
