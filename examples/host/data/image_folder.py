"""List the images below a folder."""

from __future__ import annotations

import os
from pathlib import Path

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp")


def make_dataset(folder: str | os.PathLike[str], max_dataset_size: float = float("inf")) -> list[str]:
    """Return the first ``max_dataset_size`` image files below ``folder``, sorted."""
    if not Path(folder).is_dir():
        raise SystemExit(f"no folder {folder}: check --dataroot, --dataset_mode and --phase")
    found = (
        os.path.join(where, name)
        for where, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(EXTENSIONS)
    )
    paths = sorted(found)
    if not paths:
        raise SystemExit(f"no images in {folder}: supported extensions are {' '.join(EXTENSIONS)}")
    return paths[: int(min(len(paths), max_dataset_size))]
