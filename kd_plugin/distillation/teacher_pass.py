"""Run a frozen teacher: its images and the features that terms read, computed or cached."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..errors import ArgumentError, in_one_line
from ..networks.taps import find_modules, unwrap
from .precision import autocast_dtype
from .teacher_cache import TeacherCache

_OUTPUT = ""  # the name of the images among the features, which are named by module


class TeacherPass:
    """Callable that maps images (B, C, H, W) to the teacher's, and its features at ``taps`` by name.

    Args:
        teacher: the network; may be compiled.
        taps: names of the modules to read.
        cache: a cache of passes; requires a teacher that processes images independently, as in eval mode.

    Raises:
        ArgumentError: If a module does not exist, or the teacher is in training mode and has a cache.
    """

    def __init__(self, teacher: nn.Module, taps: Iterable[str], cache: TeacherCache | None = None) -> None:
        self._network = unwrap(teacher)
        # A compiled wrapper always is in training mode, in PyTorch 2.2.
        if cache is not None and any(module.training for module in self._network.modules()):
            raise ArgumentError(
                "the images of a teacher in training mode depend on the batch and on random numbers: it cannot be "
                "cached"
            )
        self._teacher = teacher
        self._taps = sorted(taps)
        self._cache = cache
        self._folders: dict[str, Path] = {}  # by the autocast precision of the caller
        self._features: dict[str, torch.Tensor] = {}
        self._modules = find_modules(self._network, self._taps, "teacher")
        # A compiled network keeps the hooks of its first pass and ignores later ones.
        self._compiled = self._network is not teacher
        if self._compiled:
            self._hook()

    def __call__(self, *arguments: Any, **named: Any) -> tuple[Any, dict[str, torch.Tensor]]:
        """Return the teacher's output for its arguments, without a graph, and its features by tap.

        The arguments are images (B, C, H, W), and whatever else the network takes.

        Raises:
            ArgumentError: If the teacher does not take them, or there is more than images and a cache.
        """
        if self._cache is None:
            return self._run(*arguments, **named)
        if len(arguments) != 1 or named:
            raise ArgumentError(
                "the images of a generator that takes more than images cannot be cached: train without the cache"
            )
        (images,) = arguments
        precision = str(autocast_dtype(images.device.type) or "")
        if precision not in self._folders:
            self._folders[precision] = self._cache.folder_of(self._network, self._taps, precision)
        names = [_OUTPUT, *self._taps]
        files = [self._cache.file_of(self._folders[precision], image) for image in images]
        entries = [self._cache.get(file, names) for file in files]
        missing = [i for i, entry in enumerate(entries) if entry is None]
        if missing:
            output, features = self._run(images[missing] if len(missing) < len(images) else images)
            if not isinstance(output, torch.Tensor):
                raise ArgumentError(
                    f"the teacher returns a {type(output).__name__}, and only images can be cached: train without "
                    f"the cache"
                )
            computed = {_OUTPUT: output, **features}
            for row, i in enumerate(missing):
                entries[i] = entry = {name: tensor[row] for name, tensor in computed.items()}
                self._cache.put(files[i], entry)
            if len(missing) == len(images):
                return output, features
        batch = {
            name: torch.stack([entry[name].to(images.device) for entry in entries if entry is not None])
            for name in names
        }
        return batch.pop(_OUTPUT), batch

    def _run(self, *arguments: Any, **named: Any) -> tuple[Any, dict[str, torch.Tensor]]:
        if len(arguments) + len(named) > 1:
            self._check_takes(*arguments, **named)
        handles = [] if self._compiled else self._hook()
        try:
            with torch.no_grad():
                output = self._teacher(*arguments, **named)
            features = dict(self._features)
        except Exception as error:
            if self._compiled and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise ArgumentError(
                    f"the teacher cannot be compiled here ({in_one_line(error, 160)}): run it uncompiled",
                    argument="compile",
                ) from error
            raise
        finally:
            self._features.clear()
            for handle in handles:
                handle.remove()
        if missed := next((name for name in self._taps if name not in features), None):
            raise ArgumentError(
                f"module '{missed}' was not called in the teacher's forward pass, so it has no features: name another"
            )
        return output, features

    def _check_takes(self, *arguments: Any, **named: Any) -> None:
        try:
            inspect.signature(self._network.forward).bind(*arguments, **named)
        except TypeError as error:
            raise ArgumentError(
                f"the student gets {len(arguments) + len(named)} arguments, which the teacher "
                f"({type(self._network).__name__}) does not take: {error}"
            ) from None

    def _hook(self) -> list[RemovableHandle]:
        return [module.register_forward_hook(self._keep(name)) for name, module in self._modules.items()]

    def _keep(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
            self._features[name] = output

        return hook
