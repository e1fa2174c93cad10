"""How many steps fit into a given time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

_FIRST, PACED = 10, 50  # steps: the pace is that of those between the two
_TRAINING = 0.92  # share of the time that is for steps; the rest is for validation


class Pace:
    """Measures the duration of steps, to fix their number for a training of a given duration.

    Args:
        seconds: of the training; None if its number of steps is given.
        state: of an interrupted training.
    """

    def __init__(self, seconds: float | None, state: Mapping[str, Any] | None) -> None:
        self._seconds = seconds
        self._earlier, self._steps, self._duration = 0.0, 0, 0.0  # the seconds of earlier calls; the measured steps
        if state:
            self._earlier, self._steps = float(state["elapsed"]), int(state["steps"])
            self._duration = float(state["duration"])
        self._begun = time.monotonic()
        self._warm = False

    @property
    def _elapsed(self) -> float:
        return self._earlier + time.monotonic() - self._begun

    def add(self, done: int, seconds: float) -> None:
        """Add the step with a number and duration."""
        if self._warm and done > _FIRST:  # the first step of a call takes longer
            self._steps, self._duration = self._steps + 1, self._duration + seconds
        self._warm = True

    def steps_left(self, done: int) -> int:
        """Return the number of steps that fit into the rest of the time, given that of the completed ones."""
        assert self._seconds is not None
        pace = self._duration / self._steps if self._steps else self._elapsed / done
        return max(int((self._seconds - self._elapsed) * _TRAINING / pace), 0)

    def state(self) -> dict[str, float]:
        """Return the state, from which the measurement continues."""
        return {"elapsed": self._elapsed, "steps": self._steps, "duration": self._duration}
