"""Serve the folder of a page on this machine."""

from __future__ import annotations

import functools
import http.server
import re
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ...errors import ArgumentError

DEVICE_NAME = "device.json"  # of the times that the page of a plan sends
Receive = Callable[[bytes], None]
_MOST = 1 << 20  # bytes that are received: the times of a hundred students take a tenth


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


class _ReceivingHandler(_Handler):
    """Also hands what is sent to the path of a device's times to a function."""

    timeout = 60  # seconds without a byte

    def __init__(self, *arguments: Any, receive: Receive, **settings: Any) -> None:
        self._receive = receive
        super().__init__(*arguments, **settings)

    def do_POST(self) -> None:
        status, text = self._answer()
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> tuple[HTTPStatus, str]:
        length = self.headers.get("Content-Length", "")
        if self.path != f"/{DEVICE_NAME}":
            return HTTPStatus.NOT_FOUND, f"only {DEVICE_NAME} is received"
        # Other sites that the browser has open may send forms and texts here, but JSON only if this server allows it.
        if self.headers.get_content_type() != "application/json":
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json"
        if not re.fullmatch(r"[0-9]{1,9}", length):
            return HTTPStatus.LENGTH_REQUIRED, "the length is missing"
        if int(length) > _MOST:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {_MOST} bytes"
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return HTTPStatus.BAD_REQUEST, "the end is missing"
        try:
            self._receive(body)
        except ArgumentError as error:
            return HTTPStatus.BAD_REQUEST, str(error)
        except OSError as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, f"cannot be written ({error.strerror or error})"
        return HTTPStatus.OK, "saved"


def server(
    folder: Path, host: str = "127.0.0.1", port: int = 0, receive: Receive | None = None
) -> http.server.ThreadingHTTPServer:
    """Return a server of a folder, which the caller runs; port 0 is any free one.

    Args:
        folder: the folder.
        host: address to serve at.
        port: port to serve at.
        receive: takes the times that a device sends, and raises an :class:`ArgumentError` if they are not valid; None
            for a server that receives nothing.

    Raises:
        OSError: If the port is taken.
    """
    handler: Any = functools.partial(_Handler, directory=str(folder))
    if receive:
        handler = functools.partial(_ReceivingHandler, directory=str(folder), receive=receive)
    return http.server.ThreadingHTTPServer((host, port), handler)
