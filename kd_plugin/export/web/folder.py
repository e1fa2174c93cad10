"""Write the folder of the page: the page, the exported generators, and ONNX Runtime Web."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import ArgumentError
from .runtime import FILES

_PAGE = Path(__file__).parent / "page"
MODELS = "models.json"


@dataclass(frozen=True)
class WebModel:
    """A generator of the page.

    Attributes:
        name: for the reader.
        file: its ONNX file in the folder.
        parameters: their number.
        macs: multiply-accumulates for an image; None if they are not known.
        bytes: size of the file.
    """

    name: str
    file: str
    parameters: int
    macs: int | None
    bytes: int


def check_folder(folder: Path, force: bool) -> None:
    """Raise an :class:`ArgumentError` if a page must not be written to a folder."""
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"{folder}: is a file: name a folder for the page")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MODELS).is_file():
            raise ArgumentError(f"{folder}: has files of something else: name a new folder for the page")
        if not force:
            raise ArgumentError(f"{folder} exists: name another folder, or replace it by force", argument="force")
    if not folder.resolve().parent.is_dir():
        raise ArgumentError(f"{folder.resolve().parent}: no such folder: create it first")


def write_folder(
    folder: Path,
    title: str,
    models: Sequence[tuple[WebModel, Path]],
    width: int,
    height: int,
    channels: int,
    runtime: Path,
) -> None:
    """Write the page; an existing one is replaced at the end.

    Args:
        folder: checked by :func:`check_folder`.
        title: heading of the page.
        models: the generators with their files, the largest first.
        width, height: of the images in pixels.
        channels: of their input.
        runtime: the folder of ONNX Runtime Web.
    """
    with tempfile.TemporaryDirectory(dir=folder.resolve().parent, prefix=".kd_export_") as temporary:
        new = Path(temporary) / "page"
        new.mkdir()
        for file in _PAGE.iterdir():
            shutil.copyfile(file, new / file.name)
        (new / "ort").mkdir()
        for name in FILES:
            shutil.copyfile(runtime / name, new / "ort" / name)
        for model, file in models:
            shutil.copyfile(file, new / model.file)
        facts = {"title": title, "width": width, "height": height, "channels": channels}
        content = {**facts, "models": [asdict(model) for model, _ in models]}
        (new / MODELS).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        if folder.is_dir():
            folder.rename(Path(temporary) / "old")
        new.replace(folder)
