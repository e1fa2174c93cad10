"""Run ``python script.py ...`` or ``python -m module ...`` with the plugin's options.

``__main__``, ``sys.argv``, ``sys.path[0]``, the exit status and tracebacks are the same as under plain ``python``.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType

from ...errors import HostError
from ..repository.folder import find_host
from .compress_after import CompressingAfter
from .import_hooks import install

_PACKAGE = str(Path(__file__).resolve().parents[2]) + os.sep


def run_script(arguments: Sequence[str]) -> int:
    """Run a host's script with the plugin.

    Args:
        arguments: path of the script, or ``-m`` and the name of a module, followed by its arguments.

    Returns:
        The exit status 0. Exceptions of the script propagate, and are reported as under ``python``.

    Raises:
        HostError: the script does not exist, or its folder is not a host.
    """
    if arguments[0] == "-m":
        _run_module(arguments[1:])
        return 0
    script = Path(arguments[0])
    if not script.is_file():
        raise HostError(f"no script '{script}' in {Path.cwd()}: run this in the folder of the host repository")
    if find_host(script.parent) is None:
        raise HostError(
            f"there is no models/ package next to {script}: is {script.resolve().parent} a host repository?"
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
    with CompressingAfter():
        exec(compile(script.read_bytes(), file, "exec"), vars(main))  # noqa: S102 - purpose of the runner
    return 0


def _run_module(arguments: Sequence[str]) -> None:
    name = next(iter(arguments), "")
    sys.path[0] = str(Path.cwd())
    if find_host(Path.cwd()) is None:
        raise HostError(f"there is no models/ package in {Path.cwd()}: is it a host repository?")
    if name.endswith(".py"):  # find_spec would run the file
        raise HostError(f"kd run -m {name}: give a module such as package.train, or run the file with kd run {name}")
    sys.argv = list(arguments)
    install()  # before find_spec, which imports the parent packages
    sys.excepthook = _report
    try:
        found = importlib.util.find_spec(name) if name else None
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):  # an import of its package failed
            raise
        found = None
    if found is None:
        raise HostError(f"kd run -m {name}: no such module in {Path.cwd()}; give a name such as package.train")
    with CompressingAfter():
        runpy.run_module(name, run_name="__main__", alter_sys=True)


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an uncaught exception as plain Python does, without the frames of the plugin."""
    frames = _frames(traceback)
    ours = [i for i, frame in enumerate(frames) if frame.tb_frame.f_code is run_script.__code__]
    inside = [f for f in frames[ours[-1] + 1 :] if not _in_runpy(f)] if ours else frames
    if not inside or not _in_package(inside[-1]):  # errors of the plugin keep all frames
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


def _in_runpy(frame: TracebackType) -> bool:
    return frame.tb_frame.f_globals.get("__name__") == "runpy"


def _linked(frames: list[TracebackType]) -> TracebackType | None:
    """Return a traceback without the frames of the plugin."""
    kept: TracebackType | None = None
    for frame in reversed(frames):
        if not _in_package(frame):
            kept = TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return kept
