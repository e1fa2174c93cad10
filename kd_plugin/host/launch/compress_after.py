"""After a script that ended well, let ``kd compress`` take the place of its process, if ``--compress`` was given."""

from __future__ import annotations

import atexit
import os
import shlex
import sys
from types import TracebackType

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


def _become(command: list[str]) -> None:
    """Replace this process by ``kd`` with other arguments."""
    say(shlex.join(["kd", *command]))
    atexit._run_exitfuncs()  # the new program does not return to this one
    sys.stdout.flush()
    sys.stderr.flush()
    for name in _OF_TORCHRUN:
        os.environ.pop(name, None)
    os.execv(sys.executable, [sys.executable, "-m", "kd_plugin", *command])
