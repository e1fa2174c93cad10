"""Write the folder of the page: the page, the exported generators, and ONNX Runtime Web."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import ArgumentError
from ...students.device import HEADER
from .runtime import FILES
from .serve import DEVICE_NAME

_PAGE = Path(__file__).parent / "page"
MODELS = "models.json"
_RUNTIME = "ort"


@dataclass(frozen=True)
class WebModel:
    """A generator of the page.

    Attributes:
        name: for the reader.
        file: its ONNX file in the folder.
        parameters: their number.
        macs: multiply-accumulates for an image; None if they are not known.
        channels: of its input.
        bytes: size of the file.
        spec: its description, if the page is that of a plan.
    """

    name: str
    file: str
    parameters: int
    macs: int | None
    channels: int
    bytes: int
    spec: dict[str, Any] | None = None


def check_folder(folder: Path, force: bool) -> None:
    """Raise an :class:`ArgumentError` if a page must not be written to a folder."""
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"{folder}: is a file: name a folder for the page")
    if folder.is_dir() and any(folder.iterdir()):
        if not _is_page(folder):
            raise ArgumentError(f"{folder}: has files of something else: name a new folder for the page")
        if not force:
            raise ArgumentError(f"{folder} exists: name another folder, or replace it", argument="force")
    if not folder.parent.is_dir():
        raise ArgumentError(f"{folder.parent}: no such folder: create it first")


def _is_page(folder: Path) -> bool:
    """Return whether a folder has a page, with the times of a device if there are any, and nothing else."""
    try:
        models = json.loads((folder / MODELS).read_text(encoding="utf-8"))["models"]
        ours = {MODELS, _RUNTIME, *(file.name for file in _PAGE.iterdir()), *(model["file"] for model in models)}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return {file.name for file in folder.iterdir()} <= {*ours, DEVICE_NAME}


def write_folder(
    folder: Path,
    title: str,
    models: Sequence[tuple[WebModel, Path]],
    width: int,
    height: int,
    runtime: Path,
) -> None:
    """Write the page; the files of an existing one are replaced at the end.

    The times of a device are kept: they say of which generators they are, and took a visit of the device.

    Args:
        folder: checked by :func:`check_folder`.
        title: heading of the page.
        models: the generators with their files, which are moved, the largest first; with descriptions, the page is
            that of a plan, and measures them.
        width, height: of the images in pixels.
        runtime: the folder of ONNX Runtime Web.
    """
    folder = folder.resolve()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".kd_export_") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        old.mkdir()
        for file in _PAGE.iterdir():
            shutil.copyfile(file, new / file.name)
        (new / _RUNTIME).mkdir()
        for name in FILES:
            shutil.copyfile(runtime / name, new / _RUNTIME / name)
        for model, file in models:
            shutil.move(file, new / model.file)
        facts: dict[str, Any] = {"title": title, "width": width, "height": height}
        if all(model.spec for model, _ in models):
            facts["device"] = HEADER  # of the file that the page makes
        content = {**facts, "models": [asdict(model) for model, _ in models]}
        (new / MODELS).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        folder.mkdir(exist_ok=True)
        for file in list(folder.iterdir()):
            if file.name != DEVICE_NAME:
                file.rename(old / file.name)
        for file in list(new.iterdir()):
            file.rename(folder / file.name)
