"""Write a host of the kind of joliGEN into a folder: another framework of options and networks around the same ideas.

Its options have names of its own (``G_ngf``, ``train_continue``), are gathered by ``parse_known_args`` alone, and are
checked for unknown names by the script. Models are constructed with the rank of their process. Generators are built
from all options, again at each save and in tests, and are divided into an encoder and a decoder; discriminators are
named after the images that they judge. Checkpoints are loaded leniently, and a test takes the options of its training
from a file. Batches are random numbers.
"""

from __future__ import annotations

from pathlib import Path

_OPTIONS = """
import argparse
import json
from pathlib import Path

import models


class TrainOptions:
    isTrain = True

    def initialize(self, parser):
        add = parser.add_argument
        add("--dataroot", required=True)
        add("--name", default="experiment")
        add("--suffix", default="")
        add("--checkpoints_dir", default="checkpoints")
        add("--gpu_ids", default="0")
        add("--phase", default="train")
        add("--model_type", default="cut")
        add("--model_input_nc", type=int, default=3)
        add("--model_output_nc", type=int, default=3)
        add("--G_netG", default="other", choices=["resnet", "other"])
        add("--G_nblocks", type=int, default=9)
        add("--G_ngf", type=int, default=64)
        add("--G_norm", default="instance")
        add("--G_dropout", action="store_true")
        add("--D_netDs", nargs="+", default=["basic"], choices=["basic", "pixel"])
        add("--D_ndf", type=int, default=4)
        add("--data_dataset_mode", default="unaligned")
        add("--data_direction", default="AtoB")
        add("--data_load_size", type=int, default=16)
        add("--data_crop_size", type=int, default=16)
        add("--data_preprocess", default="resize_and_crop")
        add("--data_num_threads", type=int, default=0)
        add("--train_batch_size", type=int, default=1)
        add("--train_continue", action="store_true")
        add("--train_epoch", default="latest")
        add("--train_load_iter", type=int, default=0)
        add("--train_epoch_count", type=int, default=1)
        add("--train_n_epochs", type=int, default=1)
        add("--train_n_epochs_decay", type=int, default=0)
        add("--train_save_epoch_freq", type=int, default=1)
        add("--train_iter_size", type=int, default=1)
        add("--train_G_lr", type=float, default=0.001)
        add("--output_print_freq", type=int, default=1)
        return parser

    def gather_options(self, args=None, content=None):
        parser = self.initialize(argparse.ArgumentParser())
        for gather in (lambda model: models.get_option_setter(model)(parser, self.isTrain), lambda model: parser):
            if content is None:
                opt, _ = parser.parse_known_args(args)
            else:  # options of the file that the parser does not have are left out
                defaults = {action.dest: action.default for action in parser._actions if action.dest != "help"}
                opt = argparse.Namespace(**{name: content.get(name, value) for name, value in defaults.items()})
            parser = gather(opt.model_type)
        if content is None:
            opt, _ = parser.parse_known_args(args)
        self.parser = parser
        return opt

    def parse(self):
        opt = self.gather_options()
        folder = Path(opt.checkpoints_dir, opt.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train_config.json").write_text(json.dumps(vars(opt)))
        (folder / "train_opt.txt").write_text("".join(f"{k:>25}: {v}\\n" for k, v in sorted(vars(opt).items())))
        return self.complete(opt)

    def parse_json(self, content):
        return self.complete(self.gather_options(content=content))

    def complete(self, opt):
        opt.isTrain = self.isTrain
        opt.gpu_ids = [int(number) for number in opt.gpu_ids.split(",")]
        return opt
"""
_PARSER = """
import argparse
import json
import sys

from options.train_options import TrainOptions


def get_opt():
    main = argparse.ArgumentParser(add_help=False)
    main.add_argument("--config_json", default="")
    known, rest = main.parse_known_args()
    if known.config_json:
        return TrainOptions().parse_json(json.load(open(known.config_json)))
    opt = TrainOptions().parse()
    names = {word[2:] for word in rest if word.startswith("--")}
    if unknown := names - vars(opt).keys():
        print("not recognized by the parser:", sorted(unknown))
        sys.exit(1)
    return opt
"""
_MODELS = """
import importlib


def find_model_using_name(name):
    module = importlib.import_module(f"models.{name}_model")
    return next(c for n, c in vars(module).items() if n.lower() == name.replace("_", "") + "model")


def get_option_setter(name):
    return find_model_using_name(name).modify_commandline_options


def create_model(opt, rank):
    return find_model_using_name(opt.model_type)(opt, rank)
"""
_NETWORKS = """
from torch import nn


class Block(nn.Module):
    def __init__(self, width, dropout):
        super().__init__()
        pad, norm = nn.ReflectionPad2d, nn.InstanceNorm2d
        layers = [pad(1), nn.Conv2d(width, width, 3), norm(width), nn.ReLU(True)]
        layers += [nn.Dropout(0.5)] * dropout
        self.conv_block = nn.Sequential(*layers, pad(1), nn.Conv2d(width, width, 3), norm(width))

    def forward(self, x):
        return x + self.conv_block(x)


class Part(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x):
        return self.model(x)


class Generator(nn.Module):
    def __init__(self, input_nc, output_nc, ngf, blocks, dropout):
        super().__init__()
        first = [nn.ReflectionPad2d(3), nn.Conv2d(input_nc, ngf, 7), nn.InstanceNorm2d(ngf), nn.ReLU(True)]
        for width in (ngf, 2 * ngf):
            first += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.InstanceNorm2d(2 * width), nn.ReLU(True)]
        self.encoder = Part(*first, *(Block(4 * ngf, dropout) for _ in range(blocks)))
        last = []
        for width in (4 * ngf, 2 * ngf):
            last += [nn.ConvTranspose2d(width, width // 2, 3, 2, 1, 1), nn.InstanceNorm2d(width // 2), nn.ReLU(True)]
        self.decoder = Part(*last, nn.ReflectionPad2d(3), nn.Conv2d(ngf, output_nc, 7), nn.Tanh())

    def get_feats(self, x):
        return self.encoder(x)

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Other(nn.Module):
    def __init__(self, input_nc, output_nc, ngf):
        super().__init__()
        self.first, self.last = nn.Conv2d(input_nc, ngf, 3, 1, 1), nn.Conv2d(ngf, output_nc, 3, 1, 1)

    def get_feats(self, x):
        return self.first(x)

    def forward(self, x):
        return self.last(self.first(x).relu()).tanh()


def define_G(model_input_nc, model_output_nc, G_ngf, G_netG, G_nblocks, G_norm, G_dropout, **unused_options):
    if G_netG == "resnet":
        return Generator(model_input_nc, model_output_nc, G_ngf, G_nblocks, G_dropout)
    if G_netG == "other":
        return Other(model_input_nc, model_output_nc, G_ngf)
    raise NotImplementedError(f"Generator model name [{G_netG}] is not recognized")


def define_D(model_output_nc, D_ndf, D_netDs, **unused_options):
    layers = {"basic": 4, "pixel": 1}
    return {name: Part(nn.Conv2d(model_output_nc, D_ndf, layers[name]), nn.LeakyReLU(0.2),
                       nn.Conv2d(D_ndf, 1, 1)) for name in D_netDs}  # fmt: skip
"""
_BASE = """
import os
from collections import OrderedDict

import torch

from . import gan_networks


class BaseModel:
    @staticmethod
    def modify_commandline_options(parser, is_train=True):
        return parser

    def __init__(self, opt, rank):
        self.opt, self.rank, self.isTrain = opt, rank, opt.isTrain
        self.device = torch.device("cpu")
        self.save_dir = os.path.join(opt.checkpoints_dir, opt.name)
        os.makedirs(self.save_dir, exist_ok=True)
        self.optimizers, self.loss_names, self.visual_names = [], [], [["real_A", "fake_B"]]
        self.calls = 0

    def add_discriminators(self, side):
        for name, network in gan_networks.define_D(**vars(self.opt)).items():
            setattr(self, f"netD_{side}_{name}", network)
            self.model_names.append(f"D_{side}_{name}")

    def setup(self, opt):
        if opt.train_continue or not self.isTrain:
            for name in self.model_names:
                file = os.path.join(self.save_dir, f"{opt.train_epoch}_net_{name}.pth")
                getattr(self, "net" + name).load_state_dict(torch.load(file), strict=False)

    def set_input(self, data):
        self.real_A, self.real_B, self.image_paths = data["A"], data["B"], data["A_paths"]

    def optimize_parameters(self):
        self.calls += 1
        self.forward()
        self.loss_G = self.compute_G_loss()
        (self.loss_G / self.opt.train_iter_size).backward()
        if self.calls % self.opt.train_iter_size == 0:
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()

    def get_current_losses(self):
        return OrderedDict((name, getattr(self, "loss_" + name)) for name in self.loss_names)

    def get_current_visuals(self, nb_imgs):
        return [{name: getattr(self, name) for name in group} for group in self.visual_names]

    def update_learning_rate(self):
        pass

    def save_networks(self, epoch):
        for name in self.model_names:
            file = os.path.join(self.save_dir, f"{epoch}_net_{name}.pth")
            torch.save(getattr(self, "net" + name).state_dict(), file)

    def export_networks(self, epoch):
        network = gan_networks.define_G(**vars(self.opt))
        network.load_state_dict(torch.load(os.path.join(self.save_dir, f"{epoch}_net_G_A.pth")))
        torch.save(network(torch.zeros(1, 3, 16, 16)), os.path.join(self.save_dir, f"{epoch}_exported.pt"))
"""
_CUT = """
import torch

from . import gan_networks
from .base_model import BaseModel


class CutModel(BaseModel):
    def __init__(self, opt, rank):
        super().__init__(opt, rank)
        self.model_names = ["G_A"]
        self.loss_names = ["G"]
        self.netG_A = gan_networks.define_G(**vars(opt))
        if self.isTrain:
            self.add_discriminators("B")
            self.optimizers = [torch.optim.SGD(self.netG_A.parameters(), lr=opt.train_G_lr)]

    def data_dependent_initialize(self, data):
        self.set_input(data)
        self.forward()

    def forward(self):
        self.fake = self.netG_A(torch.cat((self.real_A, self.real_B)))
        self.fake_B = self.fake[: len(self.real_A)]
        self.idt_B = self.fake[len(self.real_A) :]

    def compute_G_loss(self):
        near = self.netG_A.get_feats(self.real_A) - self.netG_A.get_feats(self.fake_B)
        return (self.fake_B**2).mean() + (self.idt_B - self.real_B).abs().mean() + near.abs().mean()
"""
_CYCLE = """
import itertools

import torch

from . import gan_networks
from .base_model import BaseModel


class CycleGANModel(BaseModel):
    def __init__(self, opt, rank):
        super().__init__(opt, rank)
        self.model_names = ["G_A", "G_B"]
        self.loss_names = ["G"]
        self.netG_A = gan_networks.define_G(**vars(opt))
        self.netG_B = gan_networks.define_G(**vars(opt))
        if self.isTrain:
            self.add_discriminators("A")
            self.add_discriminators("B")
            both = itertools.chain(self.netG_A.parameters(), self.netG_B.parameters())
            self.optimizers = [torch.optim.SGD(both, lr=opt.train_G_lr)]

    def forward(self):
        self.fake_B, self.fake_A = self.netG_A(self.real_A), self.netG_B(self.real_B)
        self.rec_A = self.netG_B(self.fake_B)

    def compute_G_loss(self):
        return (self.fake_B**2).mean() + (self.fake_A**2).mean() + (self.rec_A - self.real_A).abs().mean()
"""
_PALETTE = """
from .cut_model import CutModel


class PaletteModel(CutModel):
    pass
"""
_TRAIN = """
import os

import torch
import torch.multiprocessing as mp

from models import create_model
from util.parser import get_opt


def batches(opt):
    for i in range(3):
        A, B = torch.rand(2, opt.train_batch_size, 3, 16, 16) * 2 - 1
        yield {"A": A, "B": B, "A_paths": [f"{i}.png"]}


def train(rank, opt):
    torch.manual_seed(7)
    if opt.train_continue:
        opt.train_epoch_count = 1  # there are no plots
    model = create_model(opt, rank)
    if hasattr(model, "data_dependent_initialize"):
        model.data_dependent_initialize(next(batches(opt)))
    model.setup(opt)
    for epoch in range(opt.train_epoch_count, opt.train_n_epochs + opt.train_n_epochs_decay + 1):
        for data in batches(opt):
            model.set_input(data)
            model.optimize_parameters()
            model.get_current_visuals(1)
            print(f"epoch {epoch}", {name: float(loss) for name, loss in model.get_current_losses().items()})
        for name in ("latest", epoch):
            model.save_networks(name)
            model.export_networks(name)
        model.update_learning_rate()


if __name__ == "__main__":
    opt = get_opt()
    if "HOST_SPAWNS" in os.environ:  # as on GPUs
        mp.spawn(train, args=(opt,), nprocs=1)
    else:
        train(0, opt)
"""
_TEST = """
import argparse
import json
import os

import torch

from models import create_model
from options.train_options import TrainOptions

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--test_model_dir", required=True)
    parser.add_argument("--gpu_ids", default="0")
    known, _ = parser.parse_known_args()
    opt = TrainOptions().parse_json(json.load(open(os.path.join(known.test_model_dir, "train_config.json"))))
    opt.isTrain = False
    model = create_model(opt, 0)
    model.setup(opt)
    model.set_input({"A": torch.ones(1, 3, 16, 16), "B": torch.ones(1, 3, 16, 16), "A_paths": ["a.png"]})
    with torch.no_grad():
        model.forward()
    print("sum of the picture", float(model.fake_B.sum()))
"""
_FILES = {
    "train.py": _TRAIN, "test.py": _TEST, "util/__init__.py": "", "util/parser.py": _PARSER,
    "options/__init__.py": "", "options/train_options.py": _OPTIONS,
    "models/__init__.py": _MODELS, "models/gan_networks.py": _NETWORKS, "models/base_model.py": _BASE,
    "models/cut_model.py": _CUT, "models/cycle_gan_model.py": _CYCLE, "models/palette_model.py": _PALETTE,
}  # fmt: skip


def write_host(folder: Path) -> Path:
    """Write the host into a folder, and return it."""
    for name, text in _FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
