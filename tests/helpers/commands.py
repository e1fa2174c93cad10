"""Run ``python`` commands, forked from a process that has already imported PyTorch, or plain."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from kd_plugin.cli import main

REPOSITORY = Path(__file__).resolve().parent.parent.parent
LAUNCH = str(REPOSITORY / "tests" / "helpers" / "launch.py")  # runs a host's script
TIMEOUT = 300
allowed = True  # whether the current test may start commands, which is slow


def environment(form: str = "2025", **more: str) -> dict[str, str]:
    """The environment of a command in a host's form: the plugin is importable, and there is one thread."""
    assert allowed, "a test that starts commands is slow: mark it so, and make unit leaves it out"
    env = dict(os.environ, HOST_FORM=form or "2025", OMP_NUM_THREADS="1", PYTHONPATH=str(REPOSITORY),
               PYTHONHASHSEED="0", **more)  # fmt: skip
    env.pop("PYTHONSTARTUP", None)
    return env


class Server:
    """The client's end of :mod:`helpers.server`."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py")), str(other.fileno())],
            pass_fds=[other.fileno()], env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        other.close()
        atexit.register(self.close)

    def close(self) -> None:
        """Let it end, with what a measurement of coverage has to write then."""
        self._socket.close()
        self._process.wait()

    def send(self, request: dict[str, object], descriptors: list[int]) -> None:
        socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)


@functools.cache
def server() -> Server:
    """The one of this process."""
    return Server()


class Forked:
    """A command that runs in a child of the server, in a session of its own; a small ``subprocess.Popen``.

    Args:
        arguments: what follows ``python`` on its command line.
        cwd, env: its folder and environment.
        stdout: where its output goes; a temporary file by default.

    Attributes:
        pid: its process id, and its group's.
    """

    def __init__(self, arguments: list[str], cwd: Path, env: dict[str, str], stdout: IO[str] | None = None) -> None:
        self.arguments = arguments
        self._stdout, self._stderr = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, open(os.devnull) as stdin:
            descriptors = [file.fileno() for file in (stdin, stdout or self._stdout, self._stderr, theirs)]
            server().send({"arguments": arguments, "cwd": str(cwd), "environment": env}, descriptors)
        self.pid = int(self._answers.recv(32))

    def finish(self, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
        """Wait for its end, or kill it with its group if that takes longer than ``timeout`` seconds.

        Its exit status is minus the signal if one ended it. An output of the caller's is left to the caller.
        """
        self._answers.settimeout(timeout)
        with self._answers, self._stdout, self._stderr:
            try:
                status = int(self._answers.recv(32))
            except TimeoutError:
                os.killpg(self.pid, signal.SIGKILL)
                self._answers.settimeout(None)
                self._answers.recv(32)
                raise subprocess.TimeoutExpired(self.arguments, timeout) from None
            for file in (self._stdout, self._stderr):
                file.seek(0)
            return subprocess.CompletedProcess(self.arguments, status, self._stdout.read(), self._stderr.read())


def run(command: list[str], cwd: Path, form: str = "2025") -> subprocess.CompletedProcess[str]:
    """Run a Python command line in a host's form, forked."""
    return Forked(command, cwd, environment(form)).finish()


def run_twice(command: list[str], cwd: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run a command in two processes that find each other as those that torchrun starts; forked."""
    with socket.create_server(("localhost", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "tests"}
    ranks = [Forked(command, cwd, environment(**shared, RANK=rank, LOCAL_RANK=rank)) for rank in "01"]
    return [process.finish() for process in ranks]


def python(command: list[str], cwd: Path, form: str = "2025") -> subprocess.CompletedProcess[str]:
    """Run a Python command line in a host's form in a process of its own, for tests of how it starts."""
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment(form), capture_output=True, text=True, timeout=TIMEOUT,
        check=False,
    )  # fmt: skip


def kd(arguments: str, cwd: Path, form: str = "2025") -> subprocess.CompletedProcess[str]:
    """Run ``kd`` with arguments separated by spaces."""
    return run(["-m", "kd_plugin", *arguments.split()], cwd, form)


def kd_inside(arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ``kd`` in this process: a command that runs no script, with arguments separated by spaces."""
    before = os.getcwd()
    os.chdir(cwd)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = main(arguments.split())
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            os.chdir(before)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def succeed(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Check that a command ended well, and show what it said if not."""
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result
