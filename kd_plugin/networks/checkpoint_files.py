"""Find and identify checkpoint files by their names and first bytes, without importing PyTorch."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from ..errors import CheckpointError

_MAGIC = (b"PK", b"\x80")  # a zip archive (PyTorch 1.6 and later), and a pickle (before)
_LISTED = 6  # maximum number of files in a message


def checkpoint_format(file: Path) -> Literal["pytorch", "safetensors"]:
    """Return the format of a checkpoint.

    Raises:
        CheckpointError: If the file is missing, not a file, empty, or neither of the two.
    """
    if not file.exists():
        raise CheckpointError(f"{file}: no such file{_nearest(file)}")
    if file.is_dir():
        raise CheckpointError(f"{file}: is a folder, expected a checkpoint such as {file / 'latest_net_G.pth'}")
    if file.stat().st_size == 0:
        raise CheckpointError(f"{file}: is empty, the save was probably interrupted")
    with file.open("rb") as stream:
        head = stream.read(9)
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") <= file.stat().st_size:
        return "safetensors"
    if not head.startswith(_MAGIC):
        raise CheckpointError(f"{file}: is not a PyTorch checkpoint, expected one the host saves as *_net_G*.pth")
    return "pytorch"


def _nearest(path: Path) -> str:
    """Return a question that suggests the nearest name in the folder of a missing path; "" if there is none."""
    names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    nearest = difflib.get_close_matches(path.name, names, n=1)
    return f": did you mean {path.with_name(nearest[0])}?" if nearest else ""


def generator_files(folder: Path, *epochs: str) -> list[Path]:
    """Return the generator checkpoints in a folder, of the first of the ``epochs`` that has any.

    An epoch is ``latest`` or a number; ``*`` matches any.

    Raises:
        CheckpointError: If there is none.
    """
    files = sorted(file.name for file in folder.iterdir() if fnmatchcase(file.name, "*_net_G*.pth"))
    for epoch in epochs:
        if found := [folder / name for name in files if fnmatchcase(name, f"{epoch}_net_G*.pth")]:
            return found
    listed = ", ".join(files[:_LISTED]) + (", ..." if len(files) > _LISTED else "")
    hint = (
        f"; it contains {listed}: give one of them, or its epoch"
        if files
        else ": give that of a training's checkpoints"
    )
    raise CheckpointError(f"{folder}: there is no {epochs[-1]}_net_G*.pth in this folder{hint}")
