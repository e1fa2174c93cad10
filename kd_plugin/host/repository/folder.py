"""Where in a repository the host's ``models/`` are: at its top, or inside a package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["find_host", "finds_models"]

_DEPTH = 2  # folders below the repository's, as in src/package/models


def find_host(repository: Path) -> Path | None:
    """Return the folder that holds ``models/``: the repository itself, or else a package in it.

    A folder inside that has a ``train.py`` and is no package is another repository, and none of this one's.

    Returns:
        A folder whose ``models/__init__.py`` has ``find_model_using_name``, the least deep; else the repository
        if it has ``models/__init__.py`` at all; else None.
    """
    if found := next((folder for folder in _folders(repository) if finds_models(folder)), None):
        return found
    return repository if _init(repository).is_file() else None


def finds_models(folder: Path) -> bool:
    """Return whether a folder's ``models/`` are looked up by name, as the family does."""
    init = _init(folder)
    return init.is_file() and "find_model_using_name" in init.read_text(encoding="utf-8", errors="replace")


def _init(folder: Path) -> Path:
    return folder / "models" / "__init__.py"


def _folders(repository: Path) -> Iterator[Path]:
    """Return a repository and the folders in it that may be packages, level by level."""
    level = [repository]
    for depth in range(_DEPTH + 1):
        yield from level
        if depth < _DEPTH:
            inside = (child for folder in level if os.access(folder, os.R_OK) for child in sorted(folder.iterdir()))
            level = [
                child for child in inside if child.name.isidentifier() and child.is_dir() and not _is_other(child)
            ]


def _is_other(folder: Path) -> bool:
    return (folder / "train.py").is_file() and not (folder / "__init__.py").is_file()
