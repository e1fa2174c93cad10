"""Report the plugin's errors in one line, also when a host's script runs without the runner."""

from __future__ import annotations

import argparse
import re
import sys
from types import TracebackType

from ...errors import KDError
from ...flags import clash
from ...processes import worded
from .distill import flags


def report_in_one_line() -> None:
    """Print only the message of an uncaught :class:`KDError` and exit with status 2.

    The same applies to an option of the host that is added later under the name of one of the plugin's.
    """
    if getattr(sys.excepthook, "_of_kd_plugin", False):
        return
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        line = str(error) if isinstance(error, KDError) else _clash_message(error)
        if line:
            print(f"error: {worded(line)}", file=sys.stderr)
            raise SystemExit(2)
        previous(kind, error, traceback)

    hook._of_kd_plugin = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def _clash_message(error: BaseException) -> str:
    """Return the message for an option of the host that clashes with one of the plugin's; "" for other errors."""
    if not isinstance(error, argparse.ArgumentError) or "conflicting option" not in str(error):
        return ""
    words = re.findall(r"--(\w+)", str(error))
    return next((str(clash(flag)) for flag in flags() if flag.name in words), "")
