"""Summary at the end of a training: sizes, shares of the terms, files, and the commands that test the student.

Hosts have no hook at the end of a training. The summary is therefore printed when the program exits, if the last
epoch was reached and no error occurred.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...distillation.shares import GradientShares
from ...metrics.cost import count_parameters
from ...processes import say
from ...students import RECORD_NAME
from ..repository.folder import find_host
from .distilled_pair import DistilledPair
from .how_to_test import HowToTest

_EVERY = 50  # interval, in steps of the last epoch, at which gradients are measured


class Summary:
    """Measures the terms in the last epoch of a training and prints a summary.

    ``nets`` names all trained generators, also those without a teacher.
    """

    def __init__(
        self, opt: Any, folder: Path, distilled: Sequence[DistilledPair], nets: Sequence[str], commands: HowToTest
    ) -> None:
        self._opt, self._folder, self._nets, self._commands = opt, folder, nets, commands
        self._sizes = {
            d.pair.net: (count_parameters(d.distiller.student), count_parameters(d.teacher)) for d in distilled
        }
        self._shares = {net: GradientShares() for net in self._sizes}
        self._balances = {d.pair.net: d.distiller.balance for d in distilled if d.distiller.balance}
        self._epoch = 0
        self._saved_epoch = 0
        self._unsaved = 0  # steps
        self._prints = False
        self._looks = False

    def print_at_exit(self) -> None:
        """Print the summary when the program exits, in place of any registered before."""
        global _pending
        if _pending is None:
            atexit.register(_print_pending)
        _pending = self
        self._prints = True

    def drop(self) -> None:
        """Discard the summary, as the training was stopped."""
        self._epoch = 0

    def step(self, epoch: int, iteration: int) -> None:
        """Register a training step before its forward pass; ``iteration`` counts from 1 in each epoch."""
        self.end_step()
        self._epoch = epoch
        self._unsaved += 1
        early = iteration < _EVERY and not iteration & (iteration - 1)  # a power of two
        self._looks = self._prints and epoch >= self._last_epoch and (early or not iteration % _EVERY)

    def end_step(self) -> None:
        """End the measurement of a step, if any, after its backward passes."""
        for shares in self._shares.values():
            shares.end()

    def resume(self, epoch: int) -> None:
        """Register that a continued run has reached the point of its last save."""
        self._epoch = self._saved_epoch = epoch

    def saved(self) -> None:
        """Register that the networks were saved as ``latest``."""
        self._saved_epoch, self._unsaved = self._epoch, 0

    def look(
        self, net: str, student: nn.Module, losses: Mapping[str, torch.Tensor], scale: Callable[[], float] | None
    ) -> GradientShares | None:
        """Measure the terms of a student, between forward and backward pass, in the selected steps.

        Returns:
            The measurement that begins, or None in other steps.
        """
        if not self._looks:
            return None
        self._shares[net].begin(student, losses, scale)
        return self._shares[net]

    def lines(self) -> list[str]:
        """Return the summary; empty if the last epoch was not reached."""
        if self._epoch < max(1, self._last_epoch):
            return []
        lines = [f"training finished after epoch {self._epoch}"]
        for net, (small, large) in self._sizes.items():
            shares = self._shares[net]
            shares.end()
            lines.append(
                f"{net}: student {small / 1e6:.3f} M parameters, teacher {large / 1e6:.3f} M, "
                f"{large / small:.2f} times as many"
            )
            if shares.steps:
                parts = [_part(name, share, shares.values.get(name)) for name, share in shares.shares.items()]
                where = f"{_steps(shares.steps)} of epoch {self._epoch}"
                lines.append(f"{net}: shares of its gradient, mean over {where}: {', '.join(parts)}")
            if net in self._balances:
                lines.append(f"{net}: adjusted weights: {self._balances[net]}")
        if not self._saved_epoch:
            return [*lines, "note: nothing was saved as latest: use --save_epoch_freq 1 to save every epoch"]
        if self._unsaved:
            lines.append(f"note: latest is from epoch {self._saved_epoch}, {_steps(self._unsaved)} before the end")
        files = [f"{epoch}_net_{net}.pth" for epoch in ("latest", "best", "ema") for net in self._nets]
        files = [name for name in files if name.startswith("latest") or (self._folder / name).is_file()] + [
            RECORD_NAME
        ]
        return [*lines, f"files: {', '.join(files)} in {self._folder}", *self._commands.lines()]

    @property
    def _last_epoch(self) -> int:
        return int(getattr(self._opt, "n_epochs", 0)) + int(getattr(self._opt, "n_epochs_decay", 0))


def is_script() -> bool:
    """Return whether the program is a script of a host, not a test or notebook."""
    main = sys.modules["__main__"]
    if hasattr(main, "__kd_host__"):  # a console script, run by the plugin
        return True
    file = getattr(main, "__file__", None)
    return file is not None and find_host(Path(file).resolve().parent) is not None


_pending: Summary | None = None


def _print_pending() -> None:
    failed = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if _pending is not None and failed is None:
        for line in _pending.lines():
            say(line)


def _steps(number: int) -> str:
    return "1 step" if number == 1 else f"{number} steps"


def _part(name: str, share: float, value: float | None) -> str:
    text = f"{name or 'host'} {share:.0%}"
    return text if value is None else f"{text} (value {value:.4g})"
