"""``kd report``: compare students with their teacher in cost, quality, frequency, relations and stability."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import ArgumentError, OptionError
from ..report import SECTIONS


def add_parser(commands: Any) -> None:
    """Add the command to the parser of ``kd``."""
    parser = commands.add_parser(
        "report",
        help="compare students with their teacher: cost, quality, where detail is lost, stability",
        description="Write a page that compares generators on a folder of images: how much smaller, how much faster, "
        "how much worse, where, and whether the differences exceed the noise. Generators are folders of "
        "checkpoints (checkpoints/NAME), checkpoints, exported files (.onnx, .pt2), or folders of translated images. "
        "Images are resized as by the host's test.py. An interrupted report continues where it stopped.",
    )
    what = parser.add_argument_group("what to compare")
    what.add_argument("--teacher", metavar="PATH", help="the large generator")
    what.add_argument("--student", metavar="PATH", action="append", default=[], help="a small generator; repeatable")
    what.add_argument("--epoch", default="latest", help="epoch to read from folders of checkpoints (default: latest)")
    data = parser.add_argument_group("images")
    data.add_argument("--images", metavar="FOLDER", help="inputs")
    data.add_argument("--truth", metavar="FOLDER", help="their ground truth, with the same names")
    data.add_argument("--pairs", metavar="FOLDER", help="inputs and ground truth as pairs A|B, instead of --images")
    data.add_argument("--dataroot", metavar="FOLDER", help="data set of the host, instead of --images")
    data.add_argument("--phase", default="test", help="part of the data set (default: test)")
    data.add_argument("--real", metavar="FOLDER", help="real images of the target domain (default: the ground truth)")
    data.add_argument("--direction", choices=("AtoB", "BtoA"), help="default: that of the generators")
    data.add_argument("--num-test", type=_count, metavar="N", help="number of inputs, the first ones (default: all)")
    data.add_argument("--preprocess", default="resize_and_crop", help="as in the host (default: resize_and_crop)")
    data.add_argument("--load-size", type=_count, metavar="N", help="as in the host (default: --size)")
    data.add_argument(
        "--size", "--crop-size", type=_count, default=256, metavar="N", help="side of the images (default: 256)"
    )
    data.add_argument("--eval", action="store_true", help="as in the host: no dropout, running statistics")
    how = parser.add_argument_group("what to measure")
    how.add_argument(
        "--only", metavar="PART", action="append", default=[], help=f"only this: {', '.join(SECTIONS)}; repeatable"
    )
    how.add_argument(
        "--features",
        metavar="M:F",
        help="package.module:function for the distances of features, instead of Inception: takes images (B, 3, H, W) "
        "in [0, 1], returns features (B, D)",
    )
    how.add_argument("--inception", metavar="FILE", help="Inception's weights, as torch-fidelity downloads them")
    how.add_argument("--no-fid", action="store_true", help="no distances of features")
    how.add_argument("--lpips", action="store_true", help="LPIPS as well; needs the lpips package and its weights")
    how.add_argument("--segmenter", metavar="M:F", help="package.module:function: images to scores of classes")
    how.add_argument("--labels", metavar="FOLDER", help="label maps with the names of the inputs, for --segmenter")
    how.add_argument("--sizes", type=_counts, metavar="N,N", help="sizes to measure latency at (default: --size)")
    how.add_argument("--batches", type=_counts, metavar="N,N", default=(1,), help="batches, likewise (default: 1)")
    how.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    how.add_argument("--batch-size", type=_count, metavar="N", default=8, help="images at a time (default: 8)")
    parser.add_argument("-o", "--output", metavar="FOLDER", default="report", help="(default: report)")
    parser.add_argument("--title", help="heading of the page")
    parser.set_defaults(action=_report)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _report(options: argparse.Namespace) -> int:
    if not options.teacher and not options.student:
        raise OptionError("kd report needs a generator: --teacher checkpoints/BIG --student checkpoints/SMALL")
    if not (options.images or options.pairs or options.dataroot):
        raise OptionError("kd report needs images: --images FOLDER, --pairs FOLDER or --dataroot DATA")
    for name in options.only:
        if name not in SECTIONS:
            raise OptionError(f"--only {name}: choose from {', '.join(SECTIONS)}")
    if bool(options.segmenter) != bool(options.labels):
        raise OptionError("--segmenter and --labels belong together: give both")

    from ..pictures import Preprocessing
    from .report_run import run

    try:
        preprocessing = Preprocessing(options.preprocess, options.load_size, options.size)
    except ArgumentError as error:
        raise OptionError(f"--preprocess {options.preprocess}: {error}") from error
    return run(options, preprocessing, options.only or SECTIONS)
