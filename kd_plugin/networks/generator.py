"""Generators of the host family, rebuilt from a description.

The order and the names of the layers are those of the family, so that a checkpoint of any host loads here and
the other way round. The hosts build theirs from a handful of names (``resnet_9blocks``, ``unet_256``); these
take any depth, which is what lets a teacher be read off its file alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

from ..errors import ArgumentError

__all__ = [
    "Architecture",
    "Conv",
    "Generator",
    "GeneratorSpec",
    "Norm",
    "ResnetGenerator",
    "SeparableConv",
    "UnetGenerator",
    "build_generator",
    "parse_netG",
]

Architecture = Literal["resnet", "unet"]
Norm = Literal["batch", "instance", "none"]
Conv = Literal["standard", "separable"]

_LEAST_HALVINGS = 5  # of a U-Net: what the family's construction takes


@dataclass(frozen=True)
class GeneratorSpec:
    """What it takes to build a generator of the family.

    Attributes:
        architecture: ``"resnet"`` or ``"unet"``.
        input_nc, output_nc: channels of the images it takes and gives.
        ngf: channels of the first layer; the widths of all others follow from it, unless ``widths`` names them.
        depth: residual blocks of a ResNet; halvings of the resolution of a U-Net.
        norm: ``"batch"``, ``"instance"`` (no affine parameters, no running statistics) or ``"none"``.
        dropout: whether there are dropout layers. They have no parameters and shift no index in a U-Net, so a
            U-Net's file does not tell: ``None``.
        bias: whether convolutions that a norm follows have a bias.
        widths: channels of each stage, the first being ``ngf``: of a ResNet those at full, half and quarter
            resolution, of a U-Net those after each halving. None for the family's: doubling, in a U-Net up to
            ``8 * ngf``.
        conv: ``"separable"`` for residual blocks of depthwise and pointwise convolutions.

    Raises:
        ArgumentError: widths that are not one for each stage, or separable convolutions in a U-Net.
    """

    architecture: Architecture
    input_nc: int
    output_nc: int
    ngf: int
    depth: int
    norm: Norm
    dropout: bool | None
    bias: bool
    widths: tuple[int, ...] | None = None
    conv: Conv = "standard"

    def __post_init__(self) -> None:
        if self.conv == "separable" and self.architecture != "resnet":
            raise ArgumentError(
                f"separable convolutions stand in residual blocks, which a {self.netG} has none of: "
                f"leave them standard, or take a ResNet such as resnet_9blocks"
            )
        if self.widths is None:
            return
        family = self._family_widths()
        if len(self.widths) != len(family) or min(self.widths) < 1 or self.widths[0] != self.ngf:
            stages = "full, half and quarter resolution" if self.architecture == "resnet" else "each halving"
            raise ArgumentError(
                f"widths {','.join(map(str, self.widths))}: a {self.netG} takes {len(family)}, of 1 or more, for "
                f"{stages}, such as {','.join(map(str, family))}"
            )
        if self.widths == family:  # one description for one network
            object.__setattr__(self, "widths", None)

    @property
    def stages(self) -> tuple[int, ...]:
        """Channels of each stage, whether they are the family's or not."""
        return self.widths or self._family_widths()

    def _family_widths(self) -> tuple[int, ...]:
        levels = 3 if self.architecture == "resnet" else self.depth
        return tuple(self.ngf * min(2**level, 8) for level in range(levels))

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
        return {"netG": self.netG, **asdict(self), "widths": list(self.widths) if self.widths else None}


def parse_netG(netG: str) -> tuple[Architecture, int]:
    """Return architecture and depth of a generator by its name in the family, of any depth.

    >>> parse_netG("resnet_4blocks"), parse_netG("unet_64")
    (('resnet', 4), ('unet', 6))

    Raises:
        ArgumentError: no such generator.
    """
    if found := re.fullmatch(r"resnet_([1-9]\d{0,2})blocks", netG):
        return "resnet", int(found[1])
    if found := re.fullmatch(r"unet_(\d+)", netG):
        side = int(found[1])
        depth = side.bit_length() - 1
        if side == 2**depth and depth >= _LEAST_HALVINGS:
            return "unet", depth
    raise ArgumentError(
        f"unknown generator '{netG}': resnet_Nblocks with any number N of blocks, or unet_SIDE with a power of two "
        f"from {2**_LEAST_HALVINGS} on, such as resnet_6blocks or unet_128"
    )


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


