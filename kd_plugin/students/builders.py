"""Build a student generator from a request, with builders that users register by name.

A registered name is a value of ``--student_netG``::

    from kd_plugin import students


    @students.register("mobile")
    def mobile(request: students.StudentRequest) -> nn.Module:
        return MobileGenerator(request.input_nc, request.output_nc, request.ngf)

``--student_factory package.module:function`` takes an unregistered function. Architectures that are read from files,
and that students inherit from, are registered with :func:`~kd_plugin.students.register_architecture`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast, get_args

from torch import nn

from ..errors import ArgumentError
from ..imports import build_network, is_function, place_of
from ..networks.architecture import Conv, Norm, Padding
from ..networks.generator import GeneratorSpec, build_generator, get_architecture, parse_netG


@dataclass(frozen=True)
class StudentRequest:
    """The requested properties of a generator.

    Attributes:
        input_nc, output_nc: channels of the input and output images.
        ngf: channels of the first layer.
        netG: ``resnet_Nblocks``, ``unet_SIDE``, or the name of a registered builder.
        norm: ``"batch"``, ``"instance"``, ``"none"``, or another name of the host.
        dropout: whether it has dropout layers.
        widths: channels of each stage, or None for the family's, which follow from ``ngf``.
        conv: ``"standard"``, or ``"separable"`` for depthwise and pointwise ones in residual blocks.
        padding: of a ResNet: ``"reflect"``, ``"zero"``, or another name of the host.
        factory: ``package.module:function`` that builds it, or "".
    """

    input_nc: int = 3
    output_nc: int = 3
    ngf: int = 64
    netG: str = "resnet_9blocks"
    norm: str = "instance"
    dropout: bool = False
    widths: tuple[int, ...] | None = None
    conv: Conv = "standard"
    factory: str = ""
    padding: str = "reflect"

    @property
    def is_plain(self) -> bool:
        """Whether a host can build it; not so with widths, separable convolutions, a factory or zero padding."""
        return self.widths is None and self.conv == "standard" and not self.factory and self.padding == "reflect"


Builder = Callable[[StudentRequest], nn.Module]
_B = TypeVar("_B", bound=Builder)
_builders: dict[str, Builder] = {}


def register(name: str) -> Callable[[_B], _B]:
    """Register a builder, a function of a :class:`StudentRequest`, under a name for ``--student_netG``.

    Raises:
        ArgumentError: If the name is taken, or is one of the family's.
    """

    def add(builder: _B) -> _B:
        if not callable(builder):
            raise ArgumentError(f"the builder '{name}' is a {type(builder).__name__}, expected a function")
        if name in _builders and place_of(_builders[name]) != place_of(builder):
            raise ArgumentError(f"the builder '{name}' is already registered: {_builders[name].__module__}")
        try:
            parse_netG(name)
        except ArgumentError:
            _builders[name] = builder
            return builder
        raise ArgumentError(f"'{name}' is a generator of the family: register the builder under another name")

    return add


def is_registered(name: object) -> bool:
    """Return whether a builder is registered under the name; some hosts have a list of names, which is none."""
    return isinstance(name, str) and name in _builders


def factory_of(name: object) -> str:
    """Return a registered builder as ``package.module:function``, or "" if it cannot be imported by that name."""
    place = place_of(_builders[name]) if isinstance(name, str) and name in _builders else ""
    return place if is_function(place) and not place.startswith("__main__:") else ""


def build_student(request: StudentRequest) -> nn.Module:
    """Build a generator with the factory, the registered builder, or the family's architecture.

    Raises:
        ArgumentError: If the name is unknown, the request is not supported, or the user's function fails.
    """
    source = request.factory or _builders.get(request.netG)
    if not source:
        network: nn.Module = build_generator(student_spec(request))
        if request.norm == "syncbatch":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return network
    name = f"the student {request.factory or request.netG}"
    if request.widths or request.conv != "standard":
        unsupported = "stage widths" if request.widths else f"{request.conv} convolutions"
        raise ArgumentError(f"{name} has a custom builder, which takes no {unsupported}: remove them")
    return build_network(name, source, request)


def student_spec(request: StudentRequest) -> GeneratorSpec:
    """Return the description of a generator of the family.

    Raises:
        ArgumentError: If the family has no such generator.
    """
    try:
        architecture, depth = parse_netG(request.netG)
    except ArgumentError as error:
        if not _builders:
            raise
        raise ArgumentError(f"{error}, or the registered {', '.join(sorted(_builders))}") from None
    norm = "batch" if request.norm == "syncbatch" else request.norm
    if norm not in get_args(Norm):
        raise ArgumentError(f"norm '{norm}' is only known to the host: use batch, instance or none")
    if request.ngf < 1:
        raise ArgumentError(f"ngf {request.ngf}: give a width of 1 or more, e.g. 24")
    return GeneratorSpec(
        architecture,
        request.input_nc,
        request.output_nc,
        request.ngf,
        depth,
        cast(Norm, norm),
        request.dropout,
        bias=norm == "instance",  # as in the family
        widths=request.widths,
        conv=request.conv,
        padding=_padding(request.padding, architecture),
    )


def _padding(name: str, architecture: str) -> Padding:
    """Return the padding of a generator; U-Nets and others have one of their own."""
    if name not in get_args(Padding):
        raise ArgumentError(f"padding '{name}' is only known to the host: use reflect or zero")
    padding = cast(Padding, name)
    return padding if padding in get_architecture(architecture).paddings else "reflect"
