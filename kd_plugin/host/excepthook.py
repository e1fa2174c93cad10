"""One line for the plugin's own errors, also where a host's script runs without the runner."""

from __future__ import annotations

import sys
from types import TracebackType

from ..errors import KDError

__all__ = ["report_in_one_line"]


def report_in_one_line() -> None:
    """Make an uncaught :class:`KDError` end the program with its message and exit status 2."""
    if getattr(sys.excepthook, "_of_kd_plugin", False):
        return
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, KDError):
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2)
        previous(kind, error, traceback)

    hook._of_kd_plugin = True  # type: ignore[attr-defined]
    sys.excepthook = hook
