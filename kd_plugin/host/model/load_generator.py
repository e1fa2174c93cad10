"""Load any generator from its file: of the family, or another from its record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...errors import CheckpointError, UnknownNetworkError
from ...networks.checkpoint import read_state_dict
from ...networks.teacher import load_teacher
from ...report.experiments import dropout_of
from ...report.networks import LoadedFile
from ...students import RECORD_NAME, StudentRecord, build_student
from ..options.record import refuse_among_checkpoints
from ..repository.family import network_options

_REQUESTED = ("input_nc", "output_nc", "ngf", "netG", "norm")


def load_generator(file: Path) -> LoadedFile:
    """Load a generator of the family from its file, or another from the record next to it.

    Raises:
        CheckpointError: it cannot be read, or is of neither kind.
        OptionError: the record names a function that is not to be called.
    """
    try:
        network = load_teacher(file, dropout=dropout_of(file))
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
