"""Install the embedded host as a package with console scripts, in a folder that a command puts on its path.

``translate`` has a command line like those of click: subcommands, options with dashes, unknown ones refused, and
options in an object of its own, with ``is_train``, a list of architectures and a ``preprocess`` that may be None.
``parsed`` is the host's own ``train.py``, whose parser gathers the options of the models.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from .hosts import HOST

_PARTS = "models|data|options|util"
_COMMAND = '''"""Train and test."""

import sys
from argparse import ArgumentParser
from pathlib import Path

from translate.data import create_dataset
from translate.models import create_model
from translate.util.util import save_image, seed_everything, tensor2im

USUAL = {
    "aspect_ratio": 1.0, "batch_size": 1, "beta1": 0.5, "continue_train": False, "crop_size": 32, "device": None,
    "direction": "AtoB", "dataset_mode": "aligned", "epoch": "latest", "epoch_count": 1, "gan_mode": "vanilla",
    "gpu_ids": [], "init_gain": 0.02, "init_type": "normal", "input_nc": 3, "lambda_L1": 100.0, "load_iter": 0,
    "load_size": 32, "lr": 0.0002, "lr_decay_iters": 50, "lr_policy": "step", "max_dataset_size": float("inf"),
    "model": "pix2pix", "n_epochs_decay": 0, "n_layers_D": 3, "ndf": 4, "netD": "basic", "no_dropout": True,
    "no_flip": True, "norm": "instance", "num_threads": 0, "output_nc": 3, "preprocess": None,
    "serial_batches": False, "verbose": False,
}


class Options:
    """The options as attributes; a test has those of the training."""

    def __init__(self, command, typed):
        vars(self).update({**USUAL, **{k: v for k, v in typed.items() if v is not None}})
        self.is_train = command == "train"
        self.phase = command
        file = Path(self.checkpoints_dir, self.name, "train_opt.txt")
        if self.is_train:
            self.netG = self.net_g.split(",")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{k}: {v}\\n" for k, v in sorted(vars(self).items())))
        else:
            values = dict(line.split(": ", 1) for line in file.read_text().splitlines())
            self.netG = eval(values["netG"])
            self.ngf = 64
            self.serial_batches = True


def main():
    parser = ArgumentParser(prog="translate", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("train", "test"):
        add = commands.add_parser(command, allow_abbrev=False).add_argument
        add("--dataroot", required=True)
        add("--name", required=True)
        add("--checkpoints-dir", default="checkpoints")
    add("--results-dir", default="results")
    add = commands.choices["train"].add_argument
    add("--net-g", default="resnet_6blocks")
    add("--ngf", type=int, default=6)
    add("--n-epochs", type=int, default=1)
    add("--epoch-count", type=int)
    add("--continue-train", action="store_true")
    add("--seed", type=int, default=7)
    typed = vars(parser.parse_args())
    opt = Options(typed.pop("command"), typed)
    seed_everything(7)
    data = create_dataset(opt)
    model = create_model(opt)
    model.setup(opt)
    if not opt.is_train:
        for batch in data:
            model.set_input(batch)
            model.test()
            name = Path(model.get_image_paths()[0]).name
            Path(opt.results_dir).mkdir(exist_ok=True)
            save_image(tensor2im(model.fake_B), Path(opt.results_dir, name))
        return 0
    for epoch in range(opt.epoch_count, opt.n_epochs + 1):  # DeepLIIF has the number that was typed
        for batch in data:
            model.set_input(batch)
            model.optimize_parameters()
        print(f"epoch {epoch}", dict(model.get_current_losses()))
        model.save_networks("latest")
        model.save_networks(epoch)
        model.update_learning_rate()
    return 0


def fail():
    1 / 0


def leave():
    sys.exit(7)
'''
_SCRIPTS = {
    "translate": {"translate": "translate_cli:main", "translate-fails": "translate_cli:fail",
                  "translate-leaves": "translate_cli:leave"},
    "parsed": {"parsed": "parsed.train:main"},
    "other": {"other-script": "other:main"},
}  # fmt: skip


def into_package(source: Path, package: Path, name: str) -> None:
    """Copy a host's packages and scripts into a package that is imported by ``name``."""
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("checkpoints", "results", "__pycache__", ".git"))
    (package / "__init__.py").write_text("from .models import create_model\n")
    for file in package.rglob("*.py"):
        text = file.read_text()
        text = re.sub(rf"^from ({_PARTS})\b", rf"from {name}.\1", text, flags=re.MULTILINE)
        text = re.sub(rf"^import ({_PARTS})$", rf"from {name} import \1", text, flags=re.MULTILINE)
        text = re.sub(r'find_class\("|"(?=(?:models|data)\.")', lambda m: f"{m[0]}{name}.", text)
        file.write_text(text)


def install_hosts(site: Path) -> None:
    """Install ``translate``, ``parsed`` and ``other``, which is no host, into a folder for ``sys.path``."""
    for name in ("translate", "parsed"):
        into_package(HOST, site / name, name)
    for name in ("train.py", "test.py"):
        (site / "translate" / name).unlink()
    shutil.rmtree(site / "translate" / "options")
    base = site / "translate" / "models" / "base_model.py"
    text = base.read_text().replace("opt.isTrain", "opt.is_train").replace("opt.netG", "opt.netG[0]")
    base.write_text(text)
    images = site / "translate" / "data" / "base_dataset.py"
    images.write_text(images.read_text().replace("opt.preprocess", '(opt.preprocess or "none")'))
    (site / "translate_cli.py").write_text(_COMMAND)
    (site / "other.py").write_text("def main():\n    raise AssertionError('it was run')\n")
    for name, scripts in _SCRIPTS.items():
        folder = site / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{script} = {entry}\n" for script, entry in scripts.items()]
        (folder / "entry_points.txt").write_text("".join(["[console_scripts]\n", *lines]))
        tops = {name, *(entry.partition(":")[0].partition(".")[0] for entry in scripts.values())}
        (folder / "top_level.txt").write_text("".join(f"{top}\n" for top in sorted(tops)))
