"""Options of test.py."""

from argparse import ArgumentParser

from options.base_options import BaseOptions


class TestOptions(BaseOptions):
    """The base options and those that only testing has."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    def initialize(self, parser: ArgumentParser) -> ArgumentParser:
        """Add the options of testing."""
        parser = BaseOptions.initialize(self, parser)
        add = parser.add_argument
        add("--results_dir", default="./results/", help="results are saved below this folder")
        add(
            "--aspect_ratio",
            type=float,
            default=1.0,
            help="width / height that saved images are stretched by",
        )
        add("--phase", default="test", help="which part of the data set is used")
        add("--eval", action="store_true", help="run the networks in eval mode (dropout, batch norm)")
        add("--num_test", type=int, default=50, help="how many images to run")
        parser.set_defaults(model="test", load_size=parser.get_default("crop_size"))
        self.isTrain = False
        return parser
