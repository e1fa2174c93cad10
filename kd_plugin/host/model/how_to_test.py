"""The commands that test a student, with the runner and without the plugin."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..repository.family import families, family_of, generator_options

_NAMED = ("netG", "ngf", "norm", "no_dropout")  # always in plain test commands, even if default


def _data_options() -> list[str]:
    """Return the options that every test takes from the training."""
    of_families = [name for family in families() for name in family.test_options]
    return ["direction", "dataset_mode", *of_families, "input_nc", "output_nc"]


def defaults_of(parser: ArgumentParser) -> dict[str, Any]:
    """Return the defaults set by a host and its model; a command omits options at their defaults."""
    names = ("checkpoints_dir", "gpu_ids", "crop_size", *_data_options(), *generator_options())
    return {name: parser.get_default(name) for name in names}


@dataclass(frozen=True)
class HowToTest:
    """Commands that test the student of a training."""

    script: Sequence[str]  # of the training: a file, or -m and a module
    opt: Namespace
    defaults: Mapping[str, Any]  # result of defaults_of for this model
    plain: str  # model of the host that loads the student without the plugin, "" if none does

    def lines(self) -> list[str]:
        """Return the lines that show the commands; empty without a test script next to the training script."""
        script = _test_script(self.script)
        if not script:
            return []
        if words := self._of_family():
            lines = [f"test: {shlex.join(['kd', 'run', *script, *words])}"]
            if self.defaults:  # the host saved the options of the student
                lines.append(f"test without kd_plugin: {shlex.join(['python', *script, *words])}")
            return lines
        lines = [f"test: {shlex.join(['kd', 'run', *script, *self._shared(self.opt.model)])}"]
        # No option enables dropout if it is off by default.
        dropout = not getattr(self.opt, "no_dropout", True) and self.defaults.get("no_dropout", False)
        if not self.plain or dropout:
            return [*lines, "plain python test.py cannot build this student: use kd run"]
        words = [*script, *self._shared(self.plain), *self._networks()]
        return [*lines, f"test without kd_plugin: {shlex.join(['python', *words])}"]

    def _of_family(self) -> list[str]:
        """Return the arguments of a test in a host whose tests take other options than trainings; else empty."""
        family = family_of(self.opt)
        folder = Path(self.opt.checkpoints_dir, self.opt.name)
        ids = ",".join(map(str, getattr(self.opt, "gpu_ids", []))) or "-1"
        return [word.format(folder=folder, gpu_ids=ids) for word in family.test_words.split()] if family else []

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
        """Return the options that differ from their defaults, without switches that are off."""
        words = []
        for name in names:
            value = getattr(self.opt, name, None)
            if value is not None and value is not False and value != defaults.get(name):
                words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return words

    def _size(self) -> list[str]:
        """Return the options that load images at the size of the training, without random crops."""
        opt = self.opt
        preprocess, crop = getattr(opt, "preprocess", "") or "", getattr(opt, "crop_size", None)
        if "scale_width" in preprocess:
            return ["--preprocess", "scale_width", "--load_size", str(opt.load_size)]
        if preprocess == "none" or (preprocess == "crop" and not str(getattr(opt, "netG", "")).startswith("unet")):
            return ["--preprocess", "none"]
        if crop is None or crop == self.defaults.get("crop_size"):  # already the default of a test
            return []
        return ["--load_size", str(crop), "--crop_size", str(crop)]


def _test_script(script: Sequence[str]) -> list[str]:
    """Return the arguments that run the test script next to a training script; empty if there is none."""
    if script[0] == "-m":
        package = script[1].rpartition(".")[0]
        if not package:  # "test" is a package of Python
            return []
        return ["-m", f"{package}.test"] if importlib.util.find_spec(f"{package}.test") else []
    if not script[0].endswith(".py"):  # a console script
        return []
    file = Path(script[0]).with_name("test.py")
    return [str(file)] if file.is_file() else []


def model_name(host_class: type, chosen: str) -> str:
    """Return the ``--model`` name of a host's class, NAME of ``models/NAME_model.py``; ``chosen`` for other files."""
    file = host_class.__module__.rpartition(".")[2]
    return file.removesuffix("_model") if file.endswith("_model") else chosen


def training_script() -> list[str]:
    """Return the running script as arguments of ``python``: a file, or ``-m`` and a module."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return ["-m", spec.name] if spec else [sys.argv[0]]
