"""Options of train.py."""

from argparse import ArgumentParser

from options.base_options import BaseOptions


class TrainOptions(BaseOptions):
    """The base options and those of training."""

    def initialize(self, parser: ArgumentParser) -> ArgumentParser:
        """Add the options of training."""
        parser = BaseOptions.initialize(self, parser)
        add = parser.add_argument
        # display and saving
        add("--display_freq", type=int, default=400, help="images between displays of results")
        add("--update_html_freq", type=int, default=1000, help="images between updates of the web page")
        add("--print_freq", type=int, default=100, help="images between printed losses")
        add("--no_html", action="store_true", help="do not write a web page")
        add("--display_id", type=int, default=0, help="first visdom window; 0 disables visdom")
        add("--display_server", default="http://localhost", help="address of the visdom server")
        add("--display_port", type=int, default=8097, help="port of the visdom server")
        add("--display_env", default="main", help="visdom environment")
        add("--save_latest_freq", type=int, default=5000, help="images between saves of the latest networks")
        add("--save_epoch_freq", type=int, default=5, help="epochs between checkpoints that are kept")
        add("--save_by_iter", action="store_true", help="also keep the saves within epochs, as iter_<images>")
        add("--continue_train", action="store_true", help="resume from the checkpoint given by --epoch")
        add("--epoch_count", type=int, default=1, help="number of the first epoch")
        add("--phase", default="train", help="part of the data set to use")
        # training
        add("--n_epochs", type=int, default=100, help="epochs at the initial learning rate")
        add("--n_epochs_decay", type=int, default=100, help="epochs in which it then decays to zero")
        add("--beta1", type=float, default=0.5, help="beta1 of Adam")
        add("--lr", type=float, default=0.0002, help="initial learning rate of Adam")
        add("--gan_mode", default="lsgan", choices=["vanilla", "lsgan", "wgangp"], help="adversarial loss")
        add("--pool_size", type=int, default=50, help="generated images kept for the discriminators")
        policies = ["linear", "step", "plateau", "cosine"]
        add("--lr_policy", default="linear", choices=policies, help="schedule of the learning rate")
        add("--lr_decay_iters", type=int, default=50, help="epochs between decays with the policy step")
        add("--seed", type=int, default=-1, help="seed of random, numpy and torch; -1 for none")
        self.isTrain = True
        return parser
