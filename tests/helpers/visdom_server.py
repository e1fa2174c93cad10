"""A visdom server for tests, on a free port of this machine."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Like python -m visdom.server, without the download of its scripts.
_START = """
import sys
sys.modules["torch"] = None  # visdom does not need it, and its import takes seconds
from visdom.server.run_server import start_server
start_server(port=int(sys.argv[1]), base_url="", env_path=sys.argv[2], bind_local=True)
"""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def visdom_server(folder: Path, port: int | None = None) -> Iterator[int]:
    """Run a server whose environments are saved in a folder; yield its port."""
    port = port or free_port()
    log = folder / "server.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, str(port), str(folder)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


def windows(port: int, env: str) -> dict[str, dict[str, Any]]:
    """Return the windows of an environment by name, as the server has them."""
    import visdom

    client = visdom.Visdom("http://127.0.0.1", port=port, env=env, use_incoming_socket=False, raise_exceptions=True)
    found: dict[str, dict[str, Any]] = json.loads(client.get_window_data(win=None, env=env))
    return found


def curves(window: dict[str, Any]) -> dict[str, tuple[list[float], list[float | None]]]:
    """Return the curves of a window by name: x and y."""
    return {trace["name"]: (trace["x"], trace["y"]) for trace in window["content"]["data"]}
