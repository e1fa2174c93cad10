"""Which convolution of a generator reads and writes which channels.

Channels that must be chosen alike form a *group*: those that a residual connection adds, or that a skip connection
hands on. A group is named by its place, so that the groups of two generators of different width or depth can be set
against each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..networks.generator import GeneratorSpec

__all__ = ["INPUT", "OUTPUT", "Layer", "layers_of", "widths_of"]

INPUT, OUTPUT = "input", "output"
_STREAM = "stream"  # the channels that the residual blocks of a ResNet add to


@dataclass(frozen=True)
class Layer:
    """A convolution with the norm that follows it.

    Attributes:
        place: what it is in any generator of the architecture: ``down1``, ``block0.first``.
        conv, norm: names of the modules; ``norm`` is "" where none follows.
        reads: the groups it reads, concatenated in this order.
        writes: the group it writes.
        transposed: whether it is a transposed convolution, whose weight has input channels first.
        separable: whether it is a :class:`~kd_plugin.networks.generator.SeparableConv`.
    """

    place: str
    conv: str
    norm: str
    reads: tuple[str, ...]
    writes: str
    transposed: bool = False
    separable: bool = False


def layers_of(spec: GeneratorSpec) -> list[Layer]:
    """Return the convolutions of a generator, first to last; ``dropout`` must be known for a ResNet."""
    return _resnet(spec) if spec.architecture == "resnet" else _unet(spec)


def widths_of(spec: GeneratorSpec) -> dict[str, int]:
    """Return the channels of every group of a generator."""
    widths = {INPUT: spec.input_nc, OUTPUT: spec.output_nc}
    if spec.architecture == "resnet":
        full, half, quarter = spec.stages
        widths |= {"down0": full, "down1": half, _STREAM: quarter, "up1": half, "up0": full}
        return widths | {f"block{i}.inner": quarter for i in range(spec.depth)}
    for level, width in enumerate(spec.stages):
        widths[f"down{level}"] = width
        if level:
            widths[f"up{level}"] = spec.stages[level - 1]
    return widths


def _resnet(spec: GeneratorSpec) -> list[Layer]:
    layers = [
        Layer("down0", "model.1", "model.2", (INPUT,), "down0"),
        Layer("down1", "model.4", "model.5", ("down0",), "down1"),
        Layer("down2", "model.7", "model.8", ("down1",), _STREAM),
    ]
    second = 6 if spec.dropout else 5  # the dropout layer shifts the second convolution
    for i in range(spec.depth):
        block, inner, separable = f"model.{10 + i}.conv_block", f"block{i}.inner", spec.conv == "separable"
        for place, index, reads, writes in (("first", 1, _STREAM, inner), ("second", second, inner, _STREAM)):
            names = f"{block}.{index}", f"{block}.{index + 1}"
            layers.append(Layer(f"block{i}.{place}", *names, (reads,), writes, separable=separable))
    end = 10 + spec.depth
    layers.append(Layer("up1", f"model.{end}", f"model.{end + 1}", (_STREAM,), "up1", transposed=True))
    layers.append(Layer("up0", f"model.{end + 3}", f"model.{end + 4}", ("up1",), "up0", transposed=True))
    return [*layers, Layer("end", f"model.{end + 7}", "", ("up0",), OUTPUT)]


def _unet(spec: GeneratorSpec) -> list[Layer]:
    down, up = [], []
    block = "model.model"
    for level in range(spec.depth):
        outermost, innermost = level == 0, level == spec.depth - 1
        first = 0 if outermost else 1  # the inner levels begin with an activation
        normed = "" if outermost or innermost else f"{block}.2"
        below = f"{block}.{first + (1 if outermost else 2)}.model"
        # After the level below comes an activation, then the transposed convolution.
        at = 3 if outermost or innermost else 5
        reads = INPUT if outermost else f"down{level - 1}"
        down.append(Layer(f"down{level}", f"{block}.{first}", normed, (reads,), f"down{level}"))
        sources = (f"down{level}",) if innermost else (f"down{level}", f"up{level + 1}")
        norm, writes = ("", OUTPUT) if outermost else (f"{block}.{at + 1}", f"up{level}")
        up.append(Layer(f"up{level}", f"{block}.{at}", norm, sources, writes, transposed=True))
        block = below
    return [*down, *reversed(up)]
