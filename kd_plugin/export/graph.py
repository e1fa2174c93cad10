"""What a file contains: a network with the format of its images, and the shapes that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

INPUT, OUTPUT, STATISTICS = "images", "translated", "statistics"


class Fitted(nn.Module):
    """A generator whose images have the size of its input, which a ResNet rounds up to multiples of 4 pixels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Translate images (B, C, H, W) in [-1, 1]."""
        output: torch.Tensor = self.network(images)
        return output[:, :, : images.shape[2], : images.shape[3]]


class Frames(nn.Module):
    """A generator from and to 8-bit images as cameras have them: uint8 (B, H, W, C), rounded down as the hosts save.

    Args:
        network: from and to (B, C, H, W) in [-1, 1].
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Translate frames, uint8 (B, H, W, C)."""
        return as_frames(self.network(from_frames(frames)))


class HalfPrecision(nn.Module):
    """A network in float16, from and to float32.

    Its norms compute in float32, as their sums could overflow.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        places = [
            (parent, name, module)
            for parent in network.modules()
            for name, module in parent._modules.items()
            if isinstance(module, (nn.InstanceNorm2d, nn.modules.batchnorm._BatchNorm, nn.GroupNorm))
        ]
        for parent, name, _ in places:
            setattr(parent, name, nn.Identity())
        self.network = network.half()
        for parent, name, norm in places:
            setattr(parent, name, _FloatNorm(norm))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Translate images (B, C, H, W) in [-1, 1]."""
        output: torch.Tensor = self.network(images.half()).float()
        return output


class _FloatNorm(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.norm(x.float()).half()
        return output


@dataclass(frozen=True)
class Graph:
    """A network to write to a file.

    Attributes:
        module: the network, in eval mode.
        height, width: of the images in pixels; of the example if the shape is not fixed.
        channels: of the input.
        frames: whether images are uint8 (B, H, W, C), not float32 (B, C, H, W) in [-1, 1].
        dynamic: whether batch, height and width may change; the file is else for one image of the given size.
        multiple: sides must be multiples of it.
        half: whether weights are saved in float16.
        metadata: texts to save with it, by name.
        statistics: number of statistics of a whole image that the network takes with its tiles; 0 if it takes none.
        output: name of the output.
    """

    module: nn.Module
    height: int
    width: int
    channels: int = 3
    frames: bool = False
    dynamic: bool = False
    multiple: int = 1
    half: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    statistics: int = 0
    output: str = OUTPUT

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return [INPUT, STATISTICS] if self.statistics else [INPUT]

    def example(self) -> tuple[torch.Tensor, ...]:
        """Return inputs of the shapes of the file."""
        return self._images(), *([torch.ones(self.statistics)] if self.statistics else [])

    def _images(self) -> torch.Tensor:
        batch, height, width = 1, self.height, self.width
        if self.dynamic:  # a dimension, or a factor of one, that is 1 would be taken for a constant
            batch, height, width = 2, max(height, 2 * self.multiple), max(width, 2 * self.multiple)
        if self.frames:
            return torch.zeros(batch, height, width, self.channels, dtype=torch.uint8)
        return torch.zeros(batch, self.channels, height, width)

    def dynamic_shapes(self) -> tuple[dict[int, object], ...] | None:
        """Return the dimensions that may change, as ``torch.export`` takes them; None if none may."""
        if not self.dynamic:
            return None
        sides = []
        for name in ("height", "width"):
            if self.multiple == 1:
                sides.append(torch.export.Dim(name))
            else:  # the innermost images of 1 pixel are traced in another way
                sides.append(self.multiple * torch.export.Dim(f"{name}_{self.multiple}", min=2))
        first = 1 if self.frames else 2
        images: dict[int, object] = {0: torch.export.Dim("batch", min=1), first: sides[0], first + 1: sides[1]}
        return images, *([{}] if self.statistics else [])


def graph_of(
    network: nn.Module,
    height: int,
    width: int,
    channels: int = 3,
    *,
    frames: bool = False,
    dynamic: bool = False,
    multiple: int = 1,
    half: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Graph:
    """Return the graph of a generator from and to (B, C, H, W) in [-1, 1]; arguments as :class:`Graph`'s."""
    module = HalfPrecision(network) if half else network
    if multiple == 1:
        module = Fitted(module)
    module = Frames(module) if frames else module
    return Graph(module.eval(), height, width, channels, frames, dynamic, multiple, half, metadata or {})


def from_frames(frames: torch.Tensor) -> torch.Tensor:
    """Return uint8 (B, H, W, C) as images (B, C, H, W) in [-1, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


def as_frames(output: torch.Tensor) -> torch.Tensor:
    """Return images (B, C, H, W) in [-1, 1] as uint8 (B, H, W, C), rounded down as the hosts save them."""
    return ((output.permute(0, 2, 3, 1) + 1) * 127.5).clamp(0, 255).to(torch.uint8)
