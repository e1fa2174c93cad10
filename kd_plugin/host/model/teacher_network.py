"""Load the teacher of a host's generator: a network of the family, or one that the host builds."""

from __future__ import annotations

import contextlib
import io
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import UnknownNetworkError, in_one_line
from ...networks.checkpoint import find_stray, is_statistic, read_state_dict
from ...networks.taps import unwrap
from ...networks.teacher import TeacherMode, freeze, load_teacher
from ...report.experiments import pads_by_replication
from ..repository.usual_options import host_options, usual_options
from .building import BuildCall
from .student import Built

_PADDING = ("padding_type", "G_padding_type")  # arguments of define_G in DeepLIIF and joliGEN


def load_teacher_of(student: nn.Module, file: Path, mode: TeacherMode, opt: Any, built: Built) -> nn.Module:
    """Load a teacher; the host's ``define_G`` builds those outside the family, at the width and norm of the file.

    This supports hosts with custom generators, such as the antialiased ones of contrastive-unpaired-translation,
    whose options (``--no_antialias``) must be the same as in the training of the teacher. The student may be wrapped.

    Raises:
        CheckpointError: the file cannot be read, or holds neither kind of network.
    """
    try:
        teacher = load_teacher(file, mode, dropout=not getattr(opt, "no_dropout", False))
        if not pads_by_replication(file, teacher.spec):
            return teacher
        reason = f"{file} pads by replication, by the options of its training"
        known = {"netG": teacher.spec.netG, "norm": teacher.spec.norm, **dict.fromkeys(_PADDING, "replicate")}
    except UnknownNetworkError as error:
        reason, known = str(error), {}
    call = next((call for call in built.calls if unwrap(call.network) is unwrap(student)), None)
    if call is None or (known and not call.arguments.keys() & set(_PADDING)):
        raise UnknownNetworkError(reason)
    state = read_state_dict(file)
    ngf = next((len(t) for key, t in state.items() if t.ndim == 4 and key.endswith(".weight")), 0)
    # Some hosts have several.
    netG = built.netG if isinstance(built.netG, str) else getattr(_usual(call.arguments), "netG", None)
    changes = {"ngf": ngf, "netG": netG, "gpu_ids": [], **_norm_of(state, call), **known}
    network = _build(call, changes)
    expected = network.state_dict()
    state = {key: tensor for key, tensor in state.items() if key in expected or not is_statistic(key)}
    try:
        if stray := find_stray(state, expected):
            raise RuntimeError(f"unexpected key '{stray}'")
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UnknownNetworkError(
            f"{reason}; it does not match --netG {changes['netG']} of this host at ngf {ngf} either: "
            f"{in_one_line(error)}"
        ) from None
    freeze(network, mode)
    return network


def _norm_of(state: Mapping[str, torch.Tensor], call: BuildCall) -> dict[str, str]:
    """Return the norm inferred from a file: batch norm has weights in addition to statistics."""
    if any(f"{key.removesuffix('running_mean')}weight" in state for key in state if key.endswith(".running_mean")):
        return {"norm": "batch"}
    return {"norm": "instance"} if getattr(_usual(call.arguments), "norm", "") == "batch" else {}


def _build(call: BuildCall, changes: dict[str, Any]) -> nn.Module:
    usual = _usual(call.arguments)
    for name, value in changes.items():
        if hasattr(usual, name):
            setattr(usual, name, value)
    # Hosts of some years initialise here, which draws random numbers and prints.
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(io.StringIO()):
        return unwrap(call.define_G(**vars(host_options(usual))))


def _usual(arguments: Mapping[str, Any]) -> Any:
    """Return the arguments of a ``define_G`` as attributes, under their usual names too."""
    return usual_options(Namespace(**arguments))
