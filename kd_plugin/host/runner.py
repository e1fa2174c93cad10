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

from ..errors import HostError, KDError
from .patches import install

__all__ = ["run_script"]

_PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep


def run_script(arguments: Sequence[str]) -> int:
    """Run a host's script under the plugin.

    Args:
        arguments: the script's path and its own arguments.

    Returns:
        The exit status: 0, or 1 after an exception, whose traceback has then been printed. ``SystemExit``,
        ``KeyboardInterrupt`` and the plugin's own errors pass through.

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
    try:
        exec(compile(script.read_bytes(), file, "exec"), vars(main))  # noqa: S102 - what a runner is for
    except KDError:
        raise
    except Exception as error:
        _print_traceback(error)
        return 1
    return 0


def _print_traceback(error: Exception) -> None:
    """Print a traceback without the runner's frames, unless the plugin itself failed."""
    frames = _frames(error.__traceback__)[1:]  # the first is run_script; there are no others if compiling failed
    if not frames or not frames[-1].tb_frame.f_code.co_filename.startswith(_PACKAGE):
        chained: BaseException | None = error
        while chained is not None:
            chained.__traceback__ = _without_package(chained.__traceback__)
            chained = chained.__cause__ or chained.__context__
    sys.excepthook(type(error), error, error.__traceback__)


def _frames(traceback: TracebackType | None) -> list[TracebackType]:
    frames = []
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    return frames


def _without_package(traceback: TracebackType | None) -> TracebackType | None:
    kept: TracebackType | None = None
    for frame in reversed(_frames(traceback)):
        if not frame.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            kept = TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return kept
