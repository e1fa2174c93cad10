"""Load the teacher of a host's generator: one of the family, or whatever else the host itself can build."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import UnknownNetworkError, in_one_line
from ...networks.checkpoint import find_stray, is_statistic, read_state_dict
from ...networks.taps import unwrap
from ...networks.teacher import TeacherMode, freeze, load_teacher
from .building import BuildCall

__all__ = ["load_teacher_of"]


def load_teacher_of(
    student: nn.Module, file: Path, mode: TeacherMode, opt: Any, netG: str, calls: Sequence[BuildCall]
) -> nn.Module:
    """Load a teacher; one outside the family as the host builds its student's kind, with the file's width and norm.

    That serves hosts with generators of their own, such as the antialiased ones of contrastive-unpaired-translation:
    what its options say of them (``--no_antialias``) has to be what the teacher was trained with.

    Args:
        student: the generator that is distilled; may be wrapped.
        file: the teacher's checkpoint.
        mode: ``"eval"`` or ``"train"``.
        opt: the host's options.
        netG: the host's ``--netG``, before ``--student_netG``.
        calls: how the host built its generators.

    Raises:
        CheckpointError: the file cannot be read, or holds neither.
    """
    try:
        return load_teacher(file, mode, dropout=not getattr(opt, "no_dropout", False))
    except UnknownNetworkError as error:
        call = next((call for call in calls if unwrap(call.network) is unwrap(student)), None)
        if call is None:
            raise
        reason = str(error)
    state = read_state_dict(file)
    ngf = next((len(t) for key, t in state.items() if t.ndim == 4 and key.endswith(".weight")), 0)
    network = _build(call, {"ngf": ngf, "netG": netG, "gpu_ids": [], **_norm_of(state, call)})
    wanted = network.state_dict()
    state = {key: tensor for key, tensor in state.items() if key in wanted or not is_statistic(key)}
    try:
        if stray := find_stray(state, wanted):
            raise RuntimeError(f"'{stray}' has no place in one")
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UnknownNetworkError(
            f"{reason}; nor is it what this host builds as --netG {netG} at ngf {ngf}: {in_one_line(error)}"
        ) from None
    freeze(network, mode)
    return network


def _norm_of(state: Mapping[str, torch.Tensor], call: BuildCall) -> dict[str, str]:
    """Return the norm of a file as far as it tells: a batch norm has weights beside its statistics."""
    if any(f"{key.removesuffix('running_mean')}weight" in state for key in state if key.endswith(".running_mean")):
        return {"norm": "batch"}
    return {"norm": "instance"} if call.arguments.get("norm") == "batch" else {}


def _build(call: BuildCall, changes: dict[str, Any]) -> nn.Module:
    arguments = {**call.arguments, **{name: value for name, value in changes.items() if name in call.arguments}}
    # Hosts of some years initialise here, with random numbers, and say so.
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(io.StringIO()):
        return unwrap(call.define_G(**arguments))
