"""The commands that test a student, under the runner and without a trace of the plugin."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..repository.family import families, generator_options

__all__ = ["HowToTest", "defaults_of", "model_name", "training_script"]

_NAMED = ("netG", "ngf", "norm", "no_dropout")  # by plain test commands, whatever their defaults are


def _data_options() -> list[str]:
    """Return the options that all tests take as the training had them."""
    of_families = [name for family in families() for name in family.test_options]
    return ["direction", "dataset_mode", *of_families, "input_nc", "output_nc"]


def defaults_of(parser: ArgumentParser) -> dict[str, Any]:
    """Return the defaults, as a host and its model set them, that decide whether a command has to name an option."""
    names = ("checkpoints_dir", "gpu_ids", "crop_size", *_data_options(), *generator_options())
    return {name: parser.get_default(name) for name in names}


@dataclass(frozen=True)
class HowToTest:
    """How to test the student of a training.

    Attributes:
        script: what Python is given to train: a file, or ``-m`` and a module.
        opt: the host's options.
        defaults: what :func:`defaults_of` returns in this host, for this model.
        plain: the host's model that loads the student without the plugin, "" if none does.
    """

    script: Sequence[str]
    opt: Namespace
    defaults: Mapping[str, Any]
    plain: str

    def lines(self) -> list[str]:
        """Return the commands in words; none if there is no test script beside the training's."""
        script = _test_script(self.script)
        if not script:
            return []
        lines = [f"test it: {shlex.join(['kd', 'run', *script, *self._shared(self.opt.model)])}"]
        # No option turns it on again.
        dropout = not getattr(self.opt, "no_dropout", True) and self.defaults.get("no_dropout", False)
        if not self.plain or dropout:
            return [*lines, "plain python test.py cannot build this student: it needs kd run"]
        words = [*script, *self._shared(self.plain), *self._networks()]
        return [*lines, f"or without kd_plugin: {shlex.join(['python', *words])}"]

    def _shared(self, model: str) -> list[str]:
        opt = self.opt
        words = ["--dataroot", str(opt.dataroot), "--name", str(opt.name), "--model", model]
        words += self._words(["checkpoints_dir", *_data_options()], self.defaults)
        if hasattr(opt, "gpu_ids"):
            ids = ",".join(map(str, opt.gpu_ids)) or "-1"
            words += [] if ids == self.defaults.get("gpu_ids") else ["--gpu_ids", ids]
        return words + self._size()

    def _networks(self) -> list[str]:
        others = [name for name in generator_options() if name not in (*_NAMED, *_data_options())]
        return self._words(_NAMED, {}) + self._words(others, self.defaults)

    def _words(self, names: Sequence[str], defaults: Mapping[str, Any]) -> list[str]:
        """Return the options that differ from their defaults; a switch that is off needs no word."""
        words = []
        for name in names:
            value = getattr(self.opt, name, None)
            if value is not None and value is not False and value != defaults.get(name):
                words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return words

    def _size(self) -> list[str]:
        """The size of the training's pictures, whole: tests have no random crops."""
        opt = self.opt
        preprocess, crop = getattr(opt, "preprocess", ""), getattr(opt, "crop_size", None)
        if "scale_width" in preprocess:
            return ["--preprocess", "scale_width", "--load_size", str(opt.load_size)]
        if preprocess == "none" or (preprocess == "crop" and not str(getattr(opt, "netG", "")).startswith("unet")):
            return ["--preprocess", "none"]
        if crop is None or crop == self.defaults.get("crop_size"):  # a test's pictures are as large by default
            return []
        return ["--load_size", str(crop), "--crop_size", str(crop)]


def _test_script(script: Sequence[str]) -> list[str]:
    """Return the test script beside a training script, as Python is given it; empty if there is none."""
    if script[0] == "-m":
        package = script[1].rpartition(".")[0]
        if not package:  # test would be Python's own
            return []
        return ["-m", f"{package}.test"] if importlib.util.find_spec(f"{package}.test") else []
    file = Path(script[0]).with_name("test.py")
    return [str(file)] if file.is_file() else []


def model_name(host_class: type, chosen: str) -> str:
    """Return what ``--model`` calls a class of the host: the file it is in, ``models/pix2pix_model.py``.

    Args:
        host_class: the class.
        chosen: ``--model`` of the training, which may be a subclass.
    """
    file = host_class.__module__.rpartition(".")[2]
    return file.removesuffix("_model") if file.endswith("_model") else chosen


def training_script() -> list[str]:
    """Return what Python was given to run: a file, or ``-m`` and a module."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return ["-m", spec.name] if spec else [sys.argv[0]]
