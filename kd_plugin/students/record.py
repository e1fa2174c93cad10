"""The record next to a student's checkpoints: its architecture, its teacher, and how it was distilled.

A test run rebuilds the student from it without options, and a checkpoint can be traced to its teacher.
"""

from __future__ import annotations

import hashlib
import json
import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from ..errors import CheckpointError, UnknownNetworkError
from ..files import write_text_atomically
from ..imports import is_function
from ..metrics.cost import count_parameters
from ..networks.architecture import Conv, Padding
from ..networks.checkpoint import inspect_checkpoint, inspect_state_dict, read_state_dict
from ..networks.taps import unwrap
from .builders import StudentRequest

RECORD_NAME = "student.json"
_FORMAT = 1
_CHANNELS = ("input_nc", "output_nc")
_READABLE = ("netG", "ngf", "widths", "conv", "padding", *_CHANNELS, "norm")  # from a checkpoint


@dataclass(frozen=True)
class StudentRecord:
    """Content of ``student.json``.

    Attributes:
        kd_plugin: the version that wrote it.
        model: the host's ``--model``.
        direction: the host's ``--direction``, if any.
        dataset_mode: the host's ``--dataset_mode``, if any.
        pictures: the host's options for resizing and cropping images, by name.
        selection: of which weights ``latest_net_G.pth`` is, and their measures; empty for students of a host.
        host_options: the host's options that define the networks, by name.
        distillation: terms, weights and settings.
        build: properties of the generators beyond the host's options: stage widths, convolutions, factory, padding.
        students: description of each generator by name (``G``, ``G_A``, ``G_B``), distilled or not.
        teachers: description of each teacher, with its file.
    """

    kd_plugin: str
    model: str
    direction: str | None
    host_options: dict[str, Any]
    distillation: dict[str, Any]
    students: dict[str, dict[str, Any]] = field(default_factory=dict)
    teachers: dict[str, dict[str, Any]] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)
    dataset_mode: str | None = None
    pictures: dict[str, Any] = field(default_factory=dict)
    selection: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write the record to an experiment's folder, which is created if necessary; return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / RECORD_NAME
        write_text_atomically(file, json.dumps({"format": _FORMAT, **asdict(self)}, indent=2) + "\n")
        return file

    @classmethod
    def read(cls, folder: Path, options: Mapping[str, type]) -> StudentRecord | None:
        """Return the record of an experiment's folder, or None without a file.

        ``options`` are the valid names in ``host_options``, with the types of their values.

        Raises:
            CheckpointError: If the record is not valid.
        """
        file = folder / RECORD_NAME
        if not file.is_file():
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            version = content.pop("format")
            if version != _FORMAT:
                raise CheckpointError(
                    f"{file}: format {version} is of another version of kd_plugin, expected format {_FORMAT}"
                )
            record = cls(**content)
            record._check_types(options)
            return record
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{file}: not a student record ({error}); delete it to continue without") from error

    def _check_types(self, options: Mapping[str, type]) -> None:
        """Raise a TypeError, which names it, if a value is not valid: the file is untrusted."""
        parts = (
            self.host_options,
            self.distillation,
            self.students,
            self.teachers,
            self.build,
            self.pictures,
            self.selection,
        )
        for part in (*parts, *self.students.values(), *self.teachers.values()):
            if not isinstance(part, dict):
                raise TypeError(f"expected an object, found {part!r}")
        for name in ("model", "dataset_mode"):  # parts of the names of modules in the hosts
            value = getattr(self, name)
            optional = name == "dataset_mode" and value is None
            if not optional and not (isinstance(value, str) and re.fullmatch(r"\w+", value)):
                raise TypeError(f"{name} is {value!r}")
        if self.direction not in ("AtoB", "BtoA", None):
            raise TypeError(f"direction is {self.direction!r}")
        channels = [(name, s[name]) for s in self.students.values() for name in _CHANNELS if name in s]
        for name, value in (*self.host_options.items(), *channels):
            plain = not isinstance(value, str) or re.fullmatch(r"[\w.+,-]+", value)
            counts = type(value) is not int or value > 0
            if not (plain and counts and type(value) is options.get(name)):
                raise TypeError(f"the host's option {name} is {value!r}")

    @property
    def request(self) -> StudentRequest:
        """The request for the generators, beyond the arguments of the host's ``define_G``.

        Raises:
            CheckpointError: If ``build`` is not valid.
        """
        widths, conv = self.build.get("widths"), self.build.get("conv", "standard")
        factory, padding = self.build.get("factory", ""), self.build.get("padding", "reflect")
        if not (
            (widths is None or (isinstance(widths, list) and all(type(width) is int for width in widths)))
            and conv in get_args(Conv)
            and padding in get_args(Padding)
            and (factory == "" or (isinstance(factory, str) and is_function(factory)))
        ):
            raise CheckpointError(f"{RECORD_NAME}: 'build' is not valid: {self.build}")
        return StudentRequest(widths=tuple(widths) if widths else None, conv=conv, factory=factory, padding=padding)

    def options_for(self, opt: Namespace) -> dict[str, Any]:
        """Return the host's options that rebuild the networks of a run, by name.

        ``--model test`` has one generator, which may be the second of a CycleGAN, with input and output swapped.
        """
        student = self.students.get(f"G{getattr(opt, 'model_suffix', '')}", {})
        channels = _CHANNELS if getattr(opt, "model", "") == "test" else ()
        return {**self.host_options, **{name: student[name] for name in channels if name in student}}

    def is_of(self, folder: Path, epoch: str) -> bool:
        """Return False if a checkpoint in the folder has a different network than the record.

        That happens if an experiment of the same name is trained again without the plugin.
        """
        for name, described in self.students.items():
            file = folder / f"{epoch}_net_{name}.pth"
            if not file.is_file():
                continue
            if "netG" in described:
                try:
                    found = inspect_checkpoint(file).to_dict()
                except UnknownNetworkError:
                    return False
                if any(described[key] != found[key] for key in _READABLE if key in described):
                    return False
            elif "layout" in described and described["layout"] != _layout(read_state_dict(file)):
                return False
        return True


def describe(network: nn.Module) -> dict[str, Any]:
    """Return a description of a generator for JSON: its class if it is outside the family."""
    inner = unwrap(network)
    described: dict[str, Any] = {"parameters": count_parameters(inner)}
    try:
        return {**inspect_state_dict(inner.state_dict()).to_dict(), **described}
    except CheckpointError:
        name = f"{type(inner).__module__}.{type(inner).__qualname__}"
        return {"class": name, "layout": _layout(inner.state_dict()), **described}


def _layout(state: Mapping[str, torch.Tensor]) -> str:
    """Return a digest of the names and shapes of a state dict, which identifies the network."""
    listed = sorted(f"{key}{tuple(tensor.shape)}" for key, tensor in state.items())
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]