class SeparableConv(nn.Sequential):
    """A 3x3 convolution in each channel, a norm, and a 1x1 convolution across channels; (B, C, H, W), unpadded.

    As the MobileNet-style generators of GAN Compression and OMGD have it in place of a 3x3 convolution: of its
    9 C^2 products at each pixel, C^2 + 9 C are left.
    """

    def __init__(self, channels: int, norm: Callable[[int], nn.Module], bias: bool) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, groups=channels, bias=bias),
            norm(channels),
            nn.Conv2d(channels, channels, 1, bias=bias),
        )


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions around which the input is added; (B, C, H, W) -> (B, C, H, W)."""

    def __init__(
        self, channels: int, norm: Callable[[int], nn.Module], dropout: bool, bias: bool, conv: Conv = "standard"
    ) -> None:
        super().__init__()

        def convolution() -> nn.Module:
            if conv == "separable":
                return SeparableConv(channels, norm, bias)
            return nn.Conv2d(channels, channels, 3, bias=bias)

        layers = [nn.ReflectionPad2d(1), convolution(), norm(channels), nn.ReLU(True)]
        if dropout:
            layers.append(nn.Dropout(0.5))
        layers += [nn.ReflectionPad2d(1), convolution(), norm(channels)]
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

    def forward(self, x: torch.Tensor, layers: Sequence[int] = (), encode_only: bool = False) -> Any:
        """Translate; the arguments but the first are what contrastive-unpaired-translation asks of its generators.

        Args:
            x: images.
            layers: indices of modules in ``model``, ascending, whose outputs are returned as well.
            encode_only: return those outputs alone, and compute nothing behind the last of them.

        Returns:
            The images; with ``layers`` a pair of the images and the outputs, or the list of outputs alone.
        """
        if not layers:
            return super().forward(x)
        features = []
        for index, module in enumerate(cast(nn.Sequential, self.model)):
            x = module(x)
            if index in layers:
                features.append(x)
            if encode_only and index == layers[-1]:
                return features
        return x, features

    def _build(self, spec: GeneratorSpec) -> nn.Module:
        norm, bias = _norm_layer(spec.norm), spec.bias
        full, half, quarter = spec.stages
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(spec.input_nc, full, 7, bias=bias)]
        layers += [norm(full), nn.ReLU(True)]
        for before, width in ((full, half), (half, quarter)):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1, bias=bias)]
            layers += [norm(width), nn.ReLU(True)]
        layers += [ResnetBlock(quarter, norm, bool(spec.dropout), bias, spec.conv) for _ in range(spec.depth)]
        for before, width in ((quarter, half), (half, full)):
            layers += [nn.ConvTranspose2d(before, width, 3, 2, padding=1, output_padding=1, bias=bias)]
            layers += [norm(width), nn.ReLU(True)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(full, spec.output_nc, 7), nn.Tanh()]
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
        norm, bias, widths = _norm_layer(spec.norm), spec.bias, spec.stages
        block: UnetBlock | None = None
        for level in range(spec.depth - 1, 0, -1):
            # Of the family's levels those that keep 8*ngf channels, the innermost aside, have dropout.
            dropout = bool(spec.dropout) and 4 <= level < spec.depth - 1
            block = UnetBlock(widths[level - 1], widths[level], block, norm, bias, dropout)
        return UnetBlock(spec.output_nc, widths[0], block, norm, bias, input_nc=spec.input_nc)


def build_generator(spec: GeneratorSpec) -> Generator:
    """Build the generator that a description names, with PyTorch's default initialisation."""
    return ResnetGenerator(spec) if spec.architecture == "resnet" else UnetGenerator(spec)
