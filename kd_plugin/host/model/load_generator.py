"""Load any generator from its file: of the family, or another from its record."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ...errors import CheckpointError, UnknownNetworkError
from ...networks.checkpoint import read_state_dict
from ...networks.teacher import load_teacher
from ...report.experiments import dropout_of, pads_by_replication
from ...report.networks import LoadedFile
from ...students import RECORD_NAME, StudentRecord, build_student
from ..options.record import refuse_among_checkpoints
from ..repository.family import network_options

_REQUESTED = ("input_nc", "output_nc", "ngf", "netG", "norm")


def load_generator(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> nn.Module:
    """Load a generator, a teacher or a student, from its checkpoint, in eval mode.

    The architecture is read from the file, or from the ``student.json`` next to it if it is not of the family.

    Args:
        path: a checkpoint of a generator, such as ``latest_net_G.pth``.
        device: the device of the network.

    Returns:
        The generator, (B, C, H, W) images in [-1, 1] in and out, in float32.

    Raises:
        CheckpointError: If the file cannot be read, or it and its record are of no known network.
    """
    return load_file(Path(path).expanduser()).module.requires_grad_(True).eval().to(device)


def load_file(file: Path) -> LoadedFile:
    """Load a generator of the family from its file, or another from the record next to it.

    Raises:
        CheckpointError: it cannot be read, or is of neither kind.
        OptionError: the record names a function that is not to be called.
    """
    try:
        network = load_teacher(file, dropout=dropout_of(file))
        if pads_by_replication(file, network.spec):
            raise CheckpointError(
                f"{file} pads by replication, by the options of its training, and only its host builds such a "
                "generator: distil it in the host, by kd run"
            )
        return LoadedFile(network, network.spec)
    except UnknownNetworkError:
        record = StudentRecord.read(file.parent, network_options())
        if record is None or not record.request.factory:
            raise
    request = record.request
    refuse_among_checkpoints(request.factory, file.parent.parent, file.parent / RECORD_NAME)
    named = {name: record.host_options[name] for name in _REQUESTED if name in record.host_options}
    module = build_student(replace(request, **named, dropout=not record.host_options.get("no_dropout", False)))
    try:
        module.load_state_dict(read_state_dict(file))
    except RuntimeError as error:
        raise CheckpointError(f"{file}: not a network of {request.factory}, which its record names") from error
    return LoadedFile(module, None)
