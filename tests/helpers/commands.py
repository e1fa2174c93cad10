"""Command lines of ``python``: forked from a process that has imported PyTorch already, or plain."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).resolve().parent.parent.parent
LAUNCH = str(REPOSITORY / "tests" / "helpers" / "launch.py")  # starts a host's script
TIMEOUT = 300


def environment(form: str = "2025", **more: str) -> dict[str, str]:
    """The environment of a command in a host's form: the plugin is importable, and there is one thread."""
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

    Attributes:
        pid: its process id, and its group's.
        returncode: its exit status, or minus the signal that ended it; None before :meth:`wait`.
    """

    def __init__(
        self, arguments: list[str], cwd: Path, env: dict[str, str], stdout: IO[str], stderr: IO[str]
    ) -> None:
        self._answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.returncode: int | None = None
        with theirs, open(os.devnull) as stdin:
            descriptors = [file.fileno() for file in (stdin, stdout, stderr, theirs)]
            server().send({"arguments": arguments, "cwd": str(cwd), "environment": env}, descriptors)
        self.pid = int(self._answers.recv(32))

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Return its exit status; kill it, with all of its session, if it takes longer than a time in seconds."""
        self._answers.settimeout(timeout)
        try:
            self.returncode = int(self._answers.recv(32))
        except TimeoutError:
            os.killpg(self.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout) from None
        finally:
            self._answers.close()
        return self.returncode


def run(command: list[str], cwd: Path, form: str = "2025") -> subprocess.CompletedProcess[str]:
    """Run a Python command line in a host's form, forked."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        status = Forked(command, cwd, environment(form), stdout, stderr).wait()
        for file in (stdout, stderr):
            file.seek(0)
        return subprocess.CompletedProcess(command, status, stdout.read(), stderr.read())


def python(command: list[str], cwd: Path, form: str = "2025") -> subprocess.CompletedProcess[str]:
    """Run a Python command line in a host's form in a process of its own, for tests of how it starts."""
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment(form), capture_output=True, text=True, timeout=TIMEOUT,
        check=False,
    )  # fmt: skip


def kd(arguments: str, cwd: Path, form: str = "2025") -> subprocess.CompletedProcess[str]:
    """Run ``kd`` with arguments separated by spaces."""
    return run(["-m", "kd_plugin", *arguments.split()], cwd, form)


def succeed(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """Check that a command ended well, and show what it said if not."""
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result
