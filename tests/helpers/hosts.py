"""Host repositories, embedded and real, with their scripts and models."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from _pytest.mark import ParameterSet

from kd_plugin.host.launch.import_hooks import _patch_models
from kd_plugin.host.model import summary

from .commands import REPOSITORY
from .launch import make_importable

HOST = REPOSITORY / "examples" / "host"
FORMS = ("2020", "2025")
SMALL = "--netG resnet_6blocks --load_size 32 --crop_size 32 --num_threads 0"


def real_hosts() -> list[Path]:
    """The checkouts of real host repositories in the folder KD_HOSTS names."""
    root = os.environ.get("KD_HOSTS")
    return sorted(f.parent.parent for f in Path(root).glob("*/models/__init__.py")) if root else []


HOSTS = [
    *(pytest.param((HOST, form), id=f"embedded-{form}") for form in FORMS),
    *(pytest.param((folder, ""), id=folder.name, marks=pytest.mark.hosts) for folder in real_hosts()),
]


def grouped(name: str, places: list[ParameterSet]) -> list[ParameterSet]:
    """Let one process run all tests of a host, so that what they share is trained once."""
    return [pytest.param(*p.values, id=p.id, marks=[*p.marks, pytest.mark.xdist_group(f"{name}-{p.id}")])
            for p in places]  # fmt: skip


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
    for draw in (random.seed, np.random.seed, torch.manual_seed):
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
