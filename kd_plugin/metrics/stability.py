"""How much an output changes if the input changes in a way that the output should follow.

In a video, an object moves by a few pixels and is compressed anew in every frame. A generator that answers with other
textures flickers, which no measure of single images sees.

Networks take and return images (B, C, H, W) in [-1, 1], and are in the mode to measure. Changes are mean absolute
differences in 8-bit steps: 1 is 2/255 of this range.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from ..errors import ArgumentError
from ..losses.validate import check_images

Network = Callable[[torch.Tensor], torch.Tensor]

_STEPS = 127.5  # 8-bit steps in a unit of [-1, 1]


def shift_error(network: Network, images: torch.Tensor, pixels: int, border: int = 16) -> np.ndarray:
    """Return how much the output changes, beyond the shift, if the input is shifted by whole pixels.

    Two windows of each image, of the same size and ``pixels`` apart along both axes, are translated. Where they
    overlap, they show the same, so the outputs should be equal. Nothing wraps around.

    Args:
        network: network whose output has the size of its input.
        images: (B, C, H + pixels, W + pixels), so that the windows have the size (H, W) that the network needs.
        pixels: the shift to the right and down, 1 or more.
        border: pixels to leave out at every side of the common area, where the outputs differ because the network
            pads its input, of which the shift is not the cause.

    Returns:
        (B,), mean absolute difference in 8-bit steps.

    Raises:
        ArgumentError: If nothing is left of the common area, an argument is not valid, or the network returns images
            of another size.
    """
    check_images(images)
    if pixels < 1 or border < 0:
        raise ArgumentError(f"a shift by {pixels} pixels with a border of {border}: give 1 or more, and 0 or more")
    height, width = (side - pixels for side in images.shape[2:])
    if min(height, width) - pixels - 2 * border < 1:
        raise ArgumentError(
            f"images of {images.shape[3]}x{images.shape[2]} pixels leave nothing for a shift by {pixels} without a "
            f"border of {border}: give larger ones"
        )
    first = _translate(network, images[:, :, :height, :width])
    second = _translate(network, images[:, :, pixels:, pixels:])
    # The pixel (y, x) of the second window is (y + pixels, x + pixels) of the first.
    rows, columns = (slice(border, side - pixels - border) for side in (height, width))
    moved = first[:, :, pixels:, pixels:][:, :, rows, columns]
    return _change(moved, second[:, :, :-pixels, :-pixels][:, :, rows, columns])


def reencode_error(network: Network, images: torch.Tensor, quality: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Return how much the output changes if the input is compressed as JPEG, and how much the input does.

    The input is compared with its 8-bit version, which is what would be saved without loss.

    Args:
        network: network.
        images: (B, C, H, W) in [-1, 1], of one or three channels.
        quality: of Pillow's JPEG encoder, 1 to 95, with its default chroma subsampling.

    Returns:
        (B,) and (B,), changes of the output and of the input in 8-bit steps.

    Raises:
        ArgumentError: If the images have other channels, or values outside [-1, 1].
    """
    check_images(images)
    low, high = (float(value) for value in images.aminmax())
    if images.shape[1] not in (1, 3):
        raise ArgumentError(f"JPEG has images of one or three channels, these have {images.shape[1]}")
    if not (low >= -1 and high <= 1):  # also true of NaN
        raise ArgumentError(f"the images run from {low:g} to {high:g}: scale them to [-1, 1]")
    bytes_of = ((images + 1) * _STEPS).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    saved, encoded = (
        torch.from_numpy(values).permute(0, 3, 1, 2).to(images) / _STEPS - 1
        for values in (bytes_of, np.stack([_reencoded(pixels, quality) for pixels in bytes_of]))
    )
    return _change(_translate(network, saved), _translate(network, encoded)), _change(saved, encoded)


def _translate(network: Network, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        output: torch.Tensor = network(images.contiguous())
    if output.shape[2:] != images.shape[2:]:
        (height, width), (h, w) = images.shape[2:], output.shape[2:]
        raise ArgumentError(
            f"the network returns {w}x{h} pixels for {width}x{height}: give images of a size that it keeps"
        )
    return output


def _change(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    change: torch.Tensor = (first.double() - second.double()).abs().mean(dim=(1, 2, 3)) * _STEPS
    return np.asarray(change.cpu().numpy())


def _reencoded(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Encode and decode an image (H, W, C) of bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image).reshape(pixels.shape)
