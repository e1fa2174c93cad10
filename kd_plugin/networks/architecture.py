"""The description of a generator, the interface of an architecture, and the registry of architectures.

An architecture is one file that defines how its generators are named, built, read from a file and made smaller, where
features are read, and which channels belong together. :mod:`~kd_plugin.networks.resnet` and
:mod:`~kd_plugin.networks.unet` are those of the host family.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

import torch
from torch import nn

from ..errors import ArgumentError, unknown_name
from ..imports import place_of

Norm = Literal["batch", "instance", "none"]
Conv = Literal["standard", "separable"]
Padding = Literal["reflect", "zero"]
Place = Literal["encoder", "middle", "decoder"]

INPUT, OUTPUT = "input", "output"  # the channel groups of the images
_MOST_WIDTH, _MOST_DEPTH = 1 << 20, 1000  # of a description that is read: larger numbers take hours to check


@dataclass(frozen=True)
class GeneratorSpec:
    """Description from which a generator is built.

    Attributes:
        architecture: name of a registered architecture: ``"resnet"``, ``"unet"``.
        input_nc, output_nc: channels of the input and output images.
        ngf: channels of the first layer; the other widths follow from it, unless ``widths`` is given.
        depth: residual blocks of a ResNet; downsampling steps of a U-Net.
        norm: ``"batch"``, ``"instance"`` (no affine parameters, no running statistics) or ``"none"``.
        dropout: whether there are dropout layers; None if a file does not show it.
        bias: whether convolutions followed by a norm have a bias.
        widths: channels of each stage, the first being ``ngf``; None for those of the architecture.
        conv: ``"separable"`` for residual blocks of depthwise and pointwise convolutions.
        padding: of a ResNet: ``"reflect"``, or ``"zero"`` as DeepLIIF's.

    Raises:
        ArgumentError: If the architecture is unknown, the widths do not match its stages, or it does not support the
            convolutions or the padding.
    """

    architecture: str
    input_nc: int
    output_nc: int
    ngf: int
    depth: int
    norm: Norm
    dropout: bool | None
    bias: bool
    widths: tuple[int, ...] | None = None
    conv: Conv = "standard"
    padding: Padding = "reflect"

    def __post_init__(self) -> None:
        architecture = get_architecture(self.architecture)
        if self.conv not in architecture.convs:
            raise ArgumentError(
                f"separable convolutions are for residual blocks, which a {self.netG} does not have: use standard "
                f"ones, or a ResNet such as resnet_9blocks",
                argument="conv",
            )
        if self.padding not in architecture.paddings:
            raise ArgumentError(f"padding '{self.padding}' is for ResNets, not for a {self.netG}: leave it out")
        if self.widths is None:
            return
        usual = architecture.stages(self.ngf, self.depth)
        if len(self.widths) != len(usual) or min(self.widths) < 1 or self.widths[0] != self.ngf:
            raise ArgumentError(
                f"widths {','.join(map(str, self.widths))}: a {self.netG} takes {len(usual)}, of 1 or more, for "
                f"{architecture.stage_names}, such as {','.join(map(str, usual))}",
                argument="widths",
            )
        if self.widths == usual:  # equal networks have equal descriptions
            object.__setattr__(self, "widths", None)

    @property
    def stages(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return self.widths or get_architecture(self.architecture).stages(self.ngf, self.depth)

    @property
    def netG(self) -> str:
        """Its name, such as ``resnet_9blocks`` or ``unet_256``."""
        return get_architecture(self.architecture).netG(self.depth)

    @property
    def multiple(self) -> int:
        """The number that height and width of an image must be multiples of."""
        return get_architecture(self.architecture).multiple(self.depth)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the name as a dictionary for JSON."""
        return {"netG": self.netG, **asdict(self), "widths": list(self.widths) if self.widths else None}

    @classmethod
    def from_dict(cls, content: object) -> GeneratorSpec:
        """Return the description of a dictionary that :meth:`to_dict` returned; any other object is refused.

        Raises:
            ArgumentError: If a field is missing, unknown or not valid.
        """
        names = {field.name for field in fields(cls)}
        if isinstance(content, dict):
            content = {"padding": "reflect", **content}  # not in files of earlier versions
        if not isinstance(content, dict) or content.keys() != {"netG", *names}:
            raise ArgumentError("not the description of a generator")
        values = {name: content[name] for name in names}
        widths = values["widths"]
        stages = widths if isinstance(widths, list) else []
        counts = [values["input_nc"], values["output_nc"], values["ngf"], *stages]
        valid = {
            "architecture": isinstance(values["architecture"], str),
            "depth": type(values["depth"]) is int and 1 <= values["depth"] <= _MOST_DEPTH,
            "norm": values["norm"] in get_args(Norm),
            "conv": values["conv"] in get_args(Conv),
            "padding": values["padding"] in get_args(Padding),
            "dropout": values["dropout"] is None or type(values["dropout"]) is bool,
            "bias": type(values["bias"]) is bool,
            "widths": widths is None or isinstance(widths, list),
            "channels": all(type(count) is int and 1 <= count <= _MOST_WIDTH for count in counts),
        }
        if wrong := next((name for name, fine in valid.items() if not fine), ""):
            raise ArgumentError(f"not the description of a generator: its {wrong} is not valid")
        spec = cls(**{**values, "widths": tuple(widths) if widths else None})
        if spec.to_dict() != content:
            raise ArgumentError("not the description of a generator: its fields contradict each other")
        return spec


