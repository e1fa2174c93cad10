"""Generators of the host family, rebuilt from a description.

The order and the names of the layers are those of the family, so that a checkpoint of any host loads here and
the other way round. The hosts build theirs from a handful of names (``resnet_9blocks``, ``unet_256``); these
take any depth, which is what lets a teacher be read off its file alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

__all__ = [
    "Architecture",
    "Generator",
    "GeneratorSpec",
    "Norm",
    "ResnetGenerator",
    "UnetGenerator",
    "build_generator",
]

Architecture = Literal["resnet", "unet"]
Norm = Literal["batch", "instance", "none"]


@dataclass(frozen=True)
class GeneratorSpec:
    """What it takes to build a generator of the family.

    Attributes:
        architecture: ``"resnet"`` or ``"unet"``.
        input_nc, output_nc: channels of the images it takes and gives.
        ngf: channels of the first layer; the widths of all others follow from it.
        depth: residual blocks of a ResNet; halvings of the resolution of a U-Net.
        norm: ``"batch"``, ``"instance"`` (no affine parameters, no running statistics) or ``"none"``.
        dropout: whether there are dropout layers. They have no parameters and shift no index in a U-Net, so a
            U-Net's file does not tell: ``None``.
        bias: whether convolutions that a norm follows have a bias.
    """

    architecture: Architecture
    input_nc: int
    output_nc: int
    ngf: int
    depth: int
    norm: Norm
    dropout: bool | None
    bias: bool

    @property
    def netG(self) -> str:
        """The family's name: ``resnet_9blocks``, ``unet_256``."""
        return f"resnet_{self.depth}blocks" if self.architecture == "resnet" else f"unet_{2**self.depth}"

    @property
    def multiple(self) -> int:
        """Height and width of an image must be multiples of this; a ResNet rounds its output up to fours."""
        return 1 if self.architecture == "resnet" else 2**self.depth

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the family's name, for JSON."""
        return {"netG": self.netG, **asdict(self)}


class _Identity(nn.Module):
    """Stands where a norm layer would, so that indices do not depend on the norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def _norm_layer(norm: Norm) -> Callable[[int], nn.Module]:
    if norm == "batch":
        return nn.BatchNorm2d
    if norm == "instance":
        return nn.InstanceNorm2d
    return lambda channels: _Identity()


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions around which the input is added; (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module], dropout: bool, bias: bool) -> None:
        super().__init__()
        layers = [
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm(channels),
            nn.ReLU(True),
        ]
        if dropout:
            layers.append(nn.Dropout(0.5))
        layers += [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=bias), norm(channels)]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.conv_block(x)
        return out


class Generator(nn.Module):
    """A generator of the family, with its description: images (B, C, H, W) in [-1, 1] in and out."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.model = self._build(spec)

    def _build(self, spec: GeneratorSpec) -> nn.Module:
        raise TypeError("build_generator(spec) chooses the class")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.model(x)
        return out


class ResnetGenerator(Generator):
    """Two halvings, residual blocks at a quarter of the resolution, two doublings.

    (B, input_nc, H, W) -> (B, output_nc, H, W) in [-1, 1]; H and W are rounded up to multiples of 4.
    """

    def _build(self, spec: GeneratorSpec) -> nn.Module:
        norm, ngf, bias = _norm_layer(spec.norm), spec.ngf, spec.bias
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(spec.input_nc, ngf, 7, bias=bias)]
        layers += [norm(ngf), nn.ReLU(True)]
        for width in (ngf, 2 * ngf):
            layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=bias)]
            layers += [norm(2 * width), nn.ReLU(True)]
        layers += [ResnetBlock(4 * ngf, norm, bool(spec.dropout), bias) for _ in range(spec.depth)]
        for width in (2 * ngf, ngf):
            layers += [nn.ConvTranspose2d(2 * width, width, 3, 2, padding=1, output_padding=1, bias=bias)]
            layers += [norm(width), nn.ReLU(True)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, spec.output_nc, 7), nn.Tanh()]
        return nn.Sequential(*layers)


class UnetBlock(nn.Module):
    """One level of a U-Net: halve, the levels below, double; joined with the input unless outermost."""

    def __init__(
        self,
        outer: int,
        inner: int,
        below: UnetBlock | None,
        norm: Callable[[int], nn.Module],
        bias: bool,
        dropout: bool = False,
        input_nc: int | None = None,
    ) -> None:
        super().__init__()
        self.outermost = input_nc is not None
        down: list[nn.Module] = [nn.Conv2d(input_nc or outer, inner, 4, stride=2, padding=1, bias=bias)]
        up: list[nn.Module] = [
            nn.ReLU(True),
            nn.ConvTranspose2d(
                2 * inner if below else inner, outer, 4, stride=2, padding=1, bias=bias or self.outermost
            ),
        ]
        if self.outermost:
            up.append(nn.Tanh())
        else:
            down.insert(0, nn.LeakyReLU(0.2, True))
            up.append(norm(outer))
            if below:
                down.append(norm(inner))
        if dropout:
            up.append(nn.Dropout(0.5))
        self.model = nn.Sequential(*down, *([below] if below else []), *up)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside: torch.Tensor = self.model(x)
        return inside if self.outermost else torch.cat([x, inside], 1)


class UnetGenerator(Generator):
    """U-Net: ``depth`` halvings and doublings with a skip connection at every level.

    (B, input_nc, H, W) -> (B, output_nc, H, W) in [-1, 1], H and W multiples of ``2**depth``.
    """

    def _build(self, spec: GeneratorSpec) -> nn.Module:
        norm, ngf, bias = _norm_layer(spec.norm), spec.ngf, spec.bias
        widths = [ngf * min(2**level, 8) for level in range(spec.depth)]
        block: UnetBlock | None = None
        for level in range(spec.depth - 1, 0, -1):
            # Only the levels that keep 8*ngf channels, the innermost aside, have dropout.
            dropout = bool(spec.dropout) and 4 <= level < spec.depth - 1
            block = UnetBlock(widths[level - 1], widths[level], block, norm, bias, dropout)
        return UnetBlock(spec.output_nc, ngf, block, norm, bias, input_nc=spec.input_nc)


def build_generator(spec: GeneratorSpec) -> Generator:
    """Build the generator that a description names, with PyTorch's default initialisation."""
    return ResnetGenerator(spec) if spec.architecture == "resnet" else UnetGenerator(spec)
