"""Run a subprocess, pass its output to a file and a function, and terminate it with this process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LAST_LINES = 15


class ChildError(Exception):
    """A subprocess failed; the message holds the last lines of its output."""


def run_logged(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    on_line: Callable[[str], None] = lambda line: None,
) -> None:
    """Run a command in a folder; write its output to ``log`` and pass each line to ``on_line``.

    Raises:
        ChildError: its exit status is not 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C only reaches this process, which terminates the group
        )
        try:
            assert child.stdout is not None
            for line in child.stdout:
                file.write(line)
                file.flush()
                on_line(line)
            status = child.wait()
        finally:
            _terminate(child)
    if status != 0:
        last = log.read_text(encoding="utf-8").splitlines()[-_LAST_LINES:]
        raise ChildError("\n".join([f"exit status {status}; the last lines of {log}:", *last]))


def _terminate(child: subprocess.Popen[str]) -> None:
    """Terminate a running child and its descendants."""
    if child.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)  # the child is a group leader by start_new_session
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=3)
            return
