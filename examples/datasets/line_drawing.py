"""Line drawings of pictures: Canny's edge detector, for colours and transparency together.

The gradient is that of Di Zenzo ("A note on the gradient of a multi-image", 1986): the direction in which the sum of
the squared changes of all channels is largest. So two colours of the same brightness have an edge between them, and a
white object on a transparent ground has an outline.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold

WEAK, STRONG = 0.03, 0.08  # a step of one channel by its whole range has the gradient 1 / sqrt(2 pi) = 0.4


def line_drawing(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Return the edges of a picture, black on white.

    Args:
        picture: (H, W, 4) uint8, RGBA; its ground is transparent.
        sigma: standard deviation of the Gaussian whose derivatives are the gradient, in pixels.

    Returns:
        (H, W) uint8, 0 on edges and 255 elsewhere.
    """
    colours = picture.astype(np.float64) / 255
    colours[..., :3] *= colours[..., 3:]  # colours of transparent pixels mean nothing
    down, across = (
        sigma
        * np.stack([ndimage.gaussian_filter(c, sigma, order, mode="constant") for c in np.moveaxis(colours, 2, 0)])
        for order in ((1, 0), (0, 1))
    )
    yy, xx, xy = (down**2).sum(0), (across**2).sum(0), (down * across).sum(0)
    magnitude = np.sqrt((xx + yy + np.hypot(xx - yy, 2 * xy)) / 2)  # the larger eigenvalue of [[xx, xy], [xy, yy]]
    angle = np.arctan2(2 * xy, xx - yy) / 2
    rows, columns = np.indices(magnitude.shape)
    ahead, behind = (
        ndimage.map_coordinates(
            magnitude, [rows + sign * np.sin(angle), columns + sign * np.cos(angle)], order=1, mode="constant"
        )
        for sign in (1, -1)
    )
    thin = np.where((magnitude >= ahead) & (magnitude > behind), magnitude, 0)  # one of two equal neighbours
    return np.where(apply_hysteresis_threshold(thin, WEAK, STRONG), 0, 255).astype(np.uint8)
