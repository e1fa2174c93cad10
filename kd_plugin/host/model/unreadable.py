"""Name the picture that ended a run: hosts end with what Pillow says, which often leaves out the file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType

from PIL import Image

from ...errors import first_line

__all__ = ["explain_unreadable", "find_unreadable"]

_LISTED = 5
# What the hosts take for pictures.
_EXTENSIONS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp"}
_LEAST = 2  # pixels; hosts scale pictures to a multiple of four, which leaves nothing of one


def explain_unreadable(dataroot: str | os.PathLike[str]) -> None:
    """If the program ends with an error from reading pictures, add a line for each of those that cannot be used.

    Args:
        dataroot: the host's, searched through then.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        previous(kind, error, traceback)
        if not _is_of_pillow(error, traceback):
            return
        print(f"looking through {dataroot} for pictures that cannot be used ...", file=sys.stderr)
        found = list(islice(find_unreadable(Path(dataroot)), _LISTED))
        for file, reason in found:
            print(f"error: {file}: {reason}; repair it or take it out", file=sys.stderr)
        if not found:
            print("every picture there can be read, so it was none of them", file=sys.stderr)

    sys.excepthook = hook


def find_unreadable(folder: Path) -> Iterator[tuple[Path, str]]:
    """Return the pictures below a folder that cannot be read, or are too small for a host, each with the reason."""
    files = (Path(place, name) for place, _, names in os.walk(folder, followlinks=True) for name in sorted(names))
    for file in files:
        if file.suffix.lower() not in _EXTENSIONS:
            continue
        try:
            with Image.open(file) as picture:
                picture.load()
                width, height = picture.size
        except Exception as error:  # damaged bytes fail in any way
            yield file, f"it cannot be read ({first_line(error, 120)})"
            continue
        if min(width, height) < _LEAST:
            yield file, f"it has {width}x{height} pixels"


def _is_of_pillow(error: BaseException, traceback: TracebackType | None) -> bool:
    """Return whether an error came out of Pillow, in this process or in one that loads data, and not in saving."""
    called = set()
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0] == "PIL":
            called.add(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    if called:
        return "save" not in called
    return "DataLoader worker" in str(error) and f"{os.sep}PIL{os.sep}" in str(error)
