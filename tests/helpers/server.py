"""A server that has imported PyTorch and the plugin, and forks a process for each command.

Most of the three seconds of a host's command are ``import torch``. :mod:`helpers.commands` starts this server once
per pytest process. A request is a command line of ``python`` with its folder and environment, and four file
descriptors: standard input, output and error, and one for the responses: the child's process id and, after it exits,
its exit status.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
import types
from importlib.machinery import BuiltinImporter, SourceFileLoader
from pathlib import Path

# Import what trainings and tests of a host import. No operation of PyTorch runs before the fork, as its threads
# would be missing in the child.
PACKAGES = ("numpy", "PIL.Image", "torch", "torch._dynamo", "torch.utils.data", "dominate", "kd_plugin")


def prepare() -> None:
    """Import all that is the same for every command."""
    for name in PACKAGES:
        importlib.import_module(name)
    import launch

    import kd_plugin

    launch.import_torchvision()
    for module in pkgutil.walk_packages(kd_plugin.__path__, "kd_plugin."):
        if module.name != "kd_plugin.__main__":
            importlib.import_module(module.name)
    gc.freeze()


def serve(requests: socket.socket) -> dict[str, object]:
    """Fork a child for each request, until the other end is closed; return the request in the child."""
    selector = selectors.DefaultSelector()
    selector.register(requests, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                pid, answers = key.data
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                selector.unregister(key.fileobj)
                os.close(key.fd)
                with contextlib.suppress(BrokenPipeError):  # a test that does not wait
                    answers.send(b"%d" % status)
                answers.close()
                continue
            message, descriptors, _, _ = socket.recv_fds(requests, 1 << 20, 4)
            if not message:
                sys.exit()
            pid = os.fork()
            if not pid:
                selector.close()
                requests.close()
                for number, descriptor in enumerate(descriptors[:3]):
                    os.dup2(descriptor, number)
                for descriptor in descriptors:
                    os.close(descriptor)
                return json.loads(message)
            answers = socket.socket(fileno=descriptors.pop())
            for descriptor in descriptors:
                os.close(descriptor)
            answers.send(b"%d" % pid)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, answers))


def become(cwd: str, environment: dict[str, str]) -> None:
    """Make this process one that was started in a folder and an environment."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if environment.get("PYTHONUNBUFFERED"):
        assert isinstance(sys.stdout, io.TextIOWrapper)
        sys.stdout.reconfigure(line_buffering=True, write_through=True)


def run(how: str, *arguments: str) -> None:
    """Do what ``python`` does with its arguments: a script's path, ``-m`` and a module's name, or ``-c`` and code."""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __annotations__={}, __loader__=BuiltinImporter)
    if how == "-m":
        sys.argv[:] = ["-m", *arguments[1:]]
        sys.path[0] = os.getcwd()
        runpy._run_module_as_main(arguments[0])  # type: ignore[attr-defined]
        return
    sys.argv[:] = [how, *arguments] if how != "-c" else [how, *arguments[1:]]
    if how == "-c":
        sys.path[0], file, code = "", "<string>", arguments[0].encode()
    else:
        file = os.path.abspath(how)
        sys.path[0], code = os.path.dirname(file), Path(file).read_bytes()
        main.__dict__.update(__file__=file, __loader__=SourceFileLoader("__main__", file), __cached__=None)
    exec(compile(code, file, "exec"), main.__dict__)  # noqa: S102 - as python does


def status(error: BaseException) -> int:
    """Report an exception that nobody caught as the interpreter does; return the exit status, or minus the signal."""
    if isinstance(error, SystemExit):
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else error.code is not None
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    sys.last_exc = error  # type: ignore[attr-defined]
    try:
        sys.excepthook(type(error), error.with_traceback(trace), trace)
    except SystemExit as ended:
        return status(ended)
    return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def end(status: int) -> None:
    """End as the interpreter does, but leave PyTorch's modules to the system: to take them apart takes 0.3 s."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    prepare()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    become(request["cwd"], request["environment"])
    try:
        run(*request["arguments"])
        ended = 0
    except BaseException as error:
        ended = status(error)
    end(ended)
