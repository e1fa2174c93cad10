"""Stop a training between two steps, after saving, on Ctrl-C or a cluster's SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from types import FrameType
from typing import Any

from ..processes import is_distributed


class Interruption:
    """Records a signal, so that the training can save and stop after the step; a second signal stops at once.

    Inactive on several processes, which would stop at different steps and wait for each other, unless their loop
    agrees on a step.
    """

    def __init__(self) -> None:
        self.asked: int | None = None  # the number of the received signal
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def watch(self, owner: object, distributed: bool = False) -> None:
        """Install the handlers while ``owner`` exists, in the main thread, unless the signals have other handlers.

        Args:
            owner: such as the model that is trained.
            distributed: whether to do so on several processes.
        """
        if (is_distributed() and not distributed) or threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            owner_of = getattr(handler, "__self__", None)
            if isinstance(owner_of, Interruption):  # of an earlier model in this process
                handler = owner_of._before.pop(number, signal.SIG_DFL)
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = handler
                signal.signal(number, self._note)
        weakref.finalize(owner, self.end).atexit = False

    def end(self) -> None:
        """Restore the previous handlers."""
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may set handlers
        for number, handler in self._before.items():
            if getattr(signal.getsignal(number), "__self__", None) is self:
                signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A data loading worker inherits this handler. Ctrl-C also reaches workers; SIGTERM is meant for one.
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self.asked = number
        self.end()
        # Not print, which is not reentrant.
        os.write(1, b"\n[distill] stopping after this step, to save; interrupt again to stop at once\n")
