"""Patch functions of a host when its script imports them; the other patch is in :mod:`.building`.

* ``models.find_model_using_name``, with which hosts look up model classes: with ``--distill`` it returns the class
  combined with the mixin, otherwise the host's class.
* ``options.train_options``: for ``--help``, which hosts print on their first parse, the plugin's options are added
  before it. Otherwise they are added last, with those of the model. The options of a host that gathers them without
  ``parse_args`` are completed before they are saved.
* ``data.create_dataset``: with ``--compress``, the data set of the training is kept until its model is built.

The modules may be inside a package (``package.models``).
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import HostError
from ...processes import say
from ...students import RECORD_NAME
from ...training.state import state_file
from ..model.building import building_students
from ..model.complete import complete_options_of
from ..model.compress_later import look_at
from ..model.mixin import DistillMixin
from ..model.report_of_test import report_at_exit
from ..options.command_line import finish_options
from ..options.distill import add_options
from ..options.record import recorded_student
from ..repository.family import find_family, is_training
from ..repository.option_names import OptionName
from ..repository.usual_options import usual_options
from .child_processes import install_in_children

Patch = Callable[[ModuleType], None]

_loaders: list[Any] = []  # the last one that a host has made, for --compress


def install() -> None:
    """Install the import hook that patches the host's modules, here and in processes that the host spawns."""
    install_in_children()
    patches: dict[str, Patch] = {
        "models": _patch_models,
        "options.train_options": _patch_options,
        "data": _patch_data,
    }
    sys.meta_path.insert(0, _PatchingFinder(patches))


class _PatchingFinder(importlib.abc.MetaPathFinder):
    """Meta path finder that patches modules after they are executed."""

    def __init__(self, patches: dict[str, Patch]) -> None:
        self._patches = patches

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        patch = next((patch for end, patch in self._patches.items() if f".{name}".endswith(f".{end}")), None)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if patch else None
        if patch is None or spec is None or spec.loader is None:
            return None
        loader = spec.loader
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            patch(module)

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _patch_models(module: ModuleType) -> None:
    original = getattr(module, "find_model_using_name", None)
    if original is None and "." in module.__name__:  # another package's models: torchvision's
        return
    if original is None:
        raise HostError(f"{module.__file__} has no find_model_using_name: this repository is not of the host family")

    switches: dict[type, type] = {}  # the same name always returns the same class
    distilled: list[Any] = []  # the classes with the mixin

    @functools.wraps(original)
    def find_model_using_name(*args: Any, **kwargs: Any) -> type:
        found: type = original(*args, **kwargs)
        if issubclass(found, DistillMixin):
            return found
        if found not in switches:
            _note_ambiguous(found)
            switches[found] = _switch(found, distilled)
        return switches[found]

    module.find_model_using_name = find_model_using_name  # type: ignore[attr-defined]


def _note_ambiguous(found: type) -> None:
    """Print a note if other classes match the name, which hosts compare in lower case."""
    module = sys.modules[found.__module__]
    others = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value is not found and name.lower() == found.__name__.lower()
    }
    if others:
        say(f"note: {module.__file__} also has {', '.join(sorted(others))}; the host uses {found.__name__}")


def _switch(host_class: type, siblings: list[Any] | None = None) -> type:
    """Return a class that constructs the host's model or, with ``--distill``, that model with the mixin.

    The class with the mixin is added to its ``siblings`` in the same host.
    """
    described = {"__module__": host_class.__module__, "__doc__": host_class.__doc__}
    name = host_class.__name__
    distilled: Any = type(f"Distill{name}", (DistillMixin, host_class), {"distill_optional": True, **described})
    siblings = [] if siblings is None else siblings
    siblings.append(distilled)

    def construct(cls: type, opt: Any, *arguments: Any, **named: Any) -> Any:
        usual = usual_options(opt)
        if not any(each._host_defaults for each in siblings):  # the host gathers no options of its models
            complete_options_of(distilled, opt)
        if getattr(opt, "distill", ""):
            return distilled(opt, *arguments, **named)
        student = recorded_student(opt)
        if student is None:  # run the host unchanged
            model = host_class(opt, *arguments, **named)
            if is_training(opt) and not getattr(usual, "continue_train", False):
                _retire_record(model, Path(opt.checkpoints_dir, opt.name))
            if getattr(opt, "compress", "") and is_training(opt):
                look_at(model, _loaders.pop() if _loaders else None)
            return model
        report_at_exit(opt)
        with building_students(host_class, student):
            return host_class(opt, *arguments, **named)

    members = {"modify_commandline_options": distilled.modify_commandline_options, "__new__": construct}
    return type(name, (host_class,), {**members, **described})


def _retire_record(model: Any, folder: Path) -> None:
    """Rename the record and state of a distilled student when a training without the plugin overwrites it."""
    files = [file for file in (folder / RECORD_NAME, state_file(folder)) if file.is_file()]
    if not files or not hasattr(model, "save_networks"):
        return
    original = model.save_networks

    def save_networks(*arguments: Any, **named: Any) -> Any:
        for file in files:
            if file.is_file():
                file.replace(file.with_name(f"{file.name}.old"))
                say(f"note: {file} belongs to an earlier training of this name; renamed to {file.name}.old")
        files.clear()
        return original(*arguments, **named)

    model.save_networks = save_networks


def _patch_data(module: ModuleType) -> None:
    original = getattr(module, "create_dataset", None)
    if original is None:  # another package's data
        return

    @functools.wraps(original)
    def create_dataset(*arguments: Any, **named: Any) -> Any:
        loader = original(*arguments, **named)
        opt = next(iter((*arguments, *named.values())), None)
        if getattr(opt, "compress", "") and is_training(opt):
            _loaders[:] = [loader]
        return loader

    module.create_dataset = create_dataset  # type: ignore[attr-defined]


def _patch_options(module: ModuleType) -> None:
    family = find_family(Path(module.__file__ or "").parents[1] / "models")
    names = family.other_names if family else {}
    for cls in vars(module).values():
        if isinstance(cls, type) and cls.__module__ == module.__name__ and "initialize" in vars(cls):
            cls.initialize = _with_options(cls.initialize, names)  # type: ignore[attr-defined]
            if hasattr(cls, "gather_options"):
                cls.gather_options = _completed(cls.gather_options)


def _with_options(
    original: Callable[..., ArgumentParser], names: Mapping[str, OptionName]
) -> Callable[..., ArgumentParser]:
    @functools.wraps(original)
    def initialize(self: Any, parser: ArgumentParser) -> ArgumentParser:
        parser = original(self, parser)
        if {"-h", "--help"} & set(sys.argv[1:]):
            add_options(parser, names)
        return parser

    return initialize


def _completed(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def gather_options(self: Any, *arguments: Any, **named: Any) -> Any:
        opt = original(self, *arguments, **named)
        if isinstance(getattr(self, "parser", None), ArgumentParser):
            finish_options(self.parser, opt)
        return opt

    return gather_options
