"""The share of each term, and of the host's losses, in the gradient that trains a student."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

Gradients = Sequence[torch.Tensor | None]


class GradientShares:
    """Norms of the gradients at a student's parameters, averaged over the measured steps.

    Losses of features and of images are comparable at the parameters, which all of them reach. The gradient of each
    term takes one backward pass of the student. That of the host's losses is the gradient of its backward passes
    minus the terms', as autograd computes it, before clipping or accumulation. On several processes, it is that of
    this process, for its part of the batch.

    Only one object may measure the parameters of a student in a step: the passes of a second one would count as
    gradients of the first one's host.
    """

    def __init__(self) -> None:
        self.steps = 0  # number of measured steps
        self.values: dict[str, float] = {}  # mean of each weighted term over them
        self.last: dict[str, float] = {}  # as shares, of the last step; empty if it could not be measured
        self._norms: dict[str, float] = {}
        self._step: _Step | None = None

    def begin(
        self, student: nn.Module, losses: Mapping[str, torch.Tensor], scale: Callable[[], float] | None = None
    ) -> None:
        """Begin to measure a step of weighted terms, between its forward pass and its backward passes.

        ``scale`` returns the factor of the host's losses in the backward pass.
        """
        self.last = {}
        parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        try:
            terms = {name: _gradients(value, parameters) for name, value in losses.items()}
        except RuntimeError:  # a compiled or checkpointed student, whose graph can be used only once
            return
        self._step = _Step(parameters, terms, {name: value.item() for name, value in losses.items()}, scale)

    def end(self) -> None:
        """End the measured step, if any; a step with non-finite gradients does not count."""
        step, self._step = self._step, None
        norms = step.norms() if step else {}
        if step is None or not norms or not all(map(math.isfinite, norms.values())):
            return
        self.steps += 1
        self.last = _normalised(norms)
        for means, found in ((self._norms, norms), (self.values, step.values)):
            for name, number in found.items():
                mean = means.get(name, 0.0)
                means[name] = mean + (number - mean) / self.steps

    @property
    def shares(self) -> dict[str, float]:
        """The mean norms divided by their sum: "" for the host's losses, and each term by name."""
        return _normalised(self._norms)


@dataclass
class _Step:
    """The gradients of one step: those of the terms, and the total at the parameters."""

    parameters: Sequence[nn.Parameter]
    terms: Mapping[str, Gradients]
    values: dict[str, float]
    scale: Callable[[], float] | None
    scaled_by: float | None = None  # known in the backward pass

    def __post_init__(self) -> None:
        self._arrived: list[torch.Tensor | None] = [None] * len(self.parameters)
        self._hooks = [
            parameter.register_hook(functools.partial(self._arrive, place))  # type: ignore[no-untyped-call]
            for place, parameter in enumerate(self.parameters)
        ]

    def _arrive(self, place: int, gradient: torch.Tensor) -> None:
        if self.scaled_by is None:
            self.scaled_by = self.scale() if self.scale else 1.0
        before = self._arrived[place]
        self._arrived[place] = gradient.detach().clone() if before is None else before + gradient.detach()

    def norms(self) -> dict[str, float]:
        """Return the norms, "" for that of the host's losses; empty if there was no backward pass."""
        for hook in self._hooks:
            hook.remove()
        if self.scaled_by is None:
            return {}
        host = []
        for place, arrived in enumerate(self._arrived):
            if arrived is not None:
                parts = [gradients[place] for gradients in self.terms.values()]
                terms = [part for part in parts if part is not None]
                host.append(functools.reduce(torch.sub, terms, arrived / self.scaled_by))
        return {"": _norm(host), **{name: _norm(gradients) for name, gradients in self.terms.items()}}


def _normalised(norms: Mapping[str, float]) -> dict[str, float]:
    total = sum(norms.values())
    return {name: norm / total for name, norm in norms.items()} if total else {}


def _gradients(value: torch.Tensor, parameters: Sequence[nn.Parameter]) -> Gradients:
    if not value.requires_grad:  # a weight of zero
        return [None] * len(parameters)
    return torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)


def _norm(gradients: Gradients) -> float:
    norms = [gradient.norm() for gradient in gradients if gradient is not None]
    return torch.stack(norms).norm().item() if norms else 0.0
