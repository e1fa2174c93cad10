"""The generator that the images of an exported file are compared with."""

from __future__ import annotations

import copy

import torch
from PIL import Image
from torch import nn

from ..errors import KDError, first_line
from ..networks.taps import unwrap
from ..networks.translator import ModuleTranslator
from .graph import as_frames, from_frames
from .images import batch_of
from .network import Statistics, without_dropout


class Reference:
    """A generator as a host's test runs it, without dropout; it returns images for those that a file takes.

    Args:
        network: the generator; it is not changed.
        statistics: of batch norm.
        frames: whether images are uint8 (B, H, W, C), not float32 (B, C, H, W) in [-1, 1].

    Raises:
        KDError: If the generator cannot be copied.
    """

    def __init__(self, network: nn.Module, statistics: Statistics, frames: bool) -> None:
        try:
            module = without_dropout(copy.deepcopy(unwrap(network)).cpu().float())
        except RuntimeError as error:  # weight norm, for instance
            raise KDError(f"the generator cannot be copied ({first_line(error, 120)})") from error
        self._translator = ModuleTranslator(
            module, "the generator", "", mode="train" if statistics == "picture" else "eval"
        )
        self._frames = frames

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the generator's images."""
        images = from_frames(batch) if self._frames else batch
        output = self._translator.translate(images, [0] * len(images))
        return as_frames(output) if self._frames else output

    def probe(self, picture: Image.Image, height: int, width: int, channels: int) -> int:
        """Run the generator once, so that its own failures are not taken for those of a format; return its channels.

        Raises:
            KDError: If it does not take such images, or returns values that are not finite.
        """
        try:
            output = self._translator.translate(batch_of([picture], height, width, channels, False), [0])
        except KDError:
            raise
        except Exception as error:  # of any network
            raise KDError(
                f"the generator does not take images of {width}x{height} pixels and {channels} channels "
                f"({type(error).__name__}: {first_line(error, 120)})"
            ) from error
        if not output.isfinite().all():
            raise KDError(
                "the generator's images are not finite: its checkpoint is damaged, or its training diverged"
            )
        return int(output.shape[1])
