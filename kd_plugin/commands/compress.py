"""``kd compress``: train small generators from a checkpoint and a folder of images."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import OptionError
from ..networks.checkpoint_files import checkpoint_format

_EXAMPLE = "kd compress checkpoints/BIG/latest_net_G_A.pth --images photos --macs 7x -o small"
_LIMITS = {
    "macs": "8G or 7x",
    "params": "1.6M or 7x",
    "file-size": "4MB or 7x",
    "latency": "30ms@device.json, of kd plan --web",
}
_OF_TRAINING = (
    "teacher", "teacher_function", "teacher_weights", "teacher_images", "images", "pairs", "direction", "output"
)  # fmt: skip
_PREPROCESS = ("resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none")  # as pictures.Preprocess


def add_parser(commands: Any) -> None:
    """Add the command to the parser of ``kd``."""
    parser = commands.add_parser(
        "compress",
        help="train small generators from a checkpoint and a folder of images, without a host",
        description="Train one or several small generators (students) from a large one (the teacher) and a folder "
        "of images, which the teacher labels: without the host, pairs, or a discriminator. The folder of the results "
        "holds latest_net_G.pth in the hosts' format, student.json, a log and a page. An interrupted training is "
        f"continued exactly by the same command. Example: {_EXAMPLE}",
    )
    _add_teacher(parser.add_argument_group("teacher"))
    _add_images(parser.add_argument_group("images"))
    _add_students(parser.add_argument_group("students"))
    _add_losses(parser.add_argument_group("losses"))
    _add_training(parser.add_argument_group("training"))
    _add_output(parser.add_argument_group("results"))
    parser.complete_with(_add_terms)
    parser.set_defaults(action=_compress)


def _add_terms(parser: argparse.ArgumentParser) -> None:
    """Add the options of the terms, whose registry imports PyTorch."""
    from ..losses.flags import term_flags

    group = parser.add_argument_group(
        "weights and settings of the terms",
        "a weight is a number, or points WEIGHT@EPOCH that are interpolated linearly, such as 0@1,100@10",
    )
    for flag in term_flags():
        form: dict[str, Any] = {"action": "store_true"} if flag.type is bool else {"type": flag.type, "metavar": "X"}
        if flag.choices:
            form["metavar"] = f"{{{','.join(map(str, flag.choices))}}}"
        help = f"{flag.help} (default: {flag.default})" if flag.default not in ("", None) else flag.help
        option = f"--{flag.name.replace('_', '-')}"
        # None if it is not given: files next to the teacher may imply a setting.
        group.add_argument(option, dest=flag.name, default=None, help=help.replace("%", "%%"), **form)


def _add_teacher(group: Any) -> None:
    group.add_argument(
        "teacher",
        metavar="TEACHER",
        nargs="?",
        help="checkpoint of the teacher, its folder checkpoints/NAME, an .onnx file, or a .pt2 of torch.export",
    )
    group.add_argument("--teacher", metavar="F", dest="named", help="the same, as an option")
    group.add_argument(
        "--teacher-function", metavar="M:F", default="", help="package.module:function that returns it, instead"
    )
    group.add_argument("--teacher-weights", metavar="FILE", help="weights (state dict) of the function's network")
    group.add_argument(
        "--teacher-images", metavar="FOLDER", help="finished images of it, with the names of the inputs, instead"
    )
    group.add_argument(
        "--training",
        metavar="FOLDER",
        help="checkpoints/NAME of a finished kd run train.py --compress, instead: all its generators, on the inputs "
        "and with the preprocessing of their training; the students are in NAME_7x beside it",
    )
    group.add_argument("--teacher-epoch", default="latest", metavar="E", help="epoch of a folder (default: latest)")
    group.add_argument(
        "--teacher-mode",
        choices=("eval", "train"),
        default="eval",
        help="train: batch statistics and dropout, for teachers tested without --eval (default: eval)",
    )


def _add_images(group: Any) -> None:
    group.add_argument("--images", metavar="FOLDER", help="inputs, of any size, in any subfolders")
    group.add_argument(
        "--pairs",
        metavar="FOLDER",
        help="pairs A|B as in the hosts' aligned data sets: adds the L1 loss of the truth",
    )
    group.add_argument("--real", metavar="FOLDER", help="real images of the target domain: adds an adversarial loss")
    group.add_argument("--direction", choices=("AtoB", "BtoA"), help="default: that of the teacher")
    of_training = "default: that of the teacher's train_opt.txt"
    group.add_argument(
        "--preprocess", choices=_PREPROCESS, help=f"as in the hosts ({of_training}, or resize_and_crop)"
    )
    group.add_argument("--load-size", type=count, metavar="N", help=f"as in the hosts ({of_training}, or 286)")
    group.add_argument(
        "--size", "--crop-size", type=count, metavar="N", help=f"as --crop_size ({of_training}, or 256)"
    )
    group.add_argument("--no-flip", action="store_true", help=f"do not flip images ({of_training})")
    group.add_argument(
        "--no-augment", action="store_true", help="the same central crop of each image in each epoch, not flipped"
    )
    group.add_argument(
        "--validation", type=float, default=0.1, metavar="X", help="share of the images held out (default: 0.1)"
    )


def _add_students(group: Any) -> None:
    for name, example in _LIMITS.items():
        group.add_argument(
            f"--{name}", metavar="N", help=f"maximum cost, e.g. {example}; several with commas: 4x,7x,16x"
        )
    group.add_argument(
        "--ngf", metavar="N", help="width; several with commas (default: three eighths of the teacher's)"
    )
    group.add_argument("--widths", metavar="N,N,N", help="channels of each stage, such as 24,40,96")
    group.add_argument("--netG", "--netg", metavar="NAME", help="architecture (default: the teacher's)")
    group.add_argument("--conv", metavar="{standard,separable}", help="convolutions of the residual blocks")
    group.add_argument("--dropout", metavar="{yes,no}", help="whether it has dropout layers (default: no)")
    group.add_argument("--factory", metavar="M:F", help="package.module:function that builds it")
    group.add_argument(
        "--init",
        metavar="{auto,teacher,scratch}",
        help="initial weights: the teacher's most important channels, or random ones (default: auto, where they fit)",
    )
    group.add_argument("--keep", metavar="{l1,first}", help="channels that are kept (default: l1, the largest)")
    group.add_argument(
        "--eval", action="store_true", help="measure students with running statistics, as test.py --eval does"
    )
    group.add_argument(
        "--student",
        metavar="SPEC",
        action="append",
        default=[],
        help="a student, as settings of the above (7x, ngf=24+conv=separable, widths=24/40/96), with its own "
        "learning rate (7x+lr=0.0005), terms and weights (7x+distill=ssim/wavelet+lambda_wavelet=20); repeatable",
    )


def _add_losses(group: Any) -> None:
    group.add_argument(
        "--distill",
        metavar="NAMES",
        help="terms, comma-separated; see their options (default: ssim,feature,gram,tv,wavelet, --lambda-wavelet 10)",
    )
    group.add_argument("--distill-taps", metavar="NAMES", default="", help="modules whose features the terms read")
    group.add_argument("--srp-layers", metavar="NAMES", default="", help="modules that srp reads")
    group.add_argument("--lambda-L1", type=float, default=100.0, metavar="X", help="of --pairs (default: 100)")
    group.add_argument("--lambda-gan", type=float, default=1.0, metavar="X", help="of --real (default: 1)")
    group.add_argument(
        "--gan-mode",
        choices=("lsgan", "vanilla"),
        help="of --real (default: that of the teacher's training, or lsgan)",
    )


def _add_training(group: Any) -> None:
    group.add_argument("--epochs", type=count, metavar="N", help="passes over the images (default: 200)")
    group.add_argument("--steps", type=count, metavar="N", help="number of steps, instead")
    group.add_argument(
        "--minutes",
        type=float,
        metavar="X",
        help="as many steps as fit in this time; with --epochs or --steps: stop after it, to be continued",
    )
    group.add_argument("--batch-size", type=count, default=1, metavar="N", help="images of a step (default: 1)")
    group.add_argument(
        "--lr",
        type=float,
        metavar="X",
        help="learning rate of Adam (default: 0.002; with --real 0.0002, the hosts')",
    )
    group.add_argument("--beta1", type=float, default=0.5, metavar="X", help="momentum of Adam (default: 0.5)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of crops, flips and weights (default: 0)")
    group.add_argument("--amp", choices=("bf16", "fp16"), help="mixed precision of all networks")
    group.add_argument(
        "--teacher-dtype",
        choices=("float32", "bf16", "fp16"),
        help="precision of the teacher (default: that of --amp)",
    )
    group.add_argument("--teacher-compile", action="store_true", help="run the teacher through torch.compile")
    group.add_argument("--teacher-cache", metavar="FOLDER", help="keep the teacher's images there, with --no-augment")
    group.add_argument(
        "--max-bad-steps",
        type=int,
        default=10,
        metavar="N",
        help="drop a student after this many consecutive skipped steps (default: 10)",
    )
    group.add_argument("--device", default="", help="cpu or cuda (default: cuda if there is one)")
    group.add_argument(
        "--num-threads", "--workers", type=int, default=2, metavar="N", help="processes that load images (default: 2)"
    )


def _add_output(group: Any) -> None:
    group.add_argument("-o", "--output", metavar="FOLDER", help="folder of the results")
    group.add_argument("--fresh", action="store_true", help="begin again where the folder has a training")
    group.add_argument(
        "--print-freq", type=count, default=100, metavar="N", help="images between two lines of the log"
    )
    group.add_argument("--save-freq", type=count, default=5000, metavar="N", help="images between two saves")
    group.add_argument("--visdom", action="store_true", help="show the training on a visdom server")
    group.add_argument("--display-server", default="http://localhost", metavar="URL", help="of visdom")
    group.add_argument("--display-port", type=count, default=8097, metavar="N", help="of visdom")


def _check_training(options: argparse.Namespace) -> None:
    """Raise an :class:`OptionError` if an option is given that the training determines."""
    for name in _OF_TRAINING:
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise OptionError(f"{flag} {getattr(options, name)}: is determined by --training {options.training}")


def count(text: str) -> int:
    """Return a whole number of 1 or more."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)


def _compress(options: argparse.Namespace) -> int:
    if options.teacher and options.named:
        raise OptionError(f"kd compress takes one teacher, not both {options.teacher} and {options.named}")
    options.teacher = options.teacher or options.named
    if options.training:
        _check_training(options)
        from .compress_training import run as run_training

        return run_training(options)
    if not (options.teacher or options.teacher_function or options.teacher_images):
        raise OptionError(f"kd compress needs a teacher: {_EXAMPLE}")
    if not (options.images or options.pairs):
        raise OptionError(f"kd compress needs images: {_EXAMPLE}")
    if not options.output:
        raise OptionError("kd compress needs a folder for the results: -o FOLDER")
    if str(options.teacher).endswith((".pth", ".pt", ".safetensors")):
        from pathlib import Path

        checkpoint_format(Path(options.teacher).expanduser())  # before PyTorch is imported

    from .compress_run import run

    return run(options)
