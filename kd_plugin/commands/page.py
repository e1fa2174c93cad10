"""The options of a page, and its server."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import OptionError
from .shared import port


def add_page(group: Any, help: str) -> None:
    """Add the options of a page to a parser or a group of it; ``help`` is that of ``--web``."""
    group.add_argument("--web", metavar="FOLDER", help=help)
    group.add_argument("--serve", action="store_true", help="serve the page of --web, a new or an existing one")
    group.add_argument("--host", default="127.0.0.1", help="address to serve at; 0.0.0.0 for other devices, too")
    group.add_argument("--port", type=port, default=8000, metavar="N", help="port to serve at (default: 8000)")
    group.add_argument(
        "--ort", metavar="FOLDER", help="files of ONNX Runtime Web, where npm cannot fetch them: dist of its package"
    )


def bound_server(options: argparse.Namespace, receive: Callable[[bytes], None] | None = None) -> Any:
    """Return the server of the page, which does not answer yet; ``receive`` takes what a device sends.

    Raises:
        OptionError: the address is not available.
    """
    from ..export.web.serve import server

    try:
        return server(Path(options.web).expanduser(), options.host, options.port, receive)
    except OSError as error:
        raise OptionError(f"--host {options.host} --port {options.port}: {error.strerror}: choose others") from error


def serve(options: argparse.Namespace, serving: Any) -> int:
    """Serve a page until Ctrl-C."""
    print(f"{options.web} is served at http://{options.host}:{options.port} (Ctrl-C ends)", flush=True)
    with serving:
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
