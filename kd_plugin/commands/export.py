"""``kd export``: write a generator for another runtime."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, get_args

from ..errors import OptionError
from ..export.settings import Format
from .page import add_page, bound_server, serve
from .shared import add_checkpoints, generator_path

_EXAMPLE = "kd export checkpoints/facades_small -o facades.onnx"


def add_parser(commands: Any) -> None:
    """Add the command to the parser of ``kd``."""
    parser = commands.add_parser(
        "export",
        help="write a generator for ONNX Runtime, OpenVINO, ExecuTorch or torch.export, and compare the file with it",
        description="Write a generator to a file that runs without its code, for images of one size, and compare the "
        "two on images: a file whose images differ is not written. The file takes and returns images "
        "(1, C, H, W) with values from -1 to 1, or frames of 0 to 255 with --uint8; what it is is saved in it. "
        f"Example: {_EXAMPLE}",
    )
    parser.add_argument(
        "generator", metavar="NAME|FILE", nargs="?", help="a checkpoint, its folder checkpoints/NAME, or NAME alone"
    )
    what = parser.add_argument_group("which generator")
    what.add_argument("--epoch", default="latest", metavar="E", help="epoch of a folder (default: latest)")
    what.add_argument("--direction", choices=("AtoB", "BtoA"), help="of a folder with two generators")
    add_checkpoints(what)
    what.add_argument(
        "--statistics",
        choices=("picture", "running"),
        help="of batch norm: those of each image, as test.py, or those of the training, as test.py --eval (default: "
        "picture, unless kd compress --eval made the generator)",
    )
    what.add_argument(
        "--teacher",
        metavar="PATH",
        help="of --web and --bench, to compare with (default: that of student.json, if it exists)",
    )
    file = parser.add_argument_group("file")
    file.add_argument("--format", choices=get_args(Format), help="default: that of the extension of -o, or onnx")
    file.add_argument(
        "--size", type=_size, metavar="N|WxH", help="of the images in pixels (default: that of the training, or 256)"
    )
    file.add_argument("--dynamic", action="store_true", help="any size and number of images, which phones refuse")
    file.add_argument("--uint8", action="store_true", help="images are uint8 (1, H, W, C), as frames of a camera")
    file.add_argument("--half", action="store_true", help="weights in float16: half the size")
    file.add_argument(
        "--int8",
        metavar="FOLDER",
        help="compute in 8-bit integers, whose ranges are measured on images of FOLDER",
    )
    file.add_argument(
        "--tiles",
        action="store_true",
        help="for images larger than memory: a file for tiles of --size, and one for the statistics of the image",
    )
    file.add_argument("--images", metavar="FOLDER", help="images to compare on (default: drawn ones)")
    file.add_argument("-o", "--output", metavar="FILE", help="default: the name of the generator")
    file.add_argument("--force", action="store_true", help="replace an existing file, or page")
    file.add_argument(
        "--bench", action="store_true", help="time the generator and its teacher in the runtimes, instead of a file"
    )
    page = parser.add_argument_group("page")
    add_page(page, "write a page that runs the generator in a browser, without a network, instead of a file")
    parser.set_defaults(action=_export)


def _size(text: str) -> tuple[int, int]:
    """Return width and height."""
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size: give 256, or 320x256 for width and height")
    return int(found[1]), int(found[2] or found[1])


def _export(options: argparse.Namespace) -> int:
    _check_combinations(options)
    if not options.generator:
        if options.serve:
            if not (Path(options.web).expanduser() / "models.json").is_file():
                raise OptionError(f"--web {options.web}: has no page yet: name a generator as well")
            return serve(options, bound_server(options))
        raise OptionError(f"kd export needs a generator: {_EXAMPLE}")
    serving = bound_server(options) if options.serve else None  # before the work
    path = generator_path(options.generator, options.checkpoints_dir)

    from .export_run import run

    status = run(options, path)
    return serve(options, serving) if serving and not status else status


def _check_combinations(options: argparse.Namespace) -> None:
    """Raise an :class:`OptionError` for options that have no effect together."""
    if options.web and options.output:
        raise OptionError(f"--web {options.web} writes a page, not the file {options.output}: choose one")
    if options.bench and (options.web or options.output):
        raise OptionError("--bench writes nothing: remove --web and -o")
    if options.serve and not options.web:
        raise OptionError("--serve serves the page of --web FOLDER: name it")
    without = ["dynamic", "uint8", "int8", "format", "tiles"] if options.web else []
    without = ["dynamic", "uint8", "int8", "format", "half", "images", "tiles"] if options.bench else without
    if given := next((name for name in without if getattr(options, name)), ""):
        raise OptionError(f"--{given} has no effect with {'--bench' if options.bench else '--web'}: remove it")
