"""Build a student generator from what a host asks for, with builders that users register by name.

A registered name is one that ``--student_netG`` takes::

    from kd_plugin import students


    @students.register("mobile")
    def mobile(request: students.StudentRequest) -> nn.Module:
        return MobileGenerator(request.input_nc, request.output_nc, request.ngf)

``--student_factory package.module:function`` takes a function without a name. An architecture that is read from its
files, and that students inherit from, is registered with :func:`~kd_plugin.students.register_architecture`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast, get_args

from torch import nn

from ..errors import ArgumentError
from ..imports import build_network, is_function, place_of
from ..networks.architecture import Conv, Norm
from ..networks.generator import GeneratorSpec, build_generator, parse_netG

__all__ = ["StudentRequest", "build_student", "factory_of", "is_registered", "register", "student_spec"]


@dataclass(frozen=True)
class StudentRequest:
    """What a generator is asked to be.

    Attributes:
        input_nc, output_nc: channels of the images it takes and gives.
        ngf: channels of the first layer.
        netG: ``resnet_Nblocks``, ``unet_SIDE``, or the name of a registered builder.
        norm: ``"batch"``, ``"instance"``, ``"none"``, or another name that the host has.
        dropout: whether it has dropout layers.
        widths: channels of each stage, or None for the family's, which follow from ``ngf``.
        conv: ``"standard"``, or ``"separable"`` for depthwise and pointwise ones in residual blocks.
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

    @property
    def is_plain(self) -> bool:
        """Whether a host can build it, with no widths, convolutions or factory named."""
        return self.widths is None and self.conv == "standard" and not self.factory


Builder = Callable[[StudentRequest], nn.Module]
_B = TypeVar("_B", bound=Builder)
_builders: dict[str, Builder] = {}


def register(name: str) -> Callable[[_B], _B]:
    """Register a builder, a function of a :class:`StudentRequest`, under a name for ``--student_netG``.

    Raises:
        ArgumentError: the name is taken, or is one of the family's.
    """

    def add(builder: _B) -> _B:
        if not callable(builder):
            raise ArgumentError(f"the builder '{name}' is a {type(builder).__name__}, expected a function")
        if name in _builders and place_of(_builders[name]) != place_of(builder):
            raise ArgumentError(f"there is a builder '{name}' already: {_builders[name].__module__}")
        try:
            parse_netG(name)
        except ArgumentError:
            _builders[name] = builder
            return builder
        raise ArgumentError(f"'{name}' is a generator of the family: register yours under another name")

    return add


def is_registered(name: str) -> bool:
    """Return whether there is a builder of this name."""
    return name in _builders


def factory_of(name: str) -> str:
    """Return a registered builder as ``package.module:function``, or "" where it cannot be imported so."""
    place = place_of(_builders[name]) if name in _builders else ""
    return place if is_function(place) and not place.startswith("__main__:") else ""


def build_student(request: StudentRequest) -> nn.Module:
    """Build a generator: the factory's, the registered builder's, or the family's; PyTorch's initialisation.

    Raises:
        ArgumentError: there is none of the name, it does not take what is asked for, or the user's function fails.
    """
    source = request.factory or _builders.get(request.netG)
    if not source:
        network: nn.Module = build_generator(student_spec(request))
        if request.norm == "syncbatch":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return network
    called = f"the student {request.factory or request.netG}"
    if request.widths or request.conv != "standard":
        asked = "stage widths" if request.widths else f"{request.conv} convolutions"
        raise ArgumentError(f"{called} builds itself, and takes no {asked}: leave them out")
    return build_network(called, source, request)


def student_spec(request: StudentRequest) -> GeneratorSpec:
    """Return the description of a generator of the family.

    Raises:
        ArgumentError: the family has none such.
    """
    architecture, depth = _family(request.netG)
    norm = "batch" if request.norm == "syncbatch" else request.norm
    if norm not in get_args(Norm):
        raise ArgumentError(f"norm '{norm}' is the host's own: take batch, instance or none")
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
        bias=norm == "instance",  # as the family has it
        widths=request.widths,
        conv=request.conv,
    )


def _family(netG: str) -> tuple[str, int]:
    try:
        return parse_netG(netG)
    except ArgumentError as error:
        if not _builders:
            raise
        raise ArgumentError(f"{error}, or the registered {', '.join(sorted(_builders))}") from None
