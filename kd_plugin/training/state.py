"""The state of a run beside the host's checkpoints: with it, ``--continue_train`` goes on as if nothing had stopped.

``latest_distill_state.pth`` holds everything at the moment of the host's last save of ``latest``: networks,
optimizers, learning rates, image pools, adapters, the epoch and the random numbers. The networks are there a second
time, beside the host's own files: a state is continued only with the weights that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ..errors import CheckpointError, first_line, in_one_line
from ..files import write_atomically
from ..networks.taps import unwrap
from ..processes import say
from .rng import get_random_numbers
from .scaler import scalers_of

__all__ = ["RunState", "capture", "capture_process", "is_of", "restore", "restore_pools", "state_file"]

_FORMAT = 1
_RATES = ("lr", "initial_lr")
# What schedulers count; their settings are the run's own, which may have a larger --n_epochs.
_COUNTED = ("last_epoch", "_step_count", "_last_lr", "base_lrs", "best", "num_bad_epochs", "cooldown_counter")


@dataclass
class RunState:
    """A run at one of its saves.

    On several processes the first writes all of it; each other one writes its image pools and random numbers into a
    file of its own, with the place in the training they belong to.

    Attributes:
        epoch: the epoch that was trained last.
        iteration: how many steps of it had been made.
        complete: whether it was at its end.
        lr_ahead: how often the host had set the learning rate more than at the beginning of ``next_epoch``: -1 if it
            was about to do so, 1 if it had done so for that epoch already.
        lr_epoch_count: the ``--epoch_count`` that the schedules of the learning rate count from.
        lr: the host's ``--lr``.
        networks: state dicts by name, without wrappers.
        adapters: state dicts of the learnt adapters, by generator.
        optimizers, schedulers: their state dicts in the order of the model.
        pools: the images in the host's image pools, by attribute.
        random_numbers: states of the random generators of Python, NumPy and PyTorch.
        epoch_random_numbers: those at the beginning of the epoch, before its batches were drawn; empty if not known.
        batches: how many batches of the epoch were trained, in a host that trains them in ``optimize_parameters``.
        seen: digest of the names of their pictures.
        processes: how many trained.
        loss_scale: scale and growth of the mixed precision, where it has a scale.
        scalers: state dicts of the host's own gradient scalers, by attribute.
        terms: state dicts of the networks that terms have drawn at random, by generator and term.
    """

    epoch: int
    iteration: int
    complete: bool
    lr_ahead: int
    lr_epoch_count: int
    lr: float
    networks: dict[str, Any] = field(default_factory=dict)
    adapters: dict[str, Any] = field(default_factory=dict)
    optimizers: list[Any] = field(default_factory=list)
    schedulers: list[Any] = field(default_factory=list)
    pools: dict[str, Any] = field(default_factory=dict)
    random_numbers: dict[str, Any] = field(default_factory=dict)
    epoch_random_numbers: dict[str, Any] = field(default_factory=dict)
    batches: int = 0
    seen: str = ""
    processes: int = 1
    loss_scale: tuple[float, int] | None = None
    scalers: dict[str, Any] = field(default_factory=dict)
    terms: dict[str, Any] = field(default_factory=dict)

    @property
    def next_epoch(self) -> int:
        """The epoch to go on with."""
        return self.epoch + 1 if self.complete else self.epoch

    @property
    def place(self) -> tuple[int, int, bool]:
        """Where in the training it is."""
        return self.epoch, self.iteration, self.complete

    def write(self, folder: Path, process: int = 0) -> None:
        """Write the state of a process into an experiment's folder, whole or not at all."""
        content = {"format": _FORMAT, **{f.name: getattr(self, f.name) for f in fields(self)}}
        write_atomically(state_file(folder, process), lambda stream: torch.save(content, stream))

    @classmethod
    def read(cls, folder: Path, process: int = 0) -> RunState | None:
        """Return the state of a process in an experiment's folder, or None where there is none.

        Raises:
            CheckpointError: there is one, but it cannot be read.
        """
        file = state_file(folder, process)
        if not file.is_file():
            return None
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            if content.pop("format") != _FORMAT:
                raise ValueError("of another version of kd_plugin")
            return cls(**content)
        except Exception as error:  # damaged bytes fail in any way
            raise CheckpointError(
                f"{file}: cannot be read ({first_line(error, 100)}); delete it to continue from the networks alone"
            ) from error


