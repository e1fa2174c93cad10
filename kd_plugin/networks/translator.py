"""Run a generator as a host's test does: from images in [-1, 1] to images, and from and to 8 bits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import nn

from ..errors import KDError

Mode = Literal["train", "eval"]  # batch statistics and dropout, as the hosts test without --eval; or running ones

_ROUNDING = 4  # pixels


class Translator(Protocol):
    """Translates images.

    Attributes:
        description: for the reader.
        digest: identifies the network and how it is run; results are stored under it.
        channels: of the input.
        multiple: sides of the input must be multiples of it.
    """

    description: str
    digest: str
    channels: int
    multiple: int

    @property
    def module(self) -> nn.Module | None:
        """The network, or None if the runtime does not show it."""
        ...

    def translate(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Translate images (B, C, H, W) in [-1, 1]; ``seeds`` are those of each image's dropout."""
        ...


@dataclass
class ModuleTranslator:
    """A generator in PyTorch.

    Args:
        module: the generator, in the mode to run it in.
        description: for the reader.
        digest: digest of the file.
        channels: of the input.
        multiple: sides of the input must be multiples of it.
        mode: ``"train"`` for batch statistics and active dropout, as the hosts test without ``--eval``. Images
            then pass one by one, as in the hosts, if it matters.
        device: the device to run on.
    """

    module: nn.Module
    description: str
    digest: str
    channels: int = 3
    multiple: int = 1
    mode: Mode = "train"
    device: torch.device = torch.device("cpu")

    def __post_init__(self) -> None:
        self.module.to(self.device).requires_grad_(False).train(self.mode == "train")
        kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
        self._random = any(isinstance(m, kinds[1]) and m.p > 0 and m.training for m in self.module.modules())
        self._single = self._random or any(isinstance(m, kinds[0]) and m.training for m in self.module.modules())
        for module in self.module.modules():
            if isinstance(module, kinds[0]):
                module.momentum = 0.0  # train mode would update the running statistics
        if self._single:
            self.description += ", batch statistics and dropout" if self._random else ", batch statistics"
        self.digest = hashlib.sha256(f"{self.digest} {self._single} {self._random}".encode()).hexdigest()

    def translate(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Translate images (B, C, H, W) in [-1, 1], one by one if the mode makes it matter."""
        with torch.inference_mode():
            images = images.to(self.device)
            if not self._single:
                return fitted(self.module(images), images, self.description)
            outputs = []
            with torch.random.fork_rng(enabled=self._random):
                for image, seed in zip(torch.split(images, 1), seeds, strict=True):
                    if self._random:  # masks depend on the image alone, whatever else is in the batch
                        torch.manual_seed(seed)
                    outputs.append(fitted(self.module(image), image, self.description))
            return torch.cat(outputs)


def fitted(output: Any, images: torch.Tensor, name: str) -> torch.Tensor:
    """Return a network's output at the size of its input, which a ResNet rounds up to multiples of 4 pixels.

    Raises:
        KDError: If the output is not images (B, 1 or 3, H, W) of about that size.
    """
    height, width = images.shape[2:]
    if not isinstance(output, torch.Tensor) or output.ndim != 4 or output.shape[1] not in (1, 3):
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise KDError(f"{name}: returned {found}, expected images (B, 1 or 3, H, W)")
    if not all(0 <= more - side < _ROUNDING for more, side in zip(output.shape[2:], (height, width), strict=True)):
        raise KDError(
            f"{name}: returned {output.shape[3]}x{output.shape[2]} pixels for {width}x{height}: only images of the "
            "size of the input can be compared"
        )
    return output[:, :, :height, :width]


def to_tensor(images: Sequence[np.ndarray]) -> torch.Tensor:
    """Return images, uint8 (H, W, C) each, as (B, C, H, W) in [-1, 1], as the hosts."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return batch.float().div(255).sub(0.5).div(0.5)


def to_array(image: torch.Tensor) -> np.ndarray:
    """Return an image (C, H, W) in [-1, 1] as uint8 (H, W, 3), rounded down as the hosts save it."""
    array = image.detach().float().cpu().numpy()
    array = np.repeat(array, 3, axis=0) if len(array) == 1 else array
    # Hosts neither clip nor round; values that are not finite become black.
    scaled = np.nan_to_num((array.transpose(1, 2, 0) + 1) / 2.0 * 255.0)
    return scaled.clip(0, 255).astype(np.uint8)
