"""``kd run script.py ...`` is ``python script.py ...`` with the plugin's options.

The script sees the ``__main__``, ``sys.argv`` and ``sys.path[0]`` it would see under plain ``python``, and its
exit status and traceback are what they would be.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType

from ..errors import HostError
from .patches import install

__all__ = ["run_script"]

_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep


def run_script(arguments: Sequence[str]) -> int:
    """Run a host's script under the plugin.

    Args:
        arguments: the script's path and its own arguments.

    Returns:
        The exit status 0. Whatever the script raises passes through; uncaught, it is reported as under ``python``.

    Raises:
        HostError: there is no such script, or its folder is not a host.
    """
    script = Path(arguments[0])
    if not script.is_file():
        raise HostError(f"no script '{script}' in {Path.cwd()}: run this in the folder of the host repository")
    if not (script.parent / "models" / "__init__.py").is_file():
        raise HostError(
            f"there is no models/ package beside {script}: is {script.resolve().parent} a host repository?"
        )
    sys.argv = list(arguments)
    sys.path[0] = str(script.resolve().parent)
    main = ModuleType("__main__")
    file = os.path.abspath(script)
    loader = SourceFileLoader("__main__", file)
    vars(main).update(
        __file__=file, __loader__=loader, __builtins__=builtins, __package__=None, __cached__=None, __annotations__={}
    )
    sys.modules["__main__"] = main
    install()
    sys.excepthook = _report
    exec(compile(script.read_bytes(), file, "exec"), vars(main))  # noqa: S102 - what a runner is for
    return 0


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an uncaught exception as plain Python would: from the script's first frame on, without ours."""
    frames = _frames(traceback)
    ours = [i for i, frame in enumerate(frames) if frame.tb_frame.f_code is run_script.__code__]
    inside = frames[ours[-1] + 1 :] if ours else frames
    if not inside or not _in_package(inside[-1]):  # a fault of the plugin itself keeps all of them
        traceback = _linked(inside)
        chained = error.__cause__ or error.__context__
        while chained is not None:
            chained.__traceback__ = _linked(_frames(chained.__traceback__))
            chained = chained.__cause__ or chained.__context__
    sys.__excepthook__(kind, error.with_traceback(traceback), traceback)


def _frames(traceback: TracebackType | None) -> list[TracebackType]:
    frames = []
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    return frames


def _in_package(frame: TracebackType) -> bool:
    return frame.tb_frame.f_code.co_filename.startswith(_PACKAGE)


def _linked(frames: list[TracebackType]) -> TracebackType | None:
    """Return a traceback of the frames that are not the plugin's."""
    kept: TracebackType | None = None
    for frame in reversed(frames):
        if not _in_package(frame):
            kept = TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return kept