def state_file(folder: Path, process: int = 0) -> Path:
    """Return the file of the state of a run, or of what another process than the first adds to it."""
    return folder / (f"latest_distill_state_{process}.pth" if process else "latest_distill_state.pth")


def capture_process(model: Any, **progress: Any) -> RunState:
    """Return what every process has its own of; ``progress`` are the fields of the state that are no tensors."""
    pools = {name: list(pool.images) for name, pool in _pools(model).items()}
    return RunState(**progress, pools=pools, random_numbers=get_random_numbers())


def capture(
    model: Any, adapters: Mapping[str, nn.Module], drawn: Mapping[str, nn.Module], **progress: Any
) -> RunState:
    """Return the state of a host's model; ``progress`` are the fields of the state that are no tensors."""
    networks = {name: unwrap(getattr(model, f"net{name}")).state_dict() for name in model.model_names}
    return replace(
        capture_process(model, **progress),
        networks={name: {key: tensor.cpu() for key, tensor in state.items()} for name, state in networks.items()},
        adapters={name: module.state_dict() for name, module in adapters.items()},
        optimizers=[optimizer.state_dict() for optimizer in model.optimizers],
        schedulers=[scheduler.state_dict() for scheduler in getattr(model, "schedulers", [])],
        scalers={name: scaler.state_dict() for name, scaler in scalers_of(model).items()},
        terms={name: network.state_dict() for name, network in drawn.items()},
    )


def restore_pools(model: Any, state: RunState) -> None:
    """Bring the image pools of a host's model to those of a state."""
    for name, pool in _pools(model).items():
        if name in state.pools:
            pool.images = [image.to(model.device) for image in state.pools[name]]
            if hasattr(pool, "num_imgs"):  # how the family's pool counts them
                pool.num_imgs = len(pool.images)


def restore(
    model: Any,
    state: RunState,
    adapters: Mapping[str, nn.Module],
    drawn: Mapping[str, nn.Module],
    with_schedule: bool,
) -> None:
    """Bring a host's model, set up and with its networks loaded, to a state, its image pools aside.

    Args:
        model: the host's.
        state: what to bring it to.
        adapters: the learnt adapters by generator.
        drawn: the networks that terms have drawn at random, by generator and term.
        with_schedule: whether learning rates go on as well, or are those of a fresh run.

    Raises:
        CheckpointError: the state is of another model.
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
            f"the saved state is of other networks or terms than this run's ({in_one_line(error, 120)}): give the "
            f"options of before, or delete {state_file(Path(model.save_dir))} to continue from the networks alone"
        ) from error
    if not same_terms:
        say("note: the learnt layers of the terms have changed, so the optimizers start afresh")
    for name, scaler in scalers_of(model).items():
        if state.scalers.get(name):  # that of one that is off is empty
            scaler.load_state_dict(state.scalers[name])
    if with_schedule:
        _continue_schedule(model, state)


def _shapes(adapters: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, dict[str, tuple[int, ...]]]:
    return {net: {key: tuple(t.shape) for key, t in state.items()} for net, state in adapters.items() if state}


def _continue_schedule(model: Any, state: RunState) -> None:
    """Undo what a continued run changes in the host's schedules, and take a new ``--lr`` over."""
    # The host's schedule adds --epoch_count, which is now that of the continued run, to the epochs it has counted.
    shift = model.opt.epoch_count - state.lr_epoch_count
    for scheduler in getattr(model, "schedulers", []):
        if isinstance(scheduler, LambdaLR):
            scheduler.lr_lambdas = [_shifted(function, shift) for function in scheduler.lr_lambdas]
    if state.lr == model.opt.lr:
        return

    def changed(rate: float) -> float:
        new: float = model.opt.lr
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
    """Return the host's image pools, by the model's attribute."""
    pools = {}
    for name, value in vars(model).items():
        if isinstance(getattr(value, "images", None), list) and hasattr(value, "pool_size"):
            pools[name] = value
    return pools


def is_of(model: Any, state: RunState) -> bool:
    """Return whether the networks a model has loaded are those of a state."""
    for name, saved in state.networks.items():
        network = getattr(model, f"net{name}", None)
        own = unwrap(network).state_dict() if isinstance(network, nn.Module) else {}
        if own.keys() != saved.keys():
            return False
        if not all(_equal(tensor.cpu(), saved[key].to(tensor.dtype)) for key, tensor in own.items()):
            return False
    return True


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors hold the same, of which NaN may be a part."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())
