"""The folder of the results: what must not be overwritten, and what a training that begins again deletes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from ..errors import ArgumentError, CheckpointError
from ..processes import is_main_process
from ..report.sample_images import FOLDER
from ..report.store import NAME
from ..students import RECORD_NAME
from ..watch.log import LOG_NAME
from .outputs import CHOICES, checkpoint
from .settings import CompressSettings
from .state import STATE

_OF_STUDENT = (RECORD_NAME, LOG_NAME, *(checkpoint(Path(), epoch).name for epoch in (*CHOICES, "latest")))
_OF_PAGE = ("index.html", "report.json", NAME)
_SAMPLES = "web"  # of a student


def check_output(settings: CompressSettings) -> None:
    """Check that the folder of the results is new, or has a training.

    Raises:
        ArgumentError: If the results would be mixed with images, or overwrite the teacher.
        CheckpointError: If the folder has results of something else.
    """
    output = settings.output
    if output.exists() and not output.is_dir():
        raise ArgumentError(f"{output}: is a file: name a folder for the results")
    for folder in (settings.images, settings.pairs, settings.real, settings.teacher_images):
        if folder and (_is_in(output, folder) or _is_in(folder, output)):
            raise ArgumentError(
                f"{output}: the results would be mixed with the images of {folder}: name a folder outside of it"
            )
    if not output.is_dir() or (output / STATE).is_file():
        return
    if found := next((file for file in sorted(output.iterdir()) if not file.name.startswith(".")), None):
        raise CheckpointError(f"{output}: holds files of something else ({found.name}): name another folder")


def check_teacher(settings: CompressSettings, files: list[Path]) -> None:
    """Raise an :class:`ArgumentError` if files of the teacher are in the folder of the results."""
    for file in files:
        if _is_in(file, settings.output):
            raise ArgumentError(f"{settings.output}: holds the teacher {file}: name another folder for the results")


def delete_results(output: Path) -> None:
    """Delete the results of the training in a folder, but no other files.

    Its state stays until the new training replaces it: it shows that the folder is of a training.
    """
    if is_main_process() and (output / STATE).is_file():
        for name in _students_of(output / STATE):
            folder = output / name
            for file in _OF_STUDENT:
                (folder / file).unlink(missing_ok=True)
            shutil.rmtree(folder / _SAMPLES, ignore_errors=True)
            if name and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        for file in _OF_PAGE:
            (output / file).unlink(missing_ok=True)
        shutil.rmtree(output / FOLDER, ignore_errors=True)


def _students_of(file: Path) -> list[str]:
    """Return the names of the students of a saved training."""
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        return [str(name) for name in (*state["students"], *state["failed"]) if Path(str(name)).name == str(name)]
    except Exception:  # damaged bytes raise anything; results are then replaced one by one
        return []


def _is_in(place: Path, folder: Path) -> bool:
    return place.resolve().is_relative_to(folder.resolve())
