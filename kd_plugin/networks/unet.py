"""The U-Net generators of the family, ``unet_SIDE``: down- and upsampling, with a skip connection at every level."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from ..errors import CheckpointError
from .architecture import (
    INPUT,
    OUTPUT,
    Architecture,
    Generator,
    GeneratorSpec,
    Layer,
    Places,
    TapPoint,
    register_architecture,
)
from .layers import NormLayer, norm_layer, read_norm, read_shape

_LEAST = 5  # minimum depth of the family
_FEWER = 2  # the listed students are at most this much shallower
_SECOND = "model.model.1.model"  # the second level from the outside; .2 is its norm down, .6 its norm up


class UnetBlock(nn.Module):
    """One level of a U-Net: downsample, inner levels, upsample; concatenated with the input unless outermost."""

    def __init__(
        self,
        outer: int,
        inner: int,
        below: UnetBlock | None,
        norm: NormLayer,
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


@register_architecture
class Unet(Architecture):
    """Its depth is the number of downsampling steps; a file does not show dropout, which shifts no index here."""

    name = "unet"
    title = "U-Net"
    names = f"unet_SIDE with a power of two of at least {2**_LEAST}"
    example = "unet_128"
    stage_names = "each halving"

    def parse(self, netG: str) -> int | None:
        found = re.fullmatch(r"unet_(\d+)", netG)
        side = int(found[1]) if found else 0
        depth = side.bit_length() - 1
        return depth if depth >= _LEAST and side == 2**depth else None

    def netG(self, depth: int) -> str:
        return f"unet_{2**depth}"

    def stages(self, ngf: int, depth: int) -> tuple[int, ...]:
        return tuple(ngf * min(2**level, 8) for level in range(depth))

    def multiple(self, depth: int) -> int:
        return int(2**depth)

    def build(self, spec: GeneratorSpec) -> Generator:
        norm, bias, widths = norm_layer(spec.norm), spec.bias, spec.stages
        block: UnetBlock | None = None
        for level in range(spec.depth - 1, 0, -1):
            # The family has dropout in levels that keep 8*ngf channels, except the innermost.
            dropout = bool(spec.dropout) and 4 <= level < spec.depth - 1
            block = UnetBlock(widths[level - 1], widths[level], block, norm, bias, dropout)
        return Generator(spec, UnetBlock(spec.output_nc, widths[0], block, norm, bias, input_nc=spec.input_nc))

    def read(self, state: Mapping[str, torch.Tensor]) -> GeneratorSpec | None:
        if "model.model.0.weight" not in state:
            return None
        ngf, input_nc = read_shape(state, "model.model.0.weight")[:2]
        output_nc = read_shape(state, "model.model.3.weight")[1]
        widths, block = [ngf], _SECOND
        while f"{block}.1.weight" in state:
            widths.append(read_shape(state, f"{block}.1.weight")[0])
            block = f"{block}.3.model"
        if len(widths) < _LEAST:
            raise CheckpointError(
                f"a U-Net generator of the family has {_LEAST} or more downsampling steps, this one {len(widths)}"
            )
        norm, bias = read_norm(state, f"{_SECOND}.2", f"{_SECOND}.1"), "model.model.0.bias" in state
        return GeneratorSpec(self.name, input_nc, output_nc, ngf, len(widths), norm, None, bias, tuple(widths))

    def places(self, network: nn.Module) -> Places | None:
        """Return the second and third downsampling steps, and the upsampling to half of the resolution."""
        second, third = TapPoint(f"{_SECOND}.2", 4), TapPoint(f"{_SECOND}.3.model.2", 8)
        if third.module not in dict(network.named_modules()):
            return None
        return {"encoder": [second], "middle": [third, second], "decoder": [TapPoint(f"{_SECOND}.6", 2)]}

    def layers(self, spec: GeneratorSpec) -> list[Layer]:
        down, up = [], []
        block = "model.model"
        for level in range(spec.depth):
            outermost, innermost = level == 0, level == spec.depth - 1
            first = 0 if outermost else 1  # the inner levels begin with an activation
            normed = "" if outermost or innermost else f"{block}.2"
            below = f"{block}.{first + (1 if outermost else 2)}.model"
            # The inner level is followed by an activation, then the transposed convolution.
            at = 3 if outermost or innermost else 5
            reads = INPUT if outermost else f"down{level - 1}"
            down.append(Layer(f"down{level}", f"{block}.{first}", normed, (reads,), f"down{level}"))
            sources = (f"down{level}",) if innermost else (f"down{level}", f"up{level + 1}")
            norm, writes = ("", OUTPUT) if outermost else (f"{block}.{at + 1}", f"up{level}")
            up.append(Layer(f"up{level}", f"{block}.{at}", norm, sources, writes, transposed=True))
            block = below
        return [*down, *reversed(up)]

    def smaller(self, teacher: GeneratorSpec) -> list[GeneratorSpec]:
        least = max(_LEAST, teacher.depth - _FEWER)
        return [replace(teacher, depth=depth, widths=None) for depth in range(teacher.depth, least - 1, -1)]
