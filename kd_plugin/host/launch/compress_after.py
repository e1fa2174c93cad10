"""After a script that ended well, let ``kd compress`` take the place of its process, if ``--compress`` was given."""

from __future__ import annotations

import atexit
import gc
import os
import shlex
import signal
import subprocess
import sys
from types import TracebackType

import torch

from ...processes import say
from ..model.compress_later import take_command

_OF_TORCHRUN = ("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


class CompressingAfter:
    """Context manager of a script: when it has ended well, the process becomes ``kd compress``.

    A process of its own has the memory of the GPU for itself, receives signals directly, and gives the same students
    as the printed command.
    """

    def __enter__(self) -> None:
        """Begin the script."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the script; the process is replaced if it ended well."""
        if error is not None and not (isinstance(error, SystemExit) and error.code in (None, 0)):
            return
        if command := take_command():
            _become(command)


def _become(arguments: list[str]) -> None:
    """Replace this process by ``kd`` with other arguments; under torchrun, run it and exit with its status."""
    say(shlex.join(["kd", *arguments]))
    distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    command = [sys.executable, "-m", "kd_plugin", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in _OF_TORCHRUN}
    if distributed:
        # The other processes may still be closing their connections to this one, and would wait for ever.
        raise SystemExit(_run(command, environment))
    atexit._run_exitfuncs()  # the new program does not return to this one
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command; return its exit status, 128 + N after a signal N.

    Torchrun sends its signals to the group of this process, which the command belongs to.
    """
    gc.collect()
    torch.cuda.empty_cache()
    sys.stdout.flush()
    sys.stderr.flush()
    process = subprocess.Popen(command, env=environment)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)
    status = process.wait()
    return status if status >= 0 else 128 - status
