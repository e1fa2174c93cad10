"""Skip optimizer steps with non-finite values, and warn about terms without a gradient."""

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
from ..processes import is_distributed, say

_EVERY = 50  # steps between two checks of the terms' gradients, each a backward pass of the terms
_CHECKS = 4  # consecutive checks without a gradient before the warning


class TrainingError(KDError):
    """The training cannot continue."""


class Guard:
    """Skips optimizer steps with non-finite gradients, and aborts after too many consecutive skipped steps.

    A skipped step changes neither weights nor optimizer: its parameters have no gradient. The running statistics of
    norms, which the forward pass updates, are restored. On several processes all skip the same steps.

    Args:
        optimizers: the optimizers of the model; all are guarded.
        students: the distilled generators.
        networks: all networks of the model by name, whose running statistics are restored.
        most: maximum number of consecutive skipped steps.
        half: the mixed precision of the networks. An overflow of its loss scale is not counted as a failure.
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
        self._warned: set[str] = set()
        self._bad: dict[int, int] = {}  # by optimizer: its consecutive skipped steps
        self._values: dict[str, torch.Tensor] = {}
        self._where = ""
        self._silent: dict[str, int] = {}
        self._steps = 0
        distilled = list(students)
        reference = weakref.ref(self)  # an optimizer must not keep a model alive

        def guarded(optimizer: torch.optim.Optimizer) -> Callable[..., Any]:
            trains_students = any(_trains(optimizer, student) for student in distilled)
            original = optimizer.step

            @functools.wraps(original)
            def step(optimizer: torch.optim.Optimizer, *arguments: Any, **named: Any) -> Any:
                guard = reference()
                if guard is not None:
                    guard._check(optimizer, trains_students)
                return original(*arguments, **named)

            return MethodType(step, optimizer)  # schedulers created later expect a method

        for optimizer in optimizers:
            # Not a hook of the optimizer: PyTorch 2.2 removes those once torch.compile is used.
            optimizer.step = guarded(optimizer)  # type: ignore[method-assign]

    def begin(self, epoch: int, iteration: int) -> None:
        """Begin a step of the training."""
        self._values = {}
        self._where = f"epoch {epoch}, iteration {iteration}"
        self._steps += 1
        self._before = {
            name: {key: buffer.clone() for key, buffer in _statistics(network).items()}
            for name, network in self._networks.items()
        }
        if self._half:
            self._half.update()

    def observe(self, suffix: str, losses: Mapping[str, torch.Tensor], sources: Iterable[torch.Tensor]) -> None:
        """Record the weighted terms of a generator, and check at intervals their gradients at their ``sources``.

        The ``suffix`` is that of the generator's losses: "", "_A".
        """
        self._values.update({f"{name}{suffix}": value.detach() for name, value in losses.items()})
        if self._steps % _EVERY:
            return
        read = [tensor for tensor in sources if tensor.requires_grad]
        for name, value in losses.items():
            if value.requires_grad:
                gradients = torch.autograd.grad(value, read, retain_graph=True, allow_unused=True)
                nonzero = any(bool(gradient.any()) for gradient in gradients if gradient is not None)
                self._warn_if_silent(f"{name}{suffix}", nonzero, value)

    def _warn_if_silent(self, name: str, nonzero: bool, value: torch.Tensor) -> None:
        self._silent[name] = 0 if nonzero else self._silent.get(name, 0) + 1
        if self._silent[name] == _CHECKS and name not in self._warned:
            self._warned.add(name)
            say(
                f"note: {name} has had no gradient for {_EVERY * _CHECKS} steps and no effect; its weighted value "
                f"is {value.item():.4g} ({self._where}): its inputs are equal, constant or saturated"
            )

    def _check(self, optimizer: torch.optim.Optimizer, trains_students: bool) -> None:
        """Remove the gradients of an optimizer if they, or for the students the terms, are not finite."""
        parameters = [p for p in _parameters(optimizer) if p.grad is not None]
        if not parameters:
            return
        norm = nn.utils.clip_grad_norm_(parameters, math.inf)  # computes the norm without clipping
        values = [value.to(norm) for value in self._values.values()] if trains_students else []
        flags = torch.stack([norm.isfinite(), torch.stack([norm.new_zeros(()), *values]).isfinite().all()])
        if is_distributed():
            flags = flags.to(torch.uint8)
            distributed.all_reduce(flags, op=distributed.ReduceOp.MIN)
        # The only synchronisation with the GPU per optimizer step.
        gradients_finite, terms_finite = map(bool, flags.tolist())
        if gradients_finite and terms_finite:
            self._bad[id(optimizer)] = 0
            if self._half:
                self._half.stepped()
            return
        for parameter in parameters:
            parameter.grad = None
        trained = [name for name, network in self._networks.items() if _trains(optimizer, network)]
        # The output of a bad student also affects the statistics of other networks.
        for name in self._networks if trains_students else trained:
            now, before = _statistics(self._networks[name]), self._before.get(name, {})
            for key in now.keys() & before.keys():
                now[key].data.copy_(before[key])  # .data: graphs of other networks may still need a backward pass
        if self._half and terms_finite and self._half.overflow():
            return
        bad = self._bad[id(optimizer)] = self._bad.get(id(optimizer), 0) + 1
        named = [f"{name} is {value.item():.4g}" for name, value in self._values.items() if not value.isfinite()]
        of = " and ".join(f"net{name}" for name in trained) or "a network"
        reason = " and ".join(named) or f"a gradient of {of} is not finite"
        if bad > self._most:
            advice = "check the images and the learning rate, or lower the weight of the term"
            if self._half and self._half.scales and terms_finite:
                advice = "even with a loss scale of 1: use bf16"
            raise TrainingError(
                f"{self._where}: {reason}, as in the {bad - 1} steps before: {advice}; the student is unchanged"
            )
        skipped = "step skipped" if trains_students else f"step of {of} skipped"
        say(f"{self._where}: {reason}; {skipped} ({bad} of at most {self._most} consecutive steps)")


def _statistics(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the running statistics of a network by name. Do not keep them: ``.cuda()`` creates new tensors."""
    return {name: buffer for name, buffer in network.named_buffers() if buffer.is_floating_point()}


def _trains(optimizer: torch.optim.Optimizer, network: nn.Module) -> bool:
    trained = {id(parameter) for parameter in _parameters(optimizer)}
    return any(id(parameter) in trained for parameter in network.parameters())


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
