"""Shared by the tests: host folders, small data sets, and ways to run a host in and out of this process."""

from __future__ import annotations

import contextlib
import importlib
import os
import random as python_random
import runpy
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from launch import make_importable
from PIL import Image

from kd_plugin import DistillMixin, GeneratorSpec
from kd_plugin.host.launch.import_hooks import _patch_models
from kd_plugin.host.model import summary
from kd_plugin.networks.generator import build_generator

REPOSITORY = Path(__file__).resolve().parent.parent
HOST = REPOSITORY / "examples" / "host"
LAUNCH = str(REPOSITORY / "tests" / "launch.py")  # starts a host's script
FORMS = ("2020", "2025")
SMALL = "--netG resnet_6blocks --load_size 32 --crop_size 32 --num_threads 0"


def paint(file: Path, width: int, height: int, seed: int) -> None:
    """Write a smooth random picture: noise would leave a generator nothing to learn."""
    noise = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(file)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``paired`` (aligned) and ``unpaired`` data of 32x32 pictures."""
    root = tmp_path_factory.mktemp("images")
    for phase in ("train", "test"):
        for i in range(4):
            paint(root / "paired" / phase / f"{i}.png", 64, 32, i)
            paint(root / "unpaired" / f"{phase}A" / f"{i}.png", 32, 32, 10 + i)
            paint(root / "unpaired" / f"{phase}B" / f"{i}.png", 32, 32, 20 + i)
    return root


def run(command: list[str], cwd: Path, form: str = "2025") -> subprocess.CompletedProcess[str]:
    """Run a Python command line in a host's form, with the plugin importable and one thread."""
    env = dict(
        os.environ, HOST_FORM=form or "2025", OMP_NUM_THREADS="1", PYTHONPATH=str(REPOSITORY), PYTHONHASHSEED="0"
    )
    env.pop("PYTHONSTARTUP", None)
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def kd(arguments: str, cwd: Path, form: str = "2025") -> subprocess.CompletedProcess[str]:
    """Run ``kd`` with arguments separated by spaces."""
    return run(["-m", "kd_plugin", *arguments.split()], cwd, form)


def succeed(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Check that a command ended well, and show what it said if not."""
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def real_hosts() -> list[Path]:
    """The checkouts of real host repositories in the folder KD_HOSTS names."""
    root = os.environ.get("KD_HOSTS")
    return sorted(f.parent.parent for f in Path(root).glob("*/models/__init__.py")) if root else []


HOSTS = [
    *(pytest.param((HOST, form), id=f"embedded-{form}") for form in FORMS),
    *(pytest.param((folder, ""), id=folder.name, marks=pytest.mark.hosts) for folder in real_hosts()),
]


def host_arguments(folder: Path, form: str) -> dict[str, list[str]]:
    """What a host's scripts need to run on a CPU, without visdom."""
    options = "".join(f.read_text() for f in (folder / "options").glob("*.py"))
    device = ["--gpu_ids", "-1"] if form == "2020" or (not form and "--gpu_ids" in options) else []
    return {"train": [*device, *(["--display_id", "0"] if "display_id" in options else [])], "test": device}


_HOST_PACKAGES = ("models", "data", "options", "util")


@contextlib.contextmanager
def imported_host(folder: Path, form: str) -> Iterator[ModuleType]:
    """Import a host's ``models`` package into this process, and forget all of the host afterwards."""

    def forget() -> None:
        for name in [n for n in sys.modules if n.partition(".")[0] in _HOST_PACKAGES]:
            del sys.modules[name]

    before = os.environ.get("HOST_FORM")
    os.environ["HOST_FORM"] = form or "2025"
    sys.path.insert(0, str(folder))
    forget()
    try:
        yield importlib.import_module("models")
    finally:
        forget()
        sys.path.remove(str(folder))
        if before is None:
            del os.environ["HOST_FORM"]
        else:
            os.environ["HOST_FORM"] = before


def start_inside(folder: Path, script: str, arguments: str, seed: int = 7) -> None:
    """Run a host's script under the plugin in this process, within :func:`imported_host`; cheaper than a process."""
    models = sys.modules["models"]
    if "data" not in sys.modules and folder != HOST:
        make_importable()
    if not hasattr(models.find_model_using_name, "__wrapped__"):
        _patch_models(models)
    for draw in (python_random.seed, np.random.seed, torch.manual_seed):
        draw(seed)
    before = sys.argv, sys.excepthook, os.getcwd()
    sys.argv = [script, *arguments.split()]
    os.chdir(folder)
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        summary._pending = None  # it would be printed when the tests end
        sys.argv, sys.excepthook = before[:2]
        os.chdir(before[2])


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
    """The same for a distillation from the fixture's teachers."""
    given = {"teacher": str(teachers), "teacher_epoch": "latest", "teacher_G_A": "", "teacher_G_B": "", **changes}
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


def flat(tree: object) -> list[torch.Tensor]:
    """All tensors in lists, tuples and dictionaries, in order."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    values = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return [tensor for value in values for tensor in flat(value)]


@pytest.fixture(params=HOSTS)
def models(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    with imported_host(*request.param) as module:
        yield module


@pytest.fixture
def teachers(tmp_path: Path) -> Path:
    """A folder with a teacher for every generator of both models."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    for seed, net in enumerate(("G", "G_A", "G_B")):
        torch.manual_seed(seed)
        spec = GeneratorSpec("resnet", 3, 3, 6, 3, "instance", False, True)
        torch.save(build_generator(spec).state_dict(), folder / f"latest_net_{net}.pth")
    return folder


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A standard normal tensor, always the same for a shape and seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
