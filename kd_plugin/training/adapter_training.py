"""Adapters in a host: trained by the generator's optimizer, saved beside its checkpoints, no part of the student."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import distributed, nn

from ..distillation.distiller import Distiller
from ..errors import CheckpointError, HostError
from ..files import write_atomically
from ..networks.checkpoint import read_state_dict
from ..processes import say, several_processes

__all__ = ["load_adapters", "save_adapters", "train_adapters"]


def train_adapters(distiller: Distiller, optimizers: Iterable[torch.optim.Optimizer], net: str) -> None:
    """Let the optimizer that trains a student train its adapters too, at the same learning rate.

    They join the student's own group of parameters, since the host's schedulers count the groups.

    Raises:
        HostError: no optimizer trains the student.
    """
    adapters = list(distiller.adapters.parameters())
    if not adapters:
        return
    trained = {id(parameter) for parameter in distiller.student.parameters()}
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    group = next((g for g in groups if any(id(parameter) in trained for parameter in g["params"])), None)
    if group is None:
        raise HostError(
            f"no optimizer of the model trains net{net}, so nothing would train the adapters of its terms"
        )
    group["params"].extend(adapters)
    if several_processes():
        for parameter in adapters:  # DistributedDataParallel, which averages gradients, knows the student alone
            parameter.register_post_accumulate_grad_hook(_average)  # type: ignore[no-untyped-call]


def _average(parameter: torch.Tensor) -> None:
    assert parameter.grad is not None
    distributed.all_reduce(parameter.grad)
    parameter.grad /= distributed.get_world_size()


def save_adapters(adapters: Mapping[str, nn.ModuleDict], folder: Path, epoch: int | str) -> None:
    """Write the adapters of all generators, by the name of the generator; nothing if there are none."""
    state = {f"{net}.{key}": value for net, module in adapters.items() for key, value in module.state_dict().items()}
    if state:
        write_atomically(_file(folder, epoch), lambda stream: torch.save(state, stream))


def load_adapters(adapters: Mapping[str, nn.ModuleDict], folder: Path, epoch: int | str) -> None:
    """Load what :func:`save_adapters` wrote; with a note, adapters of terms that are new start afresh.

    Raises:
        CheckpointError: the file cannot be read, or is of other layers.
    """
    if not adapters:
        return
    file = _file(folder, epoch)
    saved = read_state_dict(file) if file.is_file() else {}
    for net, module in adapters.items():
        for name, part in module.items():
            prefix = f"{net}.{name}."
            state = {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}
            if not state:
                say(f"note: {file} has no adapters of {name} for {net}; they start afresh")
                continue
            try:
                part.load_state_dict(state)
            except RuntimeError:
                raise CheckpointError(
                    f"{file}: its adapters of {name} for {net} are of other layers than this run reads: give the "
                    f"same taps and teacher as before, or move the file away to start them afresh"
                ) from None


def _file(folder: Path, epoch: int | str) -> Path:
    return folder / f"{epoch}_distill_adapters.pth"
