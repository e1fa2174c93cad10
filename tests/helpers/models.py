"""Models of a host in this process, with options, batches and steps."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import torch

from kd_plugin import DistillMixin


def host_options(folder: Path, **changes: object) -> Namespace:
    """The options a host's model reads, with small networks."""
    values = {
        "isTrain": True, "checkpoints_dir": str(folder), "name": "student", "gpu_ids": [],
        "device": torch.device("cpu"), "preprocess": "none", "model": "pix2pix", "input_nc": 3, "output_nc": 3,
        "ngf": 4, "ndf": 4,
        "netG": "resnet_6blocks", "netD": "basic", "n_layers_D": 3, "norm": "instance", "no_dropout": True,
        "init_type": "normal", "init_gain": 0.02, "gan_mode": "lsgan", "pool_size": 0, "lr": 0.0002, "beta1": 0.5,
        "lambda_L1": 10.0, "lambda_A": 10.0, "lambda_B": 10.0, "lambda_identity": 0.5, "direction": "AtoB",
        "continue_train": False, "load_iter": 0, "epoch": "latest", "verbose": False, "lr_policy": "linear",
        "n_epochs": 1, "n_epochs_decay": 0, "epoch_count": 1, "lr_decay_iters": 50,
    }  # fmt: skip
    return Namespace(**{**values, **changes})


def distil_options(teachers: Path, **changes: object) -> Namespace:
    """The same for a distillation from the fixture's teachers, of a student that trains fast."""
    given = {"teacher": str(teachers), "teacher_epoch": "latest", "teacher_G_A": "", "teacher_G_B": "",
             "student_netG": "resnet_1blocks", **changes}  # fmt: skip
    return host_options(teachers.parent, **given)


def distilling(host_class: type) -> type:
    """A host's class with the mixin, as a user writes it."""
    return type(f"Distill{host_class.__name__}", (DistillMixin, host_class), {})


def set_up(cls: type, opt: Namespace, seed: int = 3):  # type: ignore[no-untyped-def]
    """Construct and set up a model with a known state of PyTorch's random generator."""
    torch.manual_seed(seed)
    model = cls(opt)
    model.setup(opt)
    return model


def host_batch(size: int = 1, seed: int = 0) -> dict:
    """What a host's loader gives: two pictures in [-1, 1] of 32x32, always the same for a seed."""
    a, b = (torch.rand(size, 3, 32, 32, generator=torch.Generator().manual_seed(seed + i)) * 2 - 1 for i in range(2))
    return {"A": a, "B": b, "A_paths": ["a"] * size, "B_paths": ["b"] * size}


def train_step(model, size: int = 1, seed: int = 0) -> None:  # type: ignore[no-untyped-def]
    """Let a host's model make one step."""
    model.set_input(host_batch(size, seed))
    model.optimize_parameters()
