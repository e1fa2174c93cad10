"""Generators built from a description, or from a name of the family.

The order and the names of the layers are those of the family, so checkpoints are interchangeable with hosts. The
hosts know a few names (``resnet_9blocks``, ``unet_256``); these accept any depth, so a teacher can be rebuilt from
its file.
"""

from __future__ import annotations

from ..errors import ArgumentError
from . import resnet, unet  # noqa: F401  (they register the family's architectures)
from .architecture import Generator, GeneratorSpec, architectures, get_architecture

__all__ = ["Generator", "GeneratorSpec", "architectures", "build_generator", "get_architecture", "parse_netG"]


def parse_netG(netG: str) -> tuple[str, int]:
    """Return architecture and depth of a generator, of any depth, from its name.

    >>> parse_netG("resnet_4blocks"), parse_netG("unet_64")
    (('resnet', 4), ('unet', 6))

    Raises:
        ArgumentError: If the name is unknown.
    """
    for architecture in architectures():
        depth = architecture.parse(netG)
        if depth is not None:
            return architecture.name, depth
    names = ", or ".join(architecture.names for architecture in architectures())
    examples = " or ".join(architecture.example for architecture in architectures())
    raise ArgumentError(f"unknown generator '{netG}': {names}, such as {examples}")


def build_generator(spec: GeneratorSpec) -> Generator:
    """Build a generator from its description, with PyTorch's default initialisation."""
    return get_architecture(spec.architecture).build(spec)
