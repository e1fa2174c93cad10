"""Test a single generator on a folder of images, such as one direction of a CycleGAN."""

from argparse import ArgumentParser, Namespace
from typing import Any

from models.base_model import BaseModel
from util.util import die


class TestModel(BaseModel):
    """Load ``<epoch>_net_G<model_suffix>.pth`` and translate the images below --dataroot."""

    __test__ = False  # pytest must not collect this class

    @staticmethod
    def modify_commandline_options(parser: ArgumentParser, is_train: bool = True) -> ArgumentParser:
        """Set the data set mode and add the suffix of the checkpoint."""
        if is_train:
            die("--model test cannot be trained: use it with test.py")
        parser.set_defaults(dataset_mode="single")
        help_suffix = "generator to load: _A or _B for a CycleGAN, empty for pix2pix"
        parser.add_argument("--model_suffix", default="", help=help_suffix)
        return parser

    def __init__(self, opt: Namespace) -> None:
        BaseModel.__init__(self, opt)
        self.visual_names = ["real", "fake"]
        self.model_names = ["G" + opt.model_suffix]
        self.netG = self.build_generator(opt.input_nc, opt.output_nc)
        setattr(self, "netG" + opt.model_suffix, self.netG)  # the name used in checkpoints

    def set_input(self, input: dict[str, Any]) -> None:
        """Unpack a batch of single images."""
        self.real = input["A"].to(self.device)
        self.image_paths = input["A_paths"]

    def forward(self) -> None:
        """Translate the images."""
        self.fake = self.netG(self.real)

    def optimize_parameters(self) -> None:
        """Raise, as this model is only for testing."""
        raise NotImplementedError("TestModel has no training step")
