"""Locate the ``models/`` folder of a host: at the top of the repository or inside a package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_DEPTH = 2  # levels below the repository, as in src/package/models


def find_host(repository: Path) -> Path | None:
    """Return the folder that contains ``models/``: the repository itself or a package in it.

    A subfolder that has a ``train.py`` and is not a package is another repository, and is skipped.

    Returns:
        The first folder, level by level, whose ``models/__init__.py`` has ``find_model_using_name``; otherwise the
        repository if it has ``models/__init__.py``; otherwise None.
    """
    if found := next((folder for folder in _folders(repository) if finds_models(folder)), None):
        return found
    return repository if _init(repository).is_file() else None


def finds_models(folder: Path) -> bool:
    """Return whether ``models/__init__.py`` in a folder has ``find_model_using_name``."""
    init = _init(folder)
    return init.is_file() and "find_model_using_name" in init.read_text(encoding="utf-8", errors="replace")


def _init(folder: Path) -> Path:
    return folder / "models" / "__init__.py"


def _folders(repository: Path) -> Iterator[Path]:
    """Yield a repository and the folders in it that may be packages, level by level."""
    level = [repository]
    for depth in range(_DEPTH + 1):
        yield from level
        if depth < _DEPTH:
            inside = (child for folder in level if os.access(folder, os.R_OK) for child in sorted(folder.iterdir()))
            level = [c for c in inside if c.name.isidentifier() and c.is_dir() and not _is_repository(c)]


def _is_repository(folder: Path) -> bool:
    return (folder / "train.py").is_file() and not (folder / "__init__.py").is_file()
