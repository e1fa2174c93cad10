"""The training state next to the host's checkpoints, with which ``--continue_train`` resumes exactly.

``latest_distill_state.pth`` contains everything at the time of the host's last save of ``latest``: networks,
optimizers, learning rates, image pools, adapters, the epoch and the RNG state. It also contains the networks, which
the host saves too, to check that the host's files belong to the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ..errors import CheckpointError, first_line, in_one_line
from ..files import write_atomically
from ..networks.taps import unwrap
from ..processes import say
from .networks import find_network
from .scaler import scalers_of

_FORMAT = 1
_RATES = ("lr", "initial_lr")
# The counters of schedulers; their settings are those of the new run, which may have a larger --n_epochs.
_COUNTED = ("last_epoch", "_step_count", "_last_lr", "base_lrs", "best", "num_bad_epochs", "cooldown_counter")


class Stateful(Protocol):
    """Something that is saved with a training."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        ...


@dataclass
class RunState:
    """The state of a run at one of its saves.

    On several processes, the first writes all of it; each other process writes its image pools and RNG state to a
    separate file, with its position in the training.
    """

    epoch: int  # the last trained
    iteration: int  # number of its completed steps
    complete: bool  # whether the epoch was complete
    # The host's updates of the learning rate relative to the beginning of next_epoch: -1 if one was still due, 1 if
    # that of the epoch itself was done.
    lr_ahead: int
    lr_epoch_count: int  # the --epoch_count from which the learning rate schedules count
    lr: float  # the host's --lr
    # State dicts: of networks by name, without wrappers; of the learnt adapters by generator; in the model's order.
    networks: dict[str, Any] = field(default_factory=dict)
    adapters: dict[str, Any] = field(default_factory=dict)
    optimizers: list[Any] = field(default_factory=list)
    schedulers: list[Any] = field(default_factory=list)
    pools: dict[str, Any] = field(default_factory=dict)  # the images in the host's image pools, by attribute
    random_numbers: dict[str, Any] = field(default_factory=dict)  # RNG states of Python, NumPy and PyTorch
    # Those at the start of the epoch, before its batches were drawn; empty if unknown.
    epoch_random_numbers: dict[str, Any] = field(default_factory=dict)
    batches: int = 0  # trained ones of the epoch, in a host that trains them in optimize_parameters
    seen: str = ""  # digest of the names of their images
    processes: int = 1  # of the training
    loss_scale: tuple[float, int] | None = None  # scale and growth of the mixed precision, if it has a scale
    scalers: dict[str, Any] = field(default_factory=dict)  # state dicts of the host's gradient scalers, by attribute
    terms: dict[str, Any] = field(default_factory=dict)  # of randomly initialised networks, by generator and term
    averages: dict[str, Any] = field(default_factory=dict)  # state dicts of the weight averages, by generator
    bests: dict[str, Any] = field(default_factory=dict)  # of the best weights and the history of a validation

    @property
    def next_epoch(self) -> int:
        """The epoch to continue with."""
        return self.epoch + 1 if self.complete else self.epoch

    @property
    def place(self) -> tuple[int, int, bool]:
        """The position in the training."""
        return self.epoch, self.iteration, self.complete

    def write(self, folder: Path, process: int = 0) -> None:
        """Write the state of a process to an experiment's folder, atomically."""
        content = {"format": _FORMAT, **vars(self)}
        write_atomically(state_file(folder, process), lambda stream: torch.save(content, stream))

    @classmethod
    def read(cls, folder: Path, process: int = 0) -> RunState | None:
        """Return the state of a process in an experiment's folder, or None without a file.

        Raises:
            CheckpointError: If the file cannot be read.
        """
        file = state_file(folder, process)
        if not file.is_file():
            return None
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            if content.pop("format") != _FORMAT:
                raise ValueError("written by another version of kd_plugin")
            return cls(**content)
        except Exception as error:  # damaged bytes raise anything
            raise CheckpointError(
                f"{file}: cannot be read ({first_line(error, 100)}); delete it to continue from the networks only"
            ) from error


def state_file(folder: Path, process: int = 0) -> Path:
    """Return the file of the state of a run, or of the part of a process other than the first."""
    return folder / (f"latest_distill_state_{process}.pth" if process else "latest_distill_state.pth")


def capture(
    state: RunState, model: Any, adapters: Mapping[str, nn.Module], drawn: Mapping[str, nn.Module]
) -> RunState:
    """Return a state with a host's networks, optimizers and scalers, the adapters and the drawn networks added."""
    found = {name: find_network(model, name) for name in model.model_names}
    networks = {name: unwrap(network).state_dict() for name, network in found.items() if network is not None}
    return replace(
        state,
        networks={name: {key: tensor.cpu() for key, tensor in state.items()} for name, state in networks.items()},
        adapters={name: module.state_dict() for name, module in adapters.items()},
        optimizers=[optimizer.state_dict() for optimizer in model.optimizers],
        schedulers=[scheduler.state_dict() for scheduler in getattr(model, "schedulers", [])],
        scalers={name: scaler.state_dict() for name, scaler in scalers_of(model).items()},
        terms={name: network.state_dict() for name, network in drawn.items()},
    )


