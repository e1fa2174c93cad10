"""A progress line: percentage, time left, phase."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass

_BAR = 24
_INTERVAL = 60  # seconds between two lines in a file, at most


@dataclass
class Phase:
    """A part of the work: its name and expected duration in seconds."""

    name: str
    seconds: float


class Progress:
    """Draws the line on stderr if it is a terminal; elsewhere (a file, a CI log) prints a plain line for
    each quarter of a phase, and every minute.

    The seconds of the phases, which are in order, may be updated at any time.
    """

    def __init__(self, phases: list[Phase]) -> None:
        self.phases = phases
        self._terminal = sys.stderr.isatty()
        self._current = -1
        self._begun = time.monotonic()
        self._printed, self._printed_at = 0.0, 0.0
        self._fraction = 0.0
        self._drawn = False

    def begin(self, name: str) -> None:
        """Begin a phase; all phases before it are complete."""
        self._current = next(i for i, phase in enumerate(self.phases) if phase.name == name)
        self._begun = time.monotonic()
        self._printed = 0.0
        self._draw(0.0)

    def update(self, done: float, text: str = "") -> None:
        """Report the completed fraction (0 to 1) of the current phase, and a text in place of its name."""
        self._draw(min(max(done, 0.0), 1.0), text)

    def clear(self) -> None:
        """Clear the line on a terminal, before other output."""
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._drawn = False

    def _draw(self, done: float, text: str = "") -> None:
        fraction, left = self._estimate(done)
        name = text or self.phases[self._current].name
        if self._terminal:
            full = round(fraction * _BAR)
            line = f"[{'#' * full}{'.' * (_BAR - full)}] {fraction:4.0%}  ETA {_clock(left)}  {name}"
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{line[:width]}\x1b[K", end="", file=sys.stderr, flush=True)
            self._drawn = True
        elif done == 0 or done - self._printed >= 0.25 or time.monotonic() - self._printed_at >= _INTERVAL:
            self._printed, self._printed_at = done, time.monotonic()
            print(f"{fraction:4.0%}  ETA {_clock(left)}  {name}", file=sys.stderr, flush=True)

    def _estimate(self, done: float) -> tuple[float, float]:
        """Return the completed fraction of the whole, and the seconds left."""
        phase = self.phases[self._current]
        elapsed = time.monotonic() - self._begun
        expected = max(phase.seconds, 1e-3)
        # The time left in a phase: a mean of plan and pace so far, weighted by the completed fraction.
        by_plan = expected * (1 - done)
        by_pace = elapsed * (1 - done) / done if done > 0 else by_plan
        later = sum(p.seconds for p in self.phases[self._current + 1 :])
        left = (1 - done) * by_plan + done * by_pace + later
        before = sum(p.seconds for p in self.phases[: self._current])
        total = before + expected + later
        self._fraction = max(self._fraction, min((before + expected * done) / total, 1.0))  # never decreases
        return self._fraction, left


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
