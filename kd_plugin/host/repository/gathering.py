"""Find where a host gathers the options of its models, on which the plugin's options depend."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_CALL = re.compile(r"^(?!\s*(?:def|#)\b).*\b(?:get_option_setter|modify_commandline_options)\s*\(", re.MULTILINE)


def gathers_options(folder: Path) -> str:
    """Return where a host calls ``get_option_setter`` or ``modify_commandline_options``: file and line.

    Args:
        folder: the folder that contains ``models/``, which is not searched: it defines both.

    Returns:
        "" if it calls neither: a command line of another kind, such as click's, does not accept options of a model.
    """
    for file in _sources(folder):
        text = file.read_text(encoding="utf-8", errors="replace")
        if call := _CALL.search(text):
            return f"{file.relative_to(folder)}:{text.count(chr(10), 0, call.start()) + 1}"
    return ""


def _sources(folder: Path) -> Iterator[Path]:
    options = sorted(folder.glob("options/*.py"))  # where hosts of the family do it
    yield from options
    for file in sorted([*folder.glob("*.py"), *folder.glob("*/*.py")]):
        if file.parent.name != "models" and file not in options:
            yield file
