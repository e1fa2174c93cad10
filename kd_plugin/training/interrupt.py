"""Ctrl-C, and a cluster's SIGTERM, end a training between two steps, with everything saved."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from types import FrameType
from typing import Any

from ..processes import several_processes

__all__ = ["Interruption"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Takes note of a signal, so that the training can stop where it can be saved; a second one stops at once.

    Not on several processes, which would stop at different steps and wait for each other.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def watch(self, owner: object) -> None:
        """Watch as long as there is an owner; not outside the main thread, nor if something else has the signals."""
        if several_processes() or threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            owner_of = getattr(handler, "__self__", None)
            if isinstance(owner_of, Interruption):  # of a model before this one, in the same process
                handler = owner_of._before.pop(number, signal.SIG_DFL)
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = handler
                signal.signal(number, self._note)
        weakref.finalize(owner, self.end).atexit = False

    @property
    def asked(self) -> int | None:
        """The number of the signal, once there was one."""
        return self._asked

    def end(self) -> None:
        """Give the signals back."""
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may
        for number, handler in self._before.items():
            if getattr(signal.getsignal(number), "__self__", None) is self:
                signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A worker that loads data has inherited this. A terminal interrupts it too; who terminates it means it.
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self._asked = number
        self.end()
        # Not print, which may have been interrupted itself.
        os.write(1, b"\n[distill] stopping after this step, to save; once more stops at once\n")
