"""``kd watch NAME``: show a training on a visdom server, from the files that its host writes."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import Any

from ..errors import KDError, OptionError, unknown_name
from .shared import add_checkpoints, port

_INTERVAL = 2.0  # seconds between two looks at the files


def add_parser(commands: Any) -> None:
    """Add the command to the parser of ``kd``."""
    parser = commands.add_parser(
        "watch",
        help="show a training on a visdom server: losses, terms, shares of the gradient, images",
        description="Show a training of any host on a visdom server (python -m visdom.server), from the files in its "
        "folder of checkpoints: the losses, the terms, the shares and errors that --kd_watch measures, the newest "
        "images of the web page, and the sizes of student and teacher. Follows the training until Ctrl-C. The "
        "environment of visdom has the name of the run.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the run (--name of the training)")
    add_checkpoints(parser)
    parser.add_argument("--server", metavar="URL", default="http://localhost", help="(default: http://localhost)")
    parser.add_argument("--port", type=port, metavar="N", default=8097, help="port of the server (default: 8097)")
    parser.add_argument("--once", action="store_true", help="send what there is, and exit")
    parser.set_defaults(action=_watch)


def _watch(options: argparse.Namespace) -> int:
    try:
        _follow(options)
    except KeyboardInterrupt:
        print()
    return 0


def _follow(options: argparse.Namespace) -> None:
    folder = _folder(options)
    if re.search(r":\d+/?$", options.server):
        raise OptionError(f"--server {options.server}: give the port with --port")
    from ..watch.dashboard import Dashboard, connect
    from ..watch.log import LOG_NAME, LossLog

    env = re.sub(r"[^\w.-]", "-", folder.name)
    client = connect(options.server, options.port, env)
    file, where = folder / LOG_NAME, f"{options.server}, port {options.port}"
    if options.once and not file.is_file():
        raise KDError(f"{folder} has no {LOG_NAME} yet: the host writes it when the training begins")
    dashboard = Dashboard(client, folder, LossLog(file))
    ends = "" if options.once else " (Ctrl-C ends)"
    print(f"{folder} is shown at {where}, environment {env}{ends}", flush=True)
    if not file.is_file():
        print(f"no {LOG_NAME} yet: waiting for the training to begin", flush=True)
    lost = False
    while True:
        try:
            dashboard.update()
            lost = False
        except ConnectionError:
            if options.once:
                raise KDError(f"the visdom server at {where}, does not answer any more: start it again") from None
            if not lost:
                print(f"the visdom server at {where}, does not answer: trying again", flush=True)
            lost = True
        if options.once:
            return
        time.sleep(_INTERVAL)


def _folder(options: argparse.Namespace) -> Path:
    """Return the folder of the run.

    Raises:
        OptionError: it does not exist.
    """
    parent: Path = Path(options.checkpoints_dir).expanduser()
    folder: Path = parent / options.name
    if folder.is_dir():
        return folder.resolve()
    if not parent.is_dir():
        raise OptionError(f"no folder {parent}: name the host's folder of checkpoints with --checkpoints-dir")
    runs = [path.name for path in parent.iterdir() if path.is_dir()]
    if not runs:
        raise OptionError(f"no run '{options.name}': {parent} is empty; name another folder with --checkpoints-dir")
    raise OptionError(f"{unknown_name('run', options.name, runs)} in {parent}")
