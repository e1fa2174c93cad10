"""Windows of a visdom server that show a training."""

from __future__ import annotations

import html
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import KDError
from .experiment import Facts, newest_images, read_facts, rows_of, side_by_side
from .log import LossLog

_POINTS = 2000  # of a curve at most; a browser is slow with more
_LABELS = {
    "losses": "loss",
    "terms": "weight times value",
    "shares": "share of the gradient",
    "bands": "normalised L1 error",
}


def connect(server: str, port: int, env: str) -> Any:
    """Return a client of a visdom server, whose environment ``env`` is created.

    Raises:
        KDError: If visdom is not installed, or the server does not answer.
    """
    try:
        import visdom
    except ImportError:
        raise KDError(
            'this needs visdom: pip install "kd_plugin[visdom]" (docs/training.md, if that fails)'
        ) from None
    logging.getLogger("visdom").setLevel(logging.ERROR)  # it warns of features that are not used
    start = f"start one with python -m visdom.server -port {port}"
    try:
        client = visdom.Visdom(server, port=port, env=env, use_incoming_socket=False, raise_exceptions=True)
        answers = client.win_exists("losses") is not None
    except (ConnectionError, ValueError):  # a URL that is not valid
        raise KDError(f"no visdom server at {server}, port {port}: {start}") from None
    if not answers:
        raise KDError(f"the server at {server}, port {port}, is not visdom: {start}, or name another port")
    return client


class Dashboard:
    """Sends the curves, images and facts of an experiment's folder to a visdom server.

    Args:
        client: of :func:`connect`.
        folder: of the experiment, with its log.
    """

    def __init__(self, client: Any, folder: Path, log: LossLog) -> None:
        self._client, self._folder, self._log = client, folder, log
        self._images: tuple[Any, ...] = ()  # that were sent, with their times
        self._facts: Facts | None = None
        self._sent = False

    def update(self) -> None:
        """Send what has changed since the last call.

        Raises:
            ConnectionError: If the server does not answer; the next call sends everything again.
        """
        again, self._sent = not self._sent, False
        changed = self._log.update()
        facts = read_facts(self._folder) or self._facts
        if changed or again or facts != self._facts:
            self._facts = facts
            self._send_curves()
            self._send_text()
        self._send_images(again)
        self._sent = True

    def _send_curves(self) -> None:
        entries, positions = self._log.entries, self._log.positions()
        # The last entry is kept.
        step = -(-len(entries) // _POINTS) or 1
        kept = range((len(entries) - 1) % step, len(entries), step)
        at = np.array([positions[i] for i in kept])
        names = dict.fromkeys(name for entry in entries for name in entry.losses)
        windows = _grouped(list(names), self._facts)
        for window in _LABELS.keys() - windows:  # of an earlier run of the same name
            self._client.close(window)
        for window, group in windows.items():
            values = [[entries[i].losses.get(name, math.nan) for name in group] for i in kept]
            opts = {
                "title": window,
                "legend": group,
                "xlabel": "images",
                "ylabel": _LABELS[window],
                "showlegend": True,
            }
            opts["markers"] = len(at) < 2  # a line of one point cannot be seen
            self._client.line(X=at, Y=np.array(values), win=window, opts=opts)

    def _send_text(self) -> None:
        rows = [("run", self._folder.name)]
        if self._log.entries:
            last = self._log.entries[-1]
            rows.append(("last entry", f"epoch {last.epoch}, {last.images} images"))
        if self._facts:
            rows.append(("model", self._facts.model))
            rows += [(f"weight of {name}", weight) for name, weight in self._facts.terms.items()]
            for net, (student, teacher) in self._facts.sizes.items():
                rows.append((f"student {net}", f"{student / 1e6:.3f} M parameters"))
                if teacher and student:
                    times = f"{teacher / student:.2f} times as many"
                    rows.append((f"teacher of {net}", f"{teacher / 1e6:.3f} M parameters, {times}"))
            rows += [(f"file of {net}'s teacher", file) for net, file in self._facts.teachers.items()]
        else:
            rows.append(("student.json", "none yet: the first save writes it"))
        cells = (f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>" for a, b in rows)
        self._client.text(
            f"<table>{''.join(cells)}</table>", win="facts", opts={"title": "run", "width": 520, "height": 300}
        )

    def _send_images(self, again: bool) -> None:
        try:
            epoch, files = newest_images(self._folder)
            state = tuple((file, file.stat().st_mtime_ns) for file in files.values())
            if state == self._images and not again:
                return
            rows = {name: side_by_side(files[n] for n in row) for name, row in rows_of(files).items()}
        except OSError:  # an image that is being written: the next call reads it
            return
        for name, image in rows.items():
            caption = f"epoch {epoch}: {', '.join(rows_of(files)[name])}"
            self._client.image(image, win=f"images_{name}", opts={"title": name, "caption": caption})
        self._images = state


def _grouped(names: Sequence[str], facts: Facts | None) -> dict[str, list[str]]:
    """Return the names of losses by window; the terms are known from the record, or from their shares."""
    terms = facts.losses if facts else set()
    terms = terms | {name.removeprefix("share_") for name in names if name.startswith("share_")}
    windows: dict[str, list[str]] = {}
    for name in names:
        kind = "shares" if name.startswith("share_") else "bands" if name.startswith("band_") else "losses"
        windows.setdefault("terms" if name in terms else kind, []).append(name)
    return windows
