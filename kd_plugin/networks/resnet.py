"""The ResNet generators of the family, ``resnet_Nblocks``: downsample twice, residual blocks, upsample twice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn

from ..errors import CheckpointError
from .architecture import (
    INPUT,
    OUTPUT,
    Architecture,
    Conv,
    Generator,
    GeneratorSpec,
    Layer,
    Padding,
    Place,
    Places,
    TapPoint,
    register_architecture,
)
from .divided import divided_name
from .layers import NormLayer, SeparableConv, norm_layer, read_norm, read_shape

_FIRST = 10  # index of the first residual block
_STREAM = "stream"  # the channels that the residual blocks add to
_LISTED_DEPTHS = (9, 6, 4)  # for students: the family's two, and two thirds of the smaller


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions with a residual connection; (B, C, H, W) -> (B, C, H, W)."""

    def __init__(
        self, channels: int, norm: NormLayer, dropout: bool, bias: bool, conv: Conv, padding: Padding
    ) -> None:
        super().__init__()

        def convolution() -> list[nn.Module]:
            before, zeros = ([], 1) if padding == "zero" else ([nn.ReflectionPad2d(1)], 0)
            if conv == "separable":
                return [*before, SeparableConv(channels, norm, bias, zeros), norm(channels)]
            return [*before, nn.Conv2d(channels, channels, 3, padding=zeros, bias=bias), norm(channels)]

        layers = [*convolution(), nn.ReLU(True)]
        if dropout:
            layers.append(nn.Dropout(0.5))
        layers += convolution()
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.conv_block(x)
        return out


