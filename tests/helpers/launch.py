"""Run a host's script, plain or with the plugin, with all random generators seeded.

    launch.py plain train.py ...        launch.py kd run train.py ...

Hosts have no option for a seed. With KD_STOP_AFTER=2 in the environment the process exits immediately, as if killed,
when the host prints the end of epoch 2. Real hosts also import packages not needed to train on a CPU: a torchvision
built for another torch, and wandb.
"""

import importlib
import importlib.util
import os
import random
import re
import runpy
import sys
import types

import numpy as np
import torch

_DECLARED = torch.library.Library("torchvision", "FRAGMENT")


def import_torchvision() -> None:
    """Import it if it is installed, and declare the operators that one of another build lacks."""
    while importlib.util.find_spec("torchvision"):
        try:
            importlib.import_module("torchvision")
            break
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if not missing:
                raise
            _DECLARED.define(f"{missing[1]}(Tensor x) -> Tensor")
            for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
                del sys.modules[name]


def make_importable() -> None:
    """Make packages importable that hosts import and do not need here."""
    import_torchvision()
    if "wandb" not in sys.modules and not importlib.util.find_spec("wandb"):
        sys.modules["wandb"] = types.ModuleType("wandb")


class Stopping:
    """Standard output that ends the process when the host says that an epoch has ended."""

    def __init__(self, epoch: str) -> None:
        self._ended = re.compile(rf"(End of )?epoch {epoch} (/|of) ")
        self._stream = sys.stdout

    def write(self, text: str) -> int:
        written = self._stream.write(text)
        if self._ended.match(text):
            self._stream.flush()
            os._exit(9)
        return written

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def main(how: str, *arguments: str) -> None:
    make_importable()
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    if "KD_STOP_AFTER" in os.environ:
        sys.stdout = Stopping(os.environ["KD_STOP_AFTER"])
    sys.path.insert(0, "")  # what either way replaces by the script's folder
    if how == "kd":
        sys.argv = ["kd", *arguments]
        runpy.run_module("kd_plugin", run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        sys.path[0] = "."
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
