r"""Weights of terms that keep their shares of a student's gradient.

The gradient of the hosts' losses depends on the model and the data, so a fixed weight of a term means another balance
in each: with its default weight, ``wavelet`` had 58 % of the gradient in the demo, 81 % in a pix2pix of another task,
and 91 % in a CycleGAN. Here the share is fixed, and the weight follows. With :math:`n_i` the norm of the gradient of
term *i* with its present factor :math:`f_i`, :math:`t_i` its share, and *h* the sum of the norms of the host's losses
and of the terms without a share,

.. math:: f_i \leftarrow f_i \, \frac{t_i}{n_i} \, \frac{h}{1 - \sum_j t_j}

gives every term its share if the gradients stay as they are. The shares are those of norms, as in the summary of a
training: gradients add up as vectors. Balancing losses by the norms of their gradients is that of GradNorm (Chen et
al., ICML 2018), here with fixed shares and in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import ArgumentError
from ..processes import is_distributed

EVERY = 50  # steps from one measurement to the next
_STEP = 0.25  # of the way to the new factor, on a logarithmic scale, as the gradients of single batches vary


class Balance(nn.Module):
    """The factors of the weights of a student's terms.

    Args:
        targets: share of each balanced term in the student's gradient, above 0 and together below 1.
        every: number of steps from one measurement to the next.

    Raises:
        ArgumentError: If a share or ``every`` is out of range.
    """

    def __init__(self, targets: Mapping[str, float], every: int = EVERY) -> None:
        super().__init__()
        if not all(0 < share < 1 for share in targets.values()) or sum(targets.values()) >= 1:
            raise ArgumentError(f"shares of {_text(targets)}: give shares above 0%, together below 100%")
        if every < 1:
            raise ArgumentError(f"a measurement every {every} steps: give 1 or more")
        self._targets, self._every = dict(targets), every
        self._factors = dict.fromkeys(targets, 1.0)
        self._measured = False

    def factor(self, name: str) -> float:
        """Return the factor of the weight of a term; 1 if it has no share."""
        return self._factors.get(name, 1.0)

    def is_due(self, iteration: int) -> bool:
        """Return whether to measure in a step; ``iteration`` counts from 1 in each epoch."""
        return iteration == 1 or iteration % self._every == 0

    def update(self, shares: Mapping[str, float]) -> None:
        """Adjust the factors after a measured step.

        Args:
            shares: of the gradient of this step, by term, and "" for the host's losses, as measured by
                :class:`~kd_plugin.distillation.shares.GradientShares`; empty if it could not be measured. On several
                processes, which must all call this, the mean is taken.
        """
        rest = sum(share for name, share in shares.items() if name not in self._targets)
        found = [rest, *(shares.get(name, 0.0) for name in self._targets)]
        if is_distributed():
            found = _mean_over_processes(found, counts=bool(shares))
        total = found[0] / (1 - sum(self._targets.values()))
        if not total > 0:
            return  # not measured, or nothing to balance against
        for (name, target), share in zip(self._targets.items(), found[1:], strict=True):
            if share > 0:
                aim = target * total / share
                self._factors[name] *= aim**_STEP if self._measured else aim
        self._measured = True

    def get_extra_state(self) -> dict[str, Any]:
        """Return the factors; part of ``state_dict()``."""
        return {"factors": dict(self._factors), "measured": self._measured}

    def set_extra_state(self, state: Any) -> None:
        """Restore the factors of terms that have a share; part of ``load_state_dict()``."""
        saved = {name: float(factor) for name, factor in state["factors"].items() if name in self._factors}
        self._factors |= {name: factor for name, factor in saved.items() if math.isfinite(factor) and factor > 0}
        self._measured = bool(state["measured"])

    def __str__(self) -> str:
        """Return a description of the shares and factors."""
        return ", ".join(
            f"{name} for {share:.3g} by {self.factor(name):.3g} times its weight"
            for name, share in self._targets.items()
        )


def parse_shares(text: str) -> dict[str, float]:
    """Parse shares of terms, such as ``wavelet=20%,srp=10%``, as fractions by term.

    >>> parse_shares("wavelet=20%, srp=0.1")
    {'wavelet': 0.2, 'srp': 0.1}

    Raises:
        ArgumentError: If an entry is not of this form, or names a term twice.
    """
    shares: dict[str, float] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = (part.strip() for part in entry.partition("="))
        try:
            share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
        except ValueError:
            raise ArgumentError(f"'{entry}' is no share: give TERM=SHARE, such as wavelet=20%") from None
        if name in shares:
            raise ArgumentError(f"{name} has two shares: give one")
        shares[name] = share
    return shares


def _text(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.6g}" for name, share in shares.items())


def _mean_over_processes(values: list[float], counts: bool) -> list[float]:
    """Return the mean over the processes whose values count; zeros if none do."""
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    sums = torch.tensor([float(counts), *(value * counts for value in values)], device=device)
    torch.distributed.all_reduce(sums)
    count, *totals = sums.tolist()
    return [total / max(count, 1) for total in totals]