class ResnetGenerator(Generator):
    """(B, input_nc, H, W) -> (B, output_nc, H, W) in [-1, 1]; H and W are rounded up to multiples of 4."""

    def forward(self, x: torch.Tensor, layers: Sequence[int] = (), encode_only: bool = False) -> Any:
        """Translate images, with the arguments of the generators of contrastive-unpaired-translation.

        Args:
            x: images.
            layers: indices of modules in ``model``, ascending, whose outputs are also returned.
            encode_only: return only those outputs, and skip the layers after the last of them.

        Returns:
            The images; with ``layers``, a pair of the images and the outputs, or only the list of outputs.
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


@register_architecture
class Resnet(Architecture):
    """Its depth is the number of residual blocks, at a quarter of the resolution."""

    name = "resnet"
    title = "ResNet"
    names = "resnet_Nblocks with any number N of blocks"
    example = "resnet_6blocks"
    stage_names = "full, half and quarter resolution"
    convs = ("standard", "separable")
    paddings = ("reflect", "zero")

    def parse(self, netG: str) -> int | None:
        found = re.fullmatch(r"resnet_([1-9]\d{0,2})blocks", netG)
        return int(found[1]) if found else None

    def netG(self, depth: int) -> str:
        return f"resnet_{depth}blocks"

    def stages(self, ngf: int, depth: int) -> tuple[int, ...]:
        return ngf, 2 * ngf, 4 * ngf

    def build(self, spec: GeneratorSpec) -> ResnetGenerator:
        norm, bias = norm_layer(spec.norm), spec.bias
        full, half, quarter = spec.stages
        pad: type[nn.Module] = nn.ZeroPad2d if spec.padding == "zero" else nn.ReflectionPad2d
        layers: list[nn.Module] = [pad(3), nn.Conv2d(spec.input_nc, full, 7, bias=bias)]
        layers += [norm(full), nn.ReLU(True)]
        for before, width in ((full, half), (half, quarter)):
            down = nn.Conv2d(before, width, 3, stride=2, padding=1, bias=bias)
            layers += [down, norm(width), nn.ReLU(True)]
        block = quarter, norm, bool(spec.dropout), bias, spec.conv, spec.padding
        layers += [ResnetBlock(*block) for _ in range(spec.depth)]
        for before, width in ((quarter, half), (half, full)):
            up = nn.ConvTranspose2d(before, width, 3, 2, padding=1, output_padding=1, bias=bias)
            layers += [up, norm(width), nn.ReLU(True)]
        layers += [pad(3), nn.Conv2d(full, spec.output_nc, 7), nn.Tanh()]
        return ResnetGenerator(spec, nn.Sequential(*layers))

    def read(self, state: Mapping[str, torch.Tensor]) -> GeneratorSpec | None:
        if "model.1.weight" not in state:
            return None
        if any(key.endswith(".filt") for key in state):
            raise CheckpointError(
                "it is an antialiased generator of contrastive-unpaired-translation, which only its own code builds"
            )
        input_nc = read_shape(state, "model.1.weight")[1]
        blocks = {int(m[1]) for key in state if (m := re.match(r"model\.(\d+)\.conv_block\.", key))}
        if not blocks:
            raise CheckpointError("'model.1.weight' looks like a ResNet generator, but there are no residual blocks")
        widths = tuple(read_shape(state, f"model.{index}.weight")[0] for index in (1, 4, 7))
        output_nc = read_shape(state, f"model.{max(blocks) + 8}.weight")[0]
        norm, bias = read_norm(state, "model.2", "model.1"), "model.1.bias" in state
        block = f"model.{min(blocks)}.conv_block"
        begins = f"{block}.0.weight" in state or f"{block}.0.0.weight" in state  # with a convolution, not a padding
        padding: Padding = "zero" if begins else "reflect"
        first, second = _convolutions(padding, dropout=False)
        conv: Conv = "separable" if f"{block}.{first}.0.weight" in state else "standard"
        # A dropout layer moves the second convolution by one.
        dropout = f"{block}.{second}.weight" not in state and f"{block}.{second}.0.weight" not in state
        return GeneratorSpec(
            self.name, input_nc, output_nc, widths[0], len(blocks), norm, dropout, bias, widths, conv, padding
        )

    def places(self, network: nn.Module) -> Places | None:
        """Return the ends of the downsampling, of the first half of the blocks, and of the first upsampling."""
        names = {name for name, _ in network.named_modules()}
        pattern = re.compile(r"(?:encoder\.)?model\.(\d+)\.conv_block")
        blocks = sorted(int(m[1]) for name in names if (m := pattern.fullmatch(name)))
        if not blocks:
            return None
        middle = blocks[(len(blocks) + 1) // 2 - 1]
        points = {"encoder": (blocks[0] - 1, 4), "middle": (middle, 4), "decoder": (blocks[-1] + 3, 2)}
        return {
            place: [TapPoint(divided_name(f"model.{index}", names), stride)]
            for place, (index, stride) in cast(dict[Place, tuple[int, int]], points).items()
        }

    def layers(self, spec: GeneratorSpec) -> list[Layer]:
        """Return the convolutions; ``dropout`` must be known."""
        layers = [
            Layer("down0", "model.1", "model.2", (INPUT,), "down0"),
            Layer("down1", "model.4", "model.5", ("down0",), "down1"),
            Layer("down2", "model.7", "model.8", ("down1",), _STREAM),
        ]
        first, second = _convolutions(spec.padding, bool(spec.dropout))
        for i in range(spec.depth):
            block, inner, separable = f"model.{_FIRST + i}.conv_block", f"block{i}.inner", spec.conv == "separable"
            for place, index, reads, writes in (("first", first, _STREAM, inner), ("second", second, inner, _STREAM)):
                names = f"{block}.{index}", f"{block}.{index + 1}"
                layers.append(Layer(f"block{i}.{place}", *names, (reads,), writes, separable=separable))
        end = _FIRST + spec.depth
        layers.append(Layer("up1", f"model.{end}", f"model.{end + 1}", (_STREAM,), "up1", transposed=True))
        layers.append(Layer("up0", f"model.{end + 3}", f"model.{end + 4}", ("up1",), "up0", transposed=True))
        return [*layers, Layer("end", f"model.{end + 7}", "", ("up0",), OUTPUT)]

    def source(self, name: str, depth: int, teacher_depth: int) -> str:
        """Return, for block i, the middle block of the i-th of ``depth`` equal parts of the teacher's blocks."""
        found = re.fullmatch(r"block(\d+)\.(.*)", name)
        return f"block{(2 * int(found[1]) + 1) * teacher_depth // (2 * depth)}.{found[2]}" if found else name

    def smaller(self, teacher: GeneratorSpec) -> list[GeneratorSpec]:
        like = replace(teacher, widths=None)
        depths = [teacher.depth, *(depth for depth in _LISTED_DEPTHS if depth < teacher.depth)]
        convs = self.convs[self.convs.index(teacher.conv) :]
        return [replace(like, depth=depth, conv=conv) for depth in depths for conv in convs]


def _convolutions(padding: Padding, dropout: bool) -> tuple[int, int]:
    """Return the indices of the convolutions of a residual block; padding by reflection is a layer before each."""
    return (0, 4 if dropout else 3) if padding == "zero" else (1, 6 if dropout else 5)
