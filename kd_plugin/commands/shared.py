"""Arguments shared by several commands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import OptionError

if TYPE_CHECKING:
    from ..networks.generator import GeneratorSpec

_LEAST = 8  # reflection padding in the residual blocks, at a quarter of the size, needs 2 pixels


def add_host(parser: argparse.ArgumentParser) -> None:
    """Add the folder of a host."""
    parser.add_argument("host", metavar="HOST", nargs="?", default=".", help="folder of the host (default: .)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_size(parser: argparse.ArgumentParser) -> None:
    """Add ``--size``."""
    parser.add_argument(
        "--size", type=_pixels, metavar="N", default=256, help="side of a square image in pixels (default: 256)"
    )


def _pixels(text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        size = 0
    if size < _LEAST:
        raise OptionError(f"--size {text}: give {_LEAST} pixels or more, as a whole number")
    return size


def check_size(size: int, spec: GeneratorSpec) -> None:
    """Raise an :class:`OptionError` if an image size is not a multiple of a generator's stride."""
    if size % spec.multiple:
        raise OptionError(f"--size {size}: a {spec.netG} takes multiples of {spec.multiple}")
