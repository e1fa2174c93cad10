"""Options of test.py."""

from argparse import ArgumentParser

from options.base_options import BaseOptions


class TestOptions(BaseOptions):
    """The base options and those of testing."""

    __test__ = False  # pytest must not collect this class

    def initialize(self, parser: ArgumentParser) -> ArgumentParser:
        """Add the options of testing."""
        parser = BaseOptions.initialize(self, parser)
        add = parser.add_argument
        add("--results_dir", default="./results/", help="results are saved below this folder")
        add(
            "--aspect_ratio",
            type=float,
            default=1.0,
            help="factor applied to width / height of saved images",
        )
        add("--phase", default="test", help="part of the data set to use")
        add("--eval", action="store_true", help="run the networks in eval mode (dropout, batch norm)")
        add("--num_test", type=int, default=50, help="number of images to test")
        parser.set_defaults(model="test", load_size=parser.get_default("crop_size"))
        self.isTrain = False
        return parser
