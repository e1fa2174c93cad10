"""Files of a run that are whole or not there, whatever fills the disk or kills the process."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import HostError, first_line
from ..files import sha256, write_text_atomically
from .state import state_file

__all__ = ["clear_save_errors", "finish_save", "is_cut_short", "saving_whole_files"]

_ELSEWHERE = ".saving_"


def _marker(folder: Path) -> Path:
    return folder / ".latest_being_saved"


@contextmanager
def clear_save_errors(folder: Path, what: int | str) -> Iterator[None]:
    """Turn what a full or read-only disk raises within the context into one line.

    Raises:
        HostError: something could not be saved.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("inline_container|PytorchStreamWriter", str(error)):
            raise
        raise HostError(
            f"cannot save {what} in {folder} ({first_line(error, 100)}): make room, or the folder writable, and "
            f"continue the training; what was saved there before is whole"
        ) from error


@contextmanager
def saving_whole_files(model: Any, folder: Path, epoch: int | str, record: str) -> Iterator[Path]:
    """Let a host save its networks elsewhere, then move all into place; it gives the place for what goes with them.

    A full disk or a kill leaves the files that were there. Files of ``latest`` are moved one by one, the networks
    first; a marker lists them meanwhile, so that the next start can complete the set (:func:`finish_save`).

    Args:
        model: the host's.
        folder: of the experiment.
        epoch: as the host calls it.
        record: name of the student's record, which belongs into the experiment's folder.
    """
    original = model.save_dir
    for place in {folder, Path(original)}:
        place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=_ELSEWHERE, dir=folder) as name:
        elsewhere = Path(name)
        model.save_dir = type(original)(name)
        try:
            yield elsewhere
        finally:
            model.save_dir = original
        files = sorted(file.name for file in elsewhere.iterdir())
        files.sort(key=lambda name: (_is_ours(name, record), name == state_file(folder).name))
        if epoch == "latest":
            digests = {file: sha256(elsewhere / file) for file in files}
            write_text_atomically(_marker(folder), json.dumps({"from": elsewhere.name, "files": digests}))
        _move(files, elsewhere, folder, Path(original), record)
    if epoch == "latest":
        _marker(folder).unlink()


def is_cut_short(folder: Path) -> bool:
    """Return whether files of ``latest`` are being moved into place, or were when the process was killed."""
    return _marker(folder).exists()


def finish_save(folder: Path, networks: Path, record: str) -> bool:
    """Complete a save of ``latest`` whose files were being moved into place when the process was killed.

    To be called before a host loads its networks. What the killed run has left besides is removed.

    Args:
        folder: of the experiment.
        networks: where the host keeps its networks, usually the same.
        record: name of the student's record.

    Returns:
        Whether files were moved. None are if the kill came before the first, or if the networks have been saved since
        by something else.
    """
    marker = _marker(folder)
    moved = False
    if marker.exists():
        try:
            content = json.loads(marker.read_text())
            elsewhere, digests = folder / Path(content["from"]).name, dict(content["files"])
        except (ValueError, KeyError, TypeError):
            elsewhere, digests = folder, {}
        left = [name for name in digests if (elsewhere / name).is_file()]
        there = [name for name in digests if name not in left and not _is_ours(name, record)]
        if left and any((networks / name).is_file() and sha256(networks / name) == digests[name] for name in there):
            _move(left, elsewhere, folder, networks, record)
            moved = True
        marker.unlink()
    for rest in folder.glob(f"{_ELSEWHERE}*"):
        shutil.rmtree(rest, ignore_errors=True)
    for rest in [*folder.glob(".latest_distill_state*.pth.*"), *folder.glob(f".{marker.name}.*")]:
        rest.unlink(missing_ok=True)
    return moved


def _is_ours(name: str, record: str) -> bool:
    """Return whether a file is the plugin's, which belongs into the experiment's folder."""
    return "_distill_" in name or name == record


def _move(names: list[str], elsewhere: Path, folder: Path, networks: Path, record: str) -> None:
    for name in names:
        (elsewhere / name).replace((folder if _is_ours(name, record) else networks) / name)
