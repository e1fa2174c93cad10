"""Adapters in a host: trained by the generator's optimizer, saved next to its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import distributed, nn

from ..distillation.distiller import Distiller
from ..errors import CheckpointError, HostError
from ..files import write_atomically
from ..networks.checkpoint import read_state_dict
from ..processes import is_distributed, say


def train_adapters(distiller: Distiller, optimizers: Iterable[torch.optim.Optimizer], net: str) -> None:
    """Add the adapters to the optimizer that trains their student, at the same learning rate.

    They are added to the student's parameter group, since the host's schedulers count the groups.

    Raises:
        HostError: If no optimizer trains the student.
    """
    adapters = list(distiller.adapters.parameters())
    if not adapters:
        return
    trained = {id(parameter) for parameter in distiller.student.parameters()}
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    group = next((g for g in groups if any(id(parameter) in trained for parameter in g["params"])), None)
    if group is None:
        raise HostError(
            f"no optimizer of the model trains net{net}, so the adapters of its terms would not be trained"
        )
    group["params"].extend(adapters)
    if is_distributed():
        for parameter in adapters:  # DistributedDataParallel only averages gradients of the student
            parameter.register_post_accumulate_grad_hook(average_gradient)  # type: ignore[no-untyped-call]


def average_gradient(parameter: torch.Tensor) -> None:
    """Replace a parameter's gradient with its mean over the processes."""
    assert parameter.grad is not None
    distributed.all_reduce(parameter.grad)
    parameter.grad /= distributed.get_world_size()


def save_adapters(adapters: Mapping[str, nn.ModuleDict], folder: Path, epoch: int | str) -> None:
    """Save the adapters of all generators, by generator, if there are any."""
    state = {f"{net}.{key}": value for net, module in adapters.items() for key, value in module.state_dict().items()}
    if state:
        write_atomically(_file(folder, epoch), lambda stream: torch.save(state, stream))


def load_adapters(adapters: Mapping[str, nn.ModuleDict], folder: Path, epoch: int | str) -> None:
    """Load the file of :func:`save_adapters`; adapters of new terms keep their initial weights, with a note.

    Raises:
        CheckpointError: If the file cannot be read, or has other layers.
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
                say(f"note: {file} has no adapters of {name} for {net}; they keep their initial weights")
                continue
            try:
                part.load_state_dict(state)
            except RuntimeError:
                raise CheckpointError(
                    f"{file}: its adapters of {name} for {net} are for other layers than those of this run: give the "
                    f"same taps and teacher as before, or move the file away to reset them"
                ) from None


def _file(folder: Path, epoch: int | str) -> Path:
    return folder / f"{epoch}_distill_adapters.pth"
