"""Options of train.py."""

from argparse import ArgumentParser

from options.base_options import BaseOptions


class TrainOptions(BaseOptions):
    """The base options and those that only training has."""

    def initialize(self, parser: ArgumentParser) -> ArgumentParser:
        """Add the options of training."""
        parser = BaseOptions.initialize(self, parser)
        add = parser.add_argument
        # what is shown and saved
        add("--display_freq", type=int, default=400, help="images between two displays of results")
        add("--update_html_freq", type=int, default=1000, help="images between two updates of the web page")
        add("--print_freq", type=int, default=100, help="images between two lines of losses")
        add("--no_html", action="store_true", help="write no web page")
        add("--display_id", type=int, default=0, help="first visdom window; 0 leaves visdom out")
        add("--display_server", default="http://localhost", help="address of the visdom server")
        add("--display_port", type=int, default=8097, help="port of the visdom server")
        add("--display_env", default="main", help="visdom environment")
        add("--save_latest_freq", type=int, default=5000, help="images between two saves of the latest nets")
        add("--save_epoch_freq", type=int, default=5, help="epochs between two checkpoints that are kept")
        add("--save_by_iter", action="store_true", help="keep the saves between epochs too, as iter_<images>")
        add("--continue_train", action="store_true", help="go on from the checkpoint that --epoch names")
        add("--epoch_count", type=int, default=1, help="number of the first epoch")
        add("--phase", default="train", help="which part of the data set is used")
        # how it is trained
        add("--n_epochs", type=int, default=100, help="epochs at the first learning rate")
        add("--n_epochs_decay", type=int, default=100, help="epochs in which it then falls to zero")
        add("--beta1", type=float, default=0.5, help="first moment of Adam")
        add("--lr", type=float, default=0.0002, help="first learning rate of Adam")
        add("--gan_mode", default="lsgan", choices=["vanilla", "lsgan", "wgangp"], help="adversarial loss")
        add("--pool_size", type=int, default=50, help="earlier images kept for the discriminators")
        policies = ["linear", "step", "plateau", "cosine"]
        add("--lr_policy", default="linear", choices=policies, help="how the learning rate falls")
        add("--lr_decay_iters", type=int, default=50, help="epochs between two falls under the policy step")
        add("--seed", type=int, default=-1, help="seed of random, numpy and torch; -1 leaves them alone")
        self.isTrain = True
        return parser