class Generator(nn.Module):
    """A generator, (B, C, H, W) images in [-1, 1] in and out; the names of all its tensors begin with ``model``."""

    def __init__(self, spec: GeneratorSpec, model: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.model(x)
        return out


@dataclass(frozen=True)
class Layer:
    """A convolution with the norm that follows it, and the channels it reads and writes.

    Channels that must be pruned together form a *group*: those joined by residual connections, or passed on by a skip
    connection. Groups have names, which match between generators of different width or depth.

    Attributes:
        place: its role in any generator of the architecture: ``down1``, ``block0.first``.
        conv, norm: names of the modules; ``norm`` is "" if there is none.
        reads: the groups it reads, concatenated in this order; ``INPUT`` is that of the image.
        writes: the group it writes; ``OUTPUT`` is that of the image.
        transposed: whether it is a transposed convolution, whose weight has input channels first.
        separable: whether it is a ``SeparableConv``.
    """

    place: str
    conv: str
    norm: str
    reads: tuple[str, ...]
    writes: str
    transposed: bool = False
    separable: bool = False


class TapPoint(NamedTuple):
    """A module whose output is a feature map, and its stride: the ratio of the image's sides to the map's."""

    module: str
    stride: int


Places = Mapping[Place, Sequence[TapPoint]]


class Architecture(ABC):
    """A family of generators that differ in width and depth.

    Attributes:
        name: its name in ``GeneratorSpec.architecture``.
        title: its name in messages: ``"U-Net"``.
        names: the names of its generators, described for an error message.
        example: one of these names.
        stage_names: the stages that have a width each, described.
        convs: the convolutions it supports, the default first.
        paddings: the paddings it supports.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    names: ClassVar[str]
    example: ClassVar[str]
    stage_names: ClassVar[str]
    convs: ClassVar[tuple[Conv, ...]] = ("standard",)
    paddings: ClassVar[tuple[Padding, ...]] = ("reflect",)

    @abstractmethod
    def parse(self, netG: str) -> int | None:
        """Return the depth of a generator from its name; None if the name is of another architecture."""

    @abstractmethod
    def netG(self, depth: int) -> str:
        """Return the name of a generator."""

    @abstractmethod
    def stages(self, ngf: int, depth: int) -> tuple[int, ...]:
        """Return the channels of each stage, proportional to ``ngf``, which is the first."""

    def multiple(self, depth: int) -> int:
        """Return the power of two that height and width of an image must be multiples of."""
        return 1

    @abstractmethod
    def build(self, spec: GeneratorSpec) -> Generator:
        """Build a generator, with PyTorch's default initialisation."""

    @abstractmethod
    def read(self, state: Mapping[str, torch.Tensor]) -> GeneratorSpec | None:
        """Return the description of a generator from its state dict; None without a first layer of the architecture.

        The caller compares the state dict with that of a generator built from the description.

        Raises:
            CheckpointError: If the first layer matches, but others do not.
        """

    @abstractmethod
    def places(self, network: nn.Module) -> Places | None:
        """Return where features are read, the best point of each place first; None for other networks.

        Student and teacher are compared at the first points of equal stride.
        """

    @abstractmethod
    def layers(self, spec: GeneratorSpec) -> list[Layer]:
        """Return the convolutions of a generator, first to last."""

    def source(self, name: str, depth: int, teacher_depth: int) -> str:
        """Return the place or group of a deeper teacher that the student's place or group inherits from.

        The source of a layer must also read the sources of the groups that the layer reads.
        """
        return name

    def smaller(self, teacher: GeneratorSpec) -> list[GeneratorSpec]:
        """Return the students that ``kd plan`` lists for a teacher, at its width: depths and convolutions."""
        return [replace(teacher, widths=None)]


_ARCHITECTURES: dict[str, Architecture] = {}
A = TypeVar("A", bound=type[Architecture])


def register_architecture(cls: A) -> A:
    """Class decorator: register an architecture under its name, and its generators under theirs.

    Raises:
        TypeError: If it is not an :class:`Architecture`, or does not define all it must.
        ValueError: If its name or example is taken, or ``parse`` and ``netG`` do not agree on the example.
    """
    if not (isinstance(cls, type) and issubclass(cls, Architecture)):
        raise TypeError(f"{cls!r} is not a subclass of Architecture")
    texts = ("name", "title", "names", "example", "stage_names")
    missing = [*(text for text in texts if not isinstance(getattr(cls, text, None), str)), *cls.__abstractmethods__]
    if missing:
        raise TypeError(f"{cls.__name__} lacks {', '.join(sorted(missing))}")
    new = cls()
    depth = new.parse(new.example)
    if depth is None or new.netG(depth) != new.example:
        raise ValueError(f"{cls.__name__}: parse and netG do not agree on the example '{new.example}'")
    for other in _ARCHITECTURES.values():
        if place_of(type(other)) == place_of(cls):  # the module is imported again
            continue
        if other.name == new.name:
            raise ValueError(f"the architecture '{new.name}' is already registered, as {type(other).__name__}")
        for name in (new.example, other.example):
            if new.parse(name) is not None and other.parse(name) is not None:
                raise ValueError(f"{cls.__name__}: '{name}' is also the name of a {other.title}")
    _ARCHITECTURES[new.name] = new
    return cls


def architectures() -> list[Architecture]:
    """Return all registered architectures, in order of registration."""
    return list(_ARCHITECTURES.values())


def get_architecture(name: str) -> Architecture:
    """Return an architecture by its name.

    Raises:
        ArgumentError: If the name is unknown; the message suggests the nearest.
    """
    if name not in _ARCHITECTURES:
        raise ArgumentError(unknown_name("architecture", name, _ARCHITECTURES))
    return _ARCHITECTURES[name]
