"""Options shared by training and testing."""

from __future__ import annotations

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from pathlib import Path

import torch

import data
import models
from util.form import FORM
from util.util import die, process_rank


class BaseOptions:
    """Build the parser in stages: base options, then those of the model, then those of the data set."""

    def __init__(self) -> None:
        self.initialized = False
        self.isTrain = False
        self.parser: ArgumentParser | None = None

    def initialize(self, parser: ArgumentParser) -> ArgumentParser:
        """Add the options shared by training and testing."""
        add = parser.add_argument
        # the experiment
        add("--dataroot", required=True, help="folder of the images")
        add("--name", default="experiment_name", help="name of the experiment and of its folder")
        add("--checkpoints_dir", default="./checkpoints", help="experiments are saved below this folder")
        add("--suffix", default="", help="suffix of the name; may refer to options: {model}_{netG}")
        add("--verbose", action="store_true", help="print the layers of the networks")
        if FORM == "2020":
            gpu_ids = "0" if torch.cuda.is_available() else "-1"
            add("--gpu_ids", type=str, default=gpu_ids, help="GPUs to use, such as 0 or 0,1; -1 for the CPU")
        # the networks
        add("--model", default="cycle_gan", help="file of the model: models/<model>_model.py")
        add("--input_nc", type=int, default=3, help="channels of the input: 3 for RGB, 1 for grey")
        add("--output_nc", type=int, default=3, help="channels of the output: 3 for RGB, 1 for grey")
        add("--ngf", type=int, default=64, help="channels of the generator's first convolution")
        add("--ndf", type=int, default=64, help="channels of the discriminator's first layer")
        add("--netD", default="basic", choices=["basic", "n_layers", "pixel"], help="discriminator")
        net_g = ["resnet_9blocks", "resnet_6blocks", "unet_256", "unet_128"]
        add("--netG", default="resnet_9blocks", choices=net_g, help="generator")
        add("--n_layers_D", type=int, default=3, help="depth of the discriminator n_layers")
        add("--norm", default="instance", choices=["instance", "batch", "none"], help="normalisation")
        init = ["normal", "xavier", "kaiming", "orthogonal"]
        add("--init_type", default="normal", choices=init, help="how weights are initialised")
        add("--init_gain", type=float, default=0.02, help="scale of the initial weights")
        add("--no_dropout", action="store_true", help="build the generator without dropout")
        # the images
        add("--dataset_mode", default="unaligned", help="file of the data set: data/<mode>_dataset.py")
        add("--direction", default="AtoB", choices=["AtoB", "BtoA"], help="direction of the translation")
        add("--serial_batches", action="store_true", help="load the images in order, not at random")
        add("--num_threads", type=int, default=4, help="worker processes that load images")
        add("--batch_size", type=int, default=1, help="images per batch")
        add("--load_size", type=int, default=286, help="size that images are resized to")
        add("--crop_size", type=int, default=256, help="size of the crop after resizing")
        add("--max_dataset_size", type=int, default=float("inf"), help="use at most this many images")
        steps = ["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"]
        add("--preprocess", default="resize_and_crop", choices=steps, help="how images are resized and cropped")
        add("--no_flip", action="store_true", help="do not flip images at random")
        add("--display_winsize", type=int, default=256, help="width of images on web pages")
        # the checkpoint
        add("--epoch", default="latest", help="which checkpoint to load")
        add(
            "--load_iter",
            type=int,
            default=0,
            help="if positive, load the checkpoint iter_<load_iter> instead",
        )
        self.initialized = True
        return parser

    def gather_options(self) -> Namespace:
        """Parse the command line; --model and --dataset_mode determine which options exist."""
        parser = ArgumentParser(formatter_class=ArgumentDefaultsHelpFormatter)
        parser = self.initialize(parser)
        opt, _ = parser.parse_known_args()
        parser = models.get_option_setter(opt.model)(parser, self.isTrain)
        opt, _ = parser.parse_known_args()  # again, as the model may change defaults
        parser = data.get_option_setter(opt.dataset_mode)(parser, self.isTrain)
        self.parser = parser
        return parser.parse_args()

    def print_options(self, opt: Namespace) -> None:
        """Print the options and save them as ``<checkpoints_dir>/<name>/<phase>_opt.txt``."""
        assert self.parser is not None, "gather_options comes first"
        lines = ["----- options -----"]
        for key, value in sorted(vars(opt).items()):
            default = self.parser.get_default(key)
            comment = f"\t[default: {default}]" if value != default else ""
            lines.append(f"{key:>25}: {value!s:<30}{comment}")
        text = "\n".join([*lines, "----- end -----"])
        print(text)
        folder = Path(opt.checkpoints_dir) / opt.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{opt.phase}_opt.txt").write_text(text + "\n", encoding="utf-8")

    def parse(self) -> Namespace:
        """Parse, print and save the options, and return them."""
        opt = self.gather_options()
        opt.isTrain = self.isTrain
        if opt.suffix:
            opt.name += "_" + opt.suffix.format(**vars(opt))
        if process_rank() == 0:
            self.print_options(opt)
        if FORM == "2020":
            opt.gpu_ids = parse_gpu_ids(opt.gpu_ids)
        self.opt = opt
        return opt


def parse_gpu_ids(text: str) -> list[int]:
    """Parse ``"0,1"`` as ``[0, 1]`` and ``"-1"`` as ``[]``, and set the first GPU as the current device."""
    try:
        ids = [int(part) for part in text.split(",") if int(part) >= 0]
    except ValueError:
        die(f"--gpu_ids {text} is not a list of numbers: give e.g. 0 or 0,1, or -1 for the CPU")
    if ids:
        if max(ids) >= torch.cuda.device_count():
            die(f"--gpu_ids {text}: PyTorch sees {torch.cuda.device_count()} GPUs; give -1 for the CPU")
        torch.cuda.set_device(ids[0])
    return ids
