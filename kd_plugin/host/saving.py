"""Files of a run that are whole or not there, whatever fills the disk or kills the process."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ..errors import HostError, first_line
from ..files import sha256, write_atomically, write_text_atomically
from .state import RunState, state_file

__all__ = ["clean", "clear_save_errors", "repair_checkpoints", "saving_whole_files"]

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
            f"cannot save {what} in {folder} ({first_line(error, 100)}): make room, or the folder writable, and go "
            f"on with --continue_train; what was saved there before is whole"
        ) from error


@contextmanager
def saving_whole_files(model: Any, folder: Path, epoch: int | str) -> Iterator[Path]:
    """Let a host save its networks elsewhere, then move all into place; it gives the place for what goes with them.

    A full disk or a kill leaves the files that were there. While files of ``latest`` are moved, a marker that lists
    them tells that the set may not fit together. The state is moved last.
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
        files = sorted(elsewhere.iterdir(), key=lambda file: (file.name == state_file(folder).name, file.name))
        if epoch == "latest":
            listed = {file.name: sha256(file) for file in files}
            write_text_atomically(_marker(folder), json.dumps(listed))
        for file in files:
            ours = "_distill_" in file.name
            file.replace((folder if ours else Path(original)) / file.name)
    if epoch == "latest":
        _marker(folder).unlink()


def clean(folder: Path) -> None:
    """Remove what a killed run has left lying about."""
    for left in folder.glob(f"{_ELSEWHERE}*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in folder.glob(f".{state_file(folder).name}.*"):
        left.unlink(missing_ok=True)


def repair_checkpoints(folder: Path, networks: Path, state: RunState | None) -> bool:
    """Before a host loads ``latest``: put back the networks of the last complete save, if a save was cut short.

    Args:
        folder: of the experiment.
        networks: where the host keeps its networks, usually the same.
        state: the saved state.

    Returns:
        Whether that was necessary. It is not if the networks have been saved since by something else.
    """
    marker = _marker(folder)
    if not marker.exists():
        return False
    try:
        moved: dict[str, str] = json.loads(marker.read_text())
    except ValueError:
        moved = {}
    files = {f"latest_net_{name}.pth": network for name, network in (state.networks if state else {}).items()}
    repaired = False
    if any((networks / name).is_file() and sha256(networks / name) == moved.get(name) for name in files):
        for name, network in files.items():
            write_atomically(networks / name, partial(torch.save, dict(network)))
        repaired = True
    marker.unlink()
    return repaired
