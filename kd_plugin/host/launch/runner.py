"""Run ``python script.py ...``, ``python -m module ...`` or a console script with the plugin's options.

``__main__``, ``sys.argv``, ``sys.path[0]``, the exit status and tracebacks are the same as without the plugin.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import runpy
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from ...errors import HostError, OptionError
from ...processes import say
from ..options.separate import FILE_OPTION, as_assignment, options_in, separate_options, use_file
from ..repository.folder import find_host, finds_models
from ..repository.gathering import gathers_options
from ..repository.installed import console_script, host_of_module, host_of_script, nearest_script
from .compress_after import CompressingAfter
from .import_hooks import install

_PACKAGE = str(Path(__file__).resolve().parents[2]) + os.sep


def run_script(arguments: Sequence[str]) -> int:
    """Run a host's script with the plugin.

    Args:
        arguments: path of the script, ``-m`` and the name of a module, or the name of an installed console script,
            followed by its arguments; before it, optionally ``--kd_options`` and a file.

    Returns:
        The exit status 0. Exceptions of the script propagate, and are reported as under ``python``.

    Raises:
        HostError: the script does not exist, or is not of a host.
        OptionError: the options of the plugin that are given apart from the command line are not valid.
    """
    arguments = _take_file(arguments)
    separate_options()
    if arguments[0] == "-m":
        _run_module(arguments[1:])
        return 0
    script = Path(arguments[0])
    prepare = _prepare_script if script.is_file() else _prepare_console_script
    source, file = prepare(arguments)
    install()
    sys.excepthook = _report
    with CompressingAfter():
        exec(compile(source, file, "exec"), vars(sys.modules["__main__"]))  # noqa: S102 - purpose of the runner
    return 0


def _take_file(arguments: Sequence[str]) -> Sequence[str]:
    """Read the file of options given before the script; return the remaining arguments."""
    name, equals, path = arguments[0].partition("=")
    if name != FILE_OPTION:
        use_file(None)
        return arguments
    if not equals:
        path = next(iter(arguments[1:]), "")
    rest = arguments[1:] if equals else arguments[2:]
    if not path or not rest:
        missing = "a file with options of the plugin" if not path else "a script"
        raise OptionError(f"{FILE_OPTION} needs {missing}: kd run {FILE_OPTION} {path or 'FILE'} train.py ...")
    use_file(path)
    return rest


def _prepare_script(arguments: Sequence[str]) -> tuple[bytes, str]:
    """Set up the interpreter as for ``python script.py``; return the script's source and path."""
    script = Path(arguments[0])
    folder = find_host(script.parent)
    if folder is None:
        raise HostError(
            f"there is no models/ package next to {script}: is {script.resolve().parent} a host repository?"
        )
    _note_refused(folder, arguments[1:])
    sys.argv = list(arguments)
    sys.path[0] = str(script.resolve().parent)
    file = os.path.abspath(script)
    _new_main(__file__=file, __loader__=SourceFileLoader("__main__", file))
    return script.read_bytes(), file


def _prepare_console_script(arguments: Sequence[str]) -> tuple[bytes, str]:
    """Set up the interpreter as for a console script; return a source that calls it, and a name for tracebacks."""
    name = arguments[0]
    entry = console_script(name) if Path(name).name == name else None
    if entry is None:
        nearest = "" if name.endswith(".py") or Path(name).name != name else nearest_script(name)
        hint = f"did you mean {nearest}?" if nearest else "run this in the folder of the host repository"
        what = f"no script '{name}' in {Path.cwd()}"
        raise HostError(f"{what}{'' if name.endswith('.py') else ', and no console script of that name'}: {hint}")
    sys.path[0] = sysconfig.get_path("scripts")
    host = host_of_script(entry)
    _note_refused(host.folder, arguments[1:])
    sys.argv = list(arguments)
    file = shutil.which(name)
    _new_main(__kd_host__=str(host.folder), **({"__file__": file} if file else {}))
    top = entry.attr.partition(".")[0]
    return f"import sys; from {entry.module} import {top}; sys.exit({entry.attr}())".encode(), f"<{name}>"


def _new_main(**attributes: Any) -> None:
    main = ModuleType("__main__")
    vars(main).update(__builtins__=builtins, __package__=None, __cached__=None, __annotations__={}, **attributes)
    sys.modules["__main__"] = main


def _note_refused(folder: Path, arguments: Sequence[str]) -> None:
    """Print how to give the plugin's options on a command line whose host refuses unknown ones."""
    given = options_in(arguments)
    if given and not gathers_options(folder):
        say(f"note: this host's command line may refuse options of the plugin: set {as_assignment(given)} instead")


def _run_module(arguments: Sequence[str]) -> None:
    name = next(iter(arguments), "")
    sys.path[0] = str(Path.cwd())
    if name.endswith(".py"):  # find_spec would run the file
        raise HostError(f"kd run -m {name}: give a module such as package.train, or run the file with kd run {name}")
    folder = find_host(Path.cwd())
    if folder is None or not finds_models(folder):
        installed = host_of_module(name) if name else None
        folder = installed.folder if installed else folder
    if folder is None:
        where = f", nor in an installed package {name.partition('.')[0]}" if name else ""
        raise HostError(f"there is no models/ package in {Path.cwd()}{where}: is it a host repository?")
    _note_refused(folder, arguments[1:])
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
