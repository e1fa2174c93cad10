"""The interface of what follows a training, such as a progress line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..progress import Phase
from .loop import Step


class Watcher:
    """Follows a training, such as a progress line; the methods of this class do nothing."""

    def begin(self, folders: Mapping[str, Path], phases: Sequence[Phase]) -> None:
        """Called before the first step.

        Args:
            folders: of the students by name.
            phases: of the progress line: the training, the choice of the weights, and those of the report.
        """

    def step(self, step: Step) -> None:
        """Called after each step."""

    def logged(self) -> None:
        """Called when logs or sample images were written."""

    def choosing(self, done: float) -> None:
        """Called while the weights are chosen, with the completed fraction."""

    def end(self) -> None:
        """Called before the report, which has a progress line of its own, and at the end, also after an error."""
