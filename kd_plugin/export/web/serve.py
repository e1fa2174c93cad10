"""Serve the folder of a page on this machine."""

from __future__ import annotations

import functools
import http.server
from pathlib import Path
from typing import Any


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, with the headers that allow WebAssembly its threads."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing for each file."""


def server(folder: Path, host: str = "127.0.0.1", port: int = 0) -> http.server.ThreadingHTTPServer:
    """Return a server of a folder, which the caller runs; port 0 is any free one.

    Raises:
        OSError: If the port is taken.
    """
    return http.server.ThreadingHTTPServer((host, port), functools.partial(_Handler, directory=str(folder)))
