"""Save the files of a run atomically, even if the disk is full or the process is killed."""

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

_ELSEWHERE = ".saving_"
_MARKER = ".latest_being_saved"


@contextmanager
def clear_save_errors(folder: Path, what: int | str) -> Iterator[None]:
    """Context manager that converts the errors of a full or read-only disk into one line.

    Raises:
        HostError: If something could not be saved.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("inline_container|PytorchStreamWriter", str(error)):
            raise
        raise HostError(
            f"cannot save {what} in {folder} ({first_line(error, 100)}): free disk space, or make the folder "
            f"writable, and continue the training; an earlier save is intact"
        ) from error


@contextmanager
def saving_whole_files(model: Any, folder: Path, epoch: int | str, record: str) -> Iterator[Path]:
    """Let a host save its networks to a temporary folder, which is yielded, then move all files into place.

    If the disk is full or the process is killed, the old files stay. Files of ``latest`` are moved one by one, the
    networks first; a marker lists them meanwhile, so that the next start can complete the set (:func:`finish_save`).
    The student's ``record`` and the plugin's other files are stored in the experiment's ``folder``.
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
            write_text_atomically(folder / _MARKER, json.dumps({"from": elsewhere.name, "files": digests}))
        _move(files, elsewhere, folder, Path(original), record)
    if epoch == "latest":
        (folder / _MARKER).unlink()


def is_cut_short(folder: Path) -> bool:
    """Return whether a save of ``latest`` is in progress or was interrupted."""
    return (folder / _MARKER).exists()


def finish_save(folder: Path, networks: Path, record: str) -> bool:
    """Complete a save of ``latest`` that was interrupted while its files were moved into place.

    Call it before a host loads its networks, from the folder ``networks``. Other temporary files of the interrupted
    run are removed.

    Returns:
        Whether files were moved: False if the save was interrupted before the first, or if the networks were saved
        again since.
    """
    marker = folder / _MARKER
    moved = False
    if marker.exists():
        try:
            content = json.loads(marker.read_text())
            elsewhere, digests = folder / Path(content["from"]).name, dict(content["files"])
        except (ValueError, KeyError, TypeError):
            elsewhere, digests = folder, {}
        left = [name for name in digests if (elsewhere / name).is_file()]
        placed = [name for name in digests if name not in left and not _is_ours(name, record)]
        if left and any((networks / name).is_file() and sha256(networks / name) == digests[name] for name in placed):
            _move(left, elsewhere, folder, networks, record)
            moved = True
        marker.unlink()
    for rest in folder.glob(f"{_ELSEWHERE}*"):
        shutil.rmtree(rest, ignore_errors=True)
    for rest in [*folder.glob(".latest_distill_state*.pth.*"), *folder.glob(f".{_MARKER}.*")]:
        rest.unlink(missing_ok=True)
    return moved


def _is_ours(name: str, record: str) -> bool:
    """Return whether a file is the plugin's, which is stored in the experiment's folder."""
    return "_distill_" in name or name == record


def _move(names: list[str], elsewhere: Path, folder: Path, networks: Path, record: str) -> None:
    for name in names:
        (elsewhere / name).replace((folder if _is_ours(name, record) else networks) / name)
