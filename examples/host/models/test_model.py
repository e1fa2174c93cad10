"""One generator on a folder of images: the cheap way to test one direction of a CycleGAN."""

from argparse import ArgumentParser, Namespace
from typing import Any

from models.base_model import BaseModel
from util.util import die


class TestModel(BaseModel):
    """Loads ``<epoch>_net_G<model_suffix>.pth`` and translates the images below --dataroot."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    @staticmethod
    def modify_commandline_options(parser: ArgumentParser, is_train: bool = True) -> ArgumentParser:
        """Take single images and add the suffix of the checkpoint."""
        if is_train:
            die("--model test cannot be trained: use it with test.py")
        parser.set_defaults(dataset_mode="single")
        help_suffix = "which generator to load: _A and _B of a CycleGAN, empty for pix2pix"
        parser.add_argument("--model_suffix", default="", help=help_suffix)
        return parser

    def __init__(self, opt: Namespace) -> None:
        BaseModel.__init__(self, opt)
        self.visual_names = ["real", "fake"]
        self.model_names = ["G" + opt.model_suffix]
        self.netG = self.build_generator(opt.input_nc, opt.output_nc)
        setattr(self, "netG" + opt.model_suffix, self.netG)  # the name that checkpoints go by

    def set_input(self, input: dict[str, Any]) -> None:
        """Take a batch of single images."""
        self.real = input["A"].to(self.device)
        self.image_paths = input["A_paths"]

    def forward(self) -> None:
        """Translate."""
        self.fake = self.netG(self.real)

    def optimize_parameters(self) -> None:
        """Refuse: this model is for testing."""
        raise NotImplementedError("TestModel has no training step")
