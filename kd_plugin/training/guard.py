"""Keep values that are not finite out of the student, and tell of terms that teach it nothing."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import MethodType
from typing import Any

import torch
from torch import distributed, nn

from ..distillation.precision import HalfPrecision
from ..errors import KDError
from ..processes import say, several_processes

__all__ = ["Guard", "TrainingError"]

_EVERY = 50  # steps between two looks at the terms' gradients, which cost a backward pass of the terms each
_LOOKS = 4  # without any gradient, until that is told


class TrainingError(KDError):
    """The training cannot go on."""


class Guard:
    """Skips optimizer steps whose gradients are not finite, and ends a run that has nothing else.

    A skipped step leaves weights and optimizer as they are: parameters without a gradient are none of an optimizer's
    business. The running statistics of norms, which a pass alone changes, are put back. On several processes all skip
    the same steps.

    Args:
        optimizers: those of the model; all are guarded.
        students: the generators that are distilled.
        networks: all of the model's by name, whose running statistics are kept.
        most: how many steps may be skipped one after the other.
        half: the precision they run in. Gradients that are too large for it are told to it, and no fault.
    """

    def __init__(
        self,
        optimizers: Iterable[torch.optim.Optimizer],
        students: Iterable[nn.Module],
        networks: Mapping[str, nn.Module],
        most: int,
        half: HalfPrecision | None = None,
    ) -> None:
        self._most = most
        self._half = half
        self._networks = networks
        self._before: dict[str, dict[str, torch.Tensor]] = {}  # the statistics at the beginning of the step
        self._told: set[str] = set()
        self._bad: dict[int, int] = {}  # by optimizer: how many of its steps were skipped, one after the other
        self._values: dict[str, torch.Tensor] = {}
        self._where = ""
        self._silent: dict[str, int] = {}
        self._looks = 0
        distilled = list(students)
        own = weakref.ref(self)  # an optimizer outlives a model in no host, but must not keep one alive

        def guarded(optimizer: torch.optim.Optimizer) -> Callable[..., Any]:
            trains_students = any(_trains(optimizer, student) for student in distilled)
            original = optimizer.step

            @functools.wraps(original)
            def step(optimizer: torch.optim.Optimizer, *arguments: Any, **named: Any) -> Any:
                guard = own()
                if guard is not None:
                    guard._check(optimizer, trains_students)
                return original(*arguments, **named)

            return MethodType(step, optimizer)  # schedulers that are made later expect a method

        for optimizer in optimizers:
            # Not as a hook of the optimizer: PyTorch 2.2 takes those away once torch.compile was used.
            optimizer.step = guarded(optimizer)  # type: ignore[method-assign]

    def begin(self, epoch: int, iteration: int) -> None:
        """Begin a step of the training."""
        self._values = {}
        self._where = f"epoch {epoch}, iteration {iteration}"
        self._looks += 1
        self._before = {
            name: {key: buffer.clone() for key, buffer in _statistics(network).items()}
            for name, network in self._networks.items()
        }
        if self._half:
            self._half.update()

    def observe(self, suffix: str, losses: Mapping[str, torch.Tensor], sources: Iterable[torch.Tensor]) -> None:
        """Take note of the weighted terms of a generator, and now and then of their gradients.

        Args:
            suffix: what tells the generator's losses from another's: "", "_A".
            losses: the terms by name, with their graph.
            sources: the tensors of the student that terms are computed from.
        """
        self._values.update({f"{name}{suffix}": value.detach() for name, value in losses.items()})
        if self._looks % _EVERY:
            return
        read = [tensor for tensor in sources if tensor.requires_grad]
        for name, value in losses.items():
            if value.requires_grad:
                gradients = torch.autograd.grad(value, read, retain_graph=True, allow_unused=True)
                moved = any(bool(gradient.any()) for gradient in gradients if gradient is not None)
                self._tell_silent(f"{name}{suffix}", moved, value)

    def _tell_silent(self, name: str, moved: bool, value: torch.Tensor) -> None:
        self._silent[name] = 0 if moved else self._silent.get(name, 0) + 1
        if self._silent[name] == _LOOKS and name not in self._told:
            self._told.add(name)
            say(
                f"note: {name} has had no gradient for {_EVERY * _LOOKS} steps and teaches nothing; its value with "
                f"its weight is {value.item():.4g} ({self._where}): what it compares is equal, constant or saturated"
            )

    def _check(self, optimizer: torch.optim.Optimizer, trains_students: bool) -> None:
        """Leave an optimizer nothing to do if its gradients are not finite, or, for the students, the terms."""
        parameters = [p for p in _parameters(optimizer) if p.grad is not None]
        if not parameters:
            return
        norm = nn.utils.clip_grad_norm_(parameters, math.inf)  # for the norm: nothing is clipped
        values = [value.to(norm) for value in self._values.values()] if trains_students else []
        flags = torch.stack([norm.isfinite(), torch.stack([norm.new_zeros(()), *values]).isfinite().all()])
        if several_processes():
            flags = flags.to(torch.uint8)
            distributed.all_reduce(flags, op=distributed.ReduceOp.MIN)
        # The one time per step of an optimizer that the processor waits for a GPU.
        gradients_finite, terms_finite = map(bool, flags.tolist())
        if gradients_finite and terms_finite:
            self._bad[id(optimizer)] = 0
            if self._half:
                self._half.stepped()
            return
        for parameter in parameters:
            parameter.grad = None
        own = [name for name, network in self._networks.items() if _trains(optimizer, network)]
        # What goes through a bad student spoils the statistics of the others too.
        for name in self._networks if trains_students else own:
            now, before = _statistics(self._networks[name]), self._before.get(name, {})
            for key in now.keys() & before.keys():
                now[key].data.copy_(before[key])  # data: graphs of other networks may wait for their backward pass
        if self._half and terms_finite and self._half.overflow():
            return
        bad = self._bad[id(optimizer)] = self._bad.get(id(optimizer), 0) + 1
        named = [f"{name} is {value.item():.4g}" for name, value in self._values.items() if not value.isfinite()]
        of = " and ".join(f"net{name}" for name in own) or "a network"
        reason = " and ".join(named) or f"a gradient of {of} is not finite"
        if bad > self._most:
            advice = "look at the pictures and the learning rate, or give the term a smaller weight"
            if self._half and self._half.scales and terms_finite:
                advice = "even with a loss scale of 1: use bf16"
            raise TrainingError(
                f"{self._where}: {reason}, as in {bad - 1} steps before it: {advice}; the student is as it was before"
            )
        skipped = "step skipped" if trains_students else f"step of {of} skipped"
        say(f"{self._where}: {reason}; {skipped} ({bad} of at most {self._most} one after the other)")


def _statistics(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the running statistics of a network by name. Look them up each time: ``.cuda()`` makes new tensors."""
    return {name: buffer for name, buffer in network.named_buffers() if buffer.is_floating_point()}


def _trains(optimizer: torch.optim.Optimizer, network: nn.Module) -> bool:
    trained = {id(parameter) for parameter in _parameters(optimizer)}
    return any(id(parameter) in trained for parameter in network.parameters())


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
