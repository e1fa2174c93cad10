"""Report unreadable images: a host ends with Pillow's error, which often does not name the file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType

from PIL import Image

from ...errors import first_line
from ..repository.family import PICTURE_EXTENSIONS

_LISTED = 5
_LEAST = 2  # pixels; hosts round the size to a multiple of four, which makes 1 zero


def explain_unreadable(dataroot: str | os.PathLike[str]) -> None:
    """Install an exception hook that lists unusable images in ``dataroot`` after an error from reading images."""
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        previous(kind, error, traceback)
        if not _is_of_pillow(error, traceback):
            return
        print(f"searching {dataroot} for unusable images ...", file=sys.stderr)
        found = list(islice(find_unreadable(Path(dataroot)), _LISTED))
        for file, reason in found:
            print(f"error: {file}: {reason}; repair or remove it", file=sys.stderr)
        if not found:
            print("all images can be read: the error has another cause", file=sys.stderr)

    sys.excepthook = hook


def find_unreadable(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the images below a folder that cannot be read or are too small for a host, with the reason."""
    files = (Path(place, name) for place, _, names in os.walk(folder, followlinks=True) for name in sorted(names))
    for file in files:
        if file.suffix.lower() not in PICTURE_EXTENSIONS:
            continue
        try:
            with Image.open(file) as picture:
                picture.load()
                width, height = picture.size
        except Exception as error:  # damaged files may raise anything
            yield file, f"it cannot be read ({first_line(error, 120)})"
            continue
        if min(width, height) < _LEAST:
            yield file, f"it has {width}x{height} pixels"


def _is_of_pillow(error: BaseException, traceback: TracebackType | None) -> bool:
    """Return whether an error was raised by Pillow, in this process or a data worker, and not while saving."""
    called = set()
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0] == "PIL":
            called.add(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    if called:
        return "save" not in called
    return "DataLoader worker" in str(error) and f"{os.sep}PIL{os.sep}" in str(error)
