"""Draw the images of ``benchmarks/deepliif_kl.py``: stained cells, two stains of the same cells, and their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

_Plane = NDArray[np.float64]  # (H, W)
_BROWN, _BLUE, _PAPER = (120, 70, 40), (95, 95, 165), (236, 230, 234)


def write_strips(folder: Path, images: int, size: int, seed: int) -> None:
    """Write strips ``0000.png``, ... of four square images: cells, stain 1, stain 2, labels.

    The cells are ellipses with a smooth random texture, brown (positive) or blue, on uneven paper. Stain 1 shows the
    texture of all cells in blue, stain 2 that of the positive ones in red, brighter along their edges; the labels are
    red and blue with a green edge. All three are functions of the first image, apart from its noise.

    Args:
        folder: Created if missing.
        images: Their number.
        size: Their side in pixels.
        seed: The same seed gives the same images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number in range(images):
        strip = np.concatenate(_draw(generator, size), axis=1)
        Image.fromarray(strip).save(folder / f"{number:04d}.png")


def _draw(generator: np.random.Generator, size: int) -> list[NDArray[np.uint8]]:
    """Return the four images (H, W, 3) of one field of cells."""
    y, x = np.mgrid[:size, :size].astype(float)
    texture = _texture(generator, size, 1.5)
    paper = _texture(generator, size, 8.0)
    all_cells, positive_cells, edges = (np.zeros((size, size)) for _ in range(3))
    for _ in range(14 * size * size // 64**2):
        angle, positive = generator.uniform(0, np.pi), generator.random() < 0.5
        radii = generator.uniform(3, 8, 2)
        centre = generator.uniform(0, size, 2)
        u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
        v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
        distance = (np.hypot(u / radii[0], v / radii[1]) - 1) * radii.min()  # about the pixels from the edge
        cell = 1 / (1 + np.exp(np.clip(3 * distance, -50, 50)))
        edge = np.exp(-(distance**2))
        all_cells = np.maximum(all_cells, cell)
        positive_cells = np.where(cell > 0.5, float(positive), positive_cells)  # the last cell lies on top
        edges = np.where(cell > 0.5, edge, np.maximum(edges, edge * (all_cells < 0.5)))
    density = 0.75 + 0.25 * texture
    colour = positive_cells[..., None] * _BROWN + (1 - positive_cells[..., None]) * _BLUE
    cover = (all_cells * density)[..., None]
    stained = (1 - cover) * (np.array(_PAPER) + 8 * paper[..., None]) + cover * colour
    stained += generator.normal(0, 3, stained.shape)
    first = (all_cells * density)[..., None] * (70, 80, 240)
    second = (all_cells * positive_cells * (0.6 * density + 0.4 * edges))[..., None] * (240, 60, 50)
    labels = np.where(positive_cells[..., None] > 0, (255, 0, 0), (0, 0, 255)) * (all_cells > 0.5)[..., None]
    labels = np.where(((edges > 0.5) & (all_cells > 0.2))[..., None], (0, 255, 0), labels)
    return [image.clip(0, 255).round().astype(np.uint8) for image in (stained, first, second, labels.astype(float))]


def _texture(generator: np.random.Generator, size: int, sigma: float) -> _Plane:
    """Return Gaussian noise of standard deviation one, smoothed over ``sigma`` pixels."""
    smooth: _Plane = gaussian_filter(generator.normal(size=(size, size)), sigma, mode="wrap")
    return smooth / smooth.std()
