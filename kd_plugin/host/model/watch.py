"""Losses of a training that are measured to be displayed, at intervals: shares of the gradient, errors of bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ...distillation.shares import GradientShares
from ...metrics.frequency import band_sums

_BANDS = ("LL", "LH", "HL", "HH")


class Watch:
    """Measures generators in the first step and every ``every`` steps, and stores the results as losses of the model.

    The losses of a generator with the suffix ``_A`` are ``share_host_A`` and ``share_TERM_A``, the shares of its
    gradient in [0, 1], and ``band_LL_A`` to ``band_HH_A``, the errors of its images per wavelet band, compared with
    the teacher's. A loss keeps its last value until the next measurement, and is NaN where there is none. The
    training is unchanged.

    Args:
        model: the host's model, which displays the losses in its ``loss_names``.
        every: interval in steps; 0: measure nothing and declare no losses.
    """

    def __init__(self, model: Any, every: int) -> None:
        self._model, self._every = model, every
        self._step = 0
        self.measures = False  # whether the current step is measured
        self._names: dict[str, list[str]] = {}  # of the shares, "" for the host's losses, by suffix
        self._shares: dict[str, GradientShares] = {}  # of the current step, by suffix

    def declare(self, suffix: str, terms: Sequence[str]) -> None:
        """Add the losses of a generator to those that the host displays: all of them, from the first display on."""
        if not self._every:
            return
        self._names[suffix] = ["", *terms]
        names = [
            *(f"share_{name or 'host'}{suffix}" for name in self._names[suffix]),
            *(f"band_{b}{suffix}" for b in _BANDS),
        ]
        for name in names:
            setattr(self._model, f"loss_{name}", math.nan)
        self._model.loss_names = [*self._model.loss_names, *names]

    def step(self) -> None:
        """Register a training step before its forward pass."""
        self.finish()
        self._step += 1
        self.measures = self._every > 0 and (self._step == 1 or self._step % self._every == 0)

    def look(self, suffix: str, shares: GradientShares, images: torch.Tensor, teacher_images: torch.Tensor) -> None:
        """Measure a generator in a step in which ``measures`` is true, before its backward passes.

        Args:
            suffix: of the generator's losses.
            shares: a measurement that has begun.
            images, teacher_images: (B, C, H, W) in [-1, 1]; other values are clamped.
        """
        self._shares[suffix] = shares
        ours, theirs = ((found.detach().float().clamp(-1, 1) + 1) / 2 for found in (images, teacher_images))
        if ours.isfinite().all() and theirs.isfinite().all():
            errors = band_sums(ours, theirs, levels=1).errors()
        else:
            errors = {f"{band}1": math.nan for band in _BANDS}
        for band, error in errors.items():
            # An infinite error, of a band that the teacher lacks, is not valid in the JSON that visdom reads.
            setattr(self._model, f"loss_band_{band[:2]}{suffix}", error if math.isfinite(error) else math.nan)

    def finish(self) -> None:
        """End the measurement of a step, after its backward passes."""
        for suffix, measured in self._shares.items():
            measured.end()
            for name in self._names[suffix]:
                setattr(self._model, f"loss_share_{name or 'host'}{suffix}", measured.last.get(name, math.nan))
        self._shares.clear()