def capture_pools(model: Any) -> dict[str, list[torch.Tensor]]:
    """Return the images in a host's image pools, by attribute."""
    return {name: list(pool.images) for name, pool in _pools(model).items()}


def restore_pools(model: Any, state: RunState) -> None:
    """Restore the image pools of a host's model from a state."""
    for name, pool in _pools(model).items():
        if name in state.pools:
            pool.images = [image.to(model.device) for image in state.pools[name]]
            if hasattr(pool, "num_imgs"):  # the counter of the family's pool
                pool.num_imgs = len(pool.images)


def restore(
    model: Any,
    opt: Any,
    state: RunState,
    adapters: Mapping[str, nn.Module],
    drawn: Mapping[str, nn.Module],
    with_schedule: bool,
) -> None:
    """Restore a host's model, with its networks loaded, from a state, except its image pools.

    ``opt`` are its options, under their usual names.

    ``with_schedule`` restores the learning rates too; otherwise they are those of a new run.

    Raises:
        CheckpointError: If the state is of a different model.
    """
    fresh = {name: module.state_dict() for name, module in adapters.items()}
    same_terms = _shapes(fresh) == _shapes(state.adapters)
    try:
        for optimizer, saved in zip(model.optimizers, state.optimizers, strict=True):
            groups = saved["param_groups"] if with_schedule else optimizer.param_groups
            rates = [{key: group[key] for key in _RATES if key in group} for group in groups]
            if same_terms:
                optimizer.load_state_dict(saved)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group.update(rate)
        for name, module in adapters.items():
            known = {key: t for key, t in state.adapters.get(name, {}).items() if key in fresh[name]}
            module.load_state_dict({**fresh[name], **known})
        for name, network in drawn.items():
            if name in state.terms:
                network.load_state_dict(state.terms[name])
        if with_schedule:
            for scheduler, saved in zip(getattr(model, "schedulers", []), state.schedulers, strict=True):
                counted = {key: saved[key] for key in _COUNTED if key in saved}
                scheduler.load_state_dict({**scheduler.state_dict(), **counted})
    except (ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"the saved state has other networks or terms than this run ({in_one_line(error, 120)}): give the same "
            f"options as before, or delete {state_file(Path(model.save_dir))} to continue from the networks only"
        ) from error
    if not same_terms:
        say("note: the adapters of the terms have changed, so the optimizers are reset")
    for name, scaler in scalers_of(model).items():
        if state.scalers.get(name):  # the state of a disabled scaler is empty
            scaler.load_state_dict(state.scalers[name])
    if with_schedule:
        _continue_schedule(model, opt, state)


def _shapes(adapters: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, dict[str, tuple[int, ...]]]:
    return {net: {key: tuple(t.shape) for key, t in state.items()} for net, state in adapters.items() if state}


def _continue_schedule(model: Any, opt: Any, state: RunState) -> None:
    """Undo the shift of the host's schedules in a resumed run, and apply a new ``--lr``."""
    # The host's schedule adds --epoch_count, which is now that of the resumed run, to the epochs it has counted.
    shift = opt.epoch_count - state.lr_epoch_count
    for scheduler in getattr(model, "schedulers", []):
        if isinstance(scheduler, LambdaLR):
            scheduler.lr_lambdas = [_shifted(function, shift) for function in scheduler.lr_lambdas]
    new: float = getattr(opt, "lr", state.lr)  # DeepLIIF has two, for generators and discriminators
    if state.lr == new:
        return

    def changed(rate: float) -> float:
        return rate * new / state.lr if state.lr else new

    for optimizer in model.optimizers:
        for group in optimizer.param_groups:
            group.update({key: changed(group[key]) for key in _RATES if key in group})
    for scheduler in getattr(model, "schedulers", []):
        if hasattr(scheduler, "base_lrs"):
            scheduler.base_lrs = [changed(rate) for rate in scheduler.base_lrs]


def _shifted(function: Callable[[int], float], shift: int) -> Callable[[int], float]:
    return lambda epoch: function(epoch - shift)


def _pools(model: Any) -> dict[str, Any]:
    """Return the image pools of a model, in attributes or in lists there, by name."""
    held = dict(vars(model))
    for name, value in vars(model).items():
        if isinstance(value, list):
            held.update({f"{name}[{number}]": element for number, element in enumerate(value)})
    return {
        name: value
        for name, value in held.items()
        if isinstance(getattr(value, "images", None), list) and hasattr(value, "pool_size")
    }


def is_of(model: Any, state: RunState) -> bool:
    """Return whether the loaded networks of a model are those of a state."""
    for name, saved in state.networks.items():
        network = find_network(model, name)
        loaded = unwrap(network).state_dict() if network is not None else {}
        if _shapes({name: loaded}) != _shapes({name: saved}):
            return False
        for key, tensor in loaded.items():
            if not torch.allclose(tensor.cpu(), saved[key].to(tensor.dtype), rtol=0, atol=0, equal_nan=True):
                return False
    return True
