"""Start a host's script, plain or under the plugin, with all random generators seeded.

    launch.py plain train.py ...        launch.py kd run train.py ...

Hosts have no option for a seed. Real ones also import packages that training on a CPU does not need: a
torchvision that was built for another torch, and wandb.
"""

import importlib
import importlib.util
import random
import re
import runpy
import sys
import types

import numpy as np
import torch

_DECLARED = torch.library.Library("torchvision", "FRAGMENT")


def make_importable() -> None:
    """Declare the operators a torchvision of another build lacks, and stand in for a missing wandb."""
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
    if not importlib.util.find_spec("wandb"):
        sys.modules["wandb"] = types.ModuleType("wandb")


def main(how: str, *arguments: str) -> None:
    make_importable()
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
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
