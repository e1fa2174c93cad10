"""Arguments shared by several commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from ..networks.checkpoint_files import checkpoint_format

if TYPE_CHECKING:
    import torch

    from ..networks.generator import GeneratorSpec

_LEAST = 8  # reflection padding in the residual blocks, at a quarter of the size, needs 2 pixels
SIZE = 256  # pixels


def add_host(parser: argparse.ArgumentParser) -> None:
    """Add the folder of a host."""
    parser.add_argument("host", metavar="HOST", nargs="?", default=".", help="folder of the host (default: .)")


def add_checkpoints(parser: Any) -> None:
    """Add ``--checkpoints-dir`` to a parser or a group of it."""
    parser.add_argument(
        "--checkpoints-dir", metavar="FOLDER", default="./checkpoints", help="as in the host (default: ./checkpoints)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_size(parser: argparse.ArgumentParser) -> None:
    """Add ``--size``."""
    parser.add_argument(
        "--size", type=_pixels, metavar="N", default=SIZE, help=f"side of a square image in pixels (default: {SIZE})"
    )


def _pixels(text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        size = 0
    if size < _LEAST:
        raise OptionError(f"--size {text}: give {_LEAST} pixels or more, as a whole number")
    return size


def port(text: str) -> int:
    """Return the number of a port."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port: give a number from 1 to 65535")
    return int(text)


def path_of(given: str | None) -> Path | None:
    """Return a path of an option; None if it is not given."""
    return Path(given).expanduser() if given else None


def generator_path(name: str, checkpoints: str) -> Path:
    """Return the path that a name stands for: a file, a folder, or an experiment in the folder of checkpoints.

    Raises:
        CheckpointError: If it is none of them.
    """
    path, experiment = Path(name).expanduser(), Path(checkpoints).expanduser() / name
    if not any(path.glob("*_net_G*")) and experiment.is_dir() and not path.is_file():
        return experiment
    if not path.is_dir():
        checkpoint_format(path)  # raises for a file that is not a checkpoint, before PyTorch is imported
    return path


def device_of(name: str) -> torch.device:
    """Return the device of an option; raises an :class:`OptionError` if there is none."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise OptionError(f"--device {name}: give cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"--device {name}: PyTorch finds no CUDA GPU, use cpu")
    return device


def check_size(size: int, spec: GeneratorSpec) -> None:
    """Raise an :class:`OptionError` if an image size is not a multiple of a generator's stride."""
    if size % spec.multiple:
        raise OptionError(f"--size {size}: a {spec.netG} takes multiples of {spec.multiple}")
