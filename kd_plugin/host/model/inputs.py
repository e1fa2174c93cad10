"""The images that a generator reads in a host's training, found in the host's data set and compared with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ...errors import HostError, KDError, OptionError
from ...pictures import Preprocessing, as_array, find_images, open_image
from ...training.rng import kept_rng_state

Side = Literal["A", "B"]

_DRAWN = 3  # number of images that are compared
_GRID = 6  # points in each direction that a crop must share, before all its pixels are compared
_POINT, _MEAN = 8, 2.0  # maximum differences, of 255: hosts convert to grey before they resize
_TRIED = 200  # positions


@dataclass(frozen=True)
class Inputs:
    """The images that a generator reads.

    Attributes:
        files: of the data set.
        side: domain that they are of.
        half: whether they are pairs A|B, of which it reads this side.
    """

    files: Sequence[Path]
    side: Side
    half: bool

    def folder(self, place: Path) -> Path:
        """Return the folder with these images and no others: their own, or ``place`` with links to them."""
        common = Path(os.path.commonpath([file.parent for file in self.files]))
        if find_images(common) == sorted(self.files):
            return common
        for file in self.files:
            link = place / file.relative_to(common)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(link):
                link.symlink_to(file.resolve())
        return place


def find_inputs(loader: Any, side: Side, preprocessing: Preprocessing) -> Inputs:
    """Return the images of one side of a host's data set.

    Some are drawn from the data set, and compared with what ``preprocessing`` makes of their files; random numbers of
    the host are not used up.

    Args:
        loader: of the host.
        side: domain of the generator's input.
        preprocessing: that images are expected to have.

    Raises:
        HostError: the data set lists no files.
        OptionError: its images differ.
    """
    dataset = getattr(loader, "dataset", loader)
    name = type(dataset).__name__
    with kept_rng_state():
        drawn = [dataset[i] for i in sorted({0, len(dataset) // 2, len(dataset) - 1})[:_DRAWN]]
    halves: set[str] = {"", side}
    files: list[str] = []
    for item in drawn:
        image, path = (item.get(key) if isinstance(item, dict) else None for key in (side, f"{side}_paths"))
        if not (isinstance(image, torch.Tensor) and image.ndim == 3 and isinstance(path, str)):
            raise HostError(f"--compress: {name} gives no image {side} with its path {side}_paths")
        lists = (value for value in vars(dataset).values() if isinstance(value, (list, tuple)))
        files = files or next(([str(file) for file in value] for value in lists if path in value), [])
        if not files:
            raise HostError(f"--compress: {name} has no list of files with {path}")
        halves = {half for half in halves if _shows(image, Path(path), half, preprocessing)}
        if not halves:
            raise OptionError(
                f"--compress: {name} makes another image of {path} than kd compress would, which reads image files "
                f"in RGB or grey ({preprocessing}): train without --compress"
            )
    return Inputs([Path(file) for file in files], side, "" not in halves)


def _shows(image: torch.Tensor, file: Path, half: Any, preprocessing: Preprocessing) -> bool:
    """Return whether an image, (C, H, W) in [-1, 1], is a crop of a file, perhaps flipped."""
    crop = ((image.detach().cpu().float().numpy() + 1) * 127.5).transpose(1, 2, 0)  # (H, W, C)
    try:
        whole = as_array(preprocessing.resize(open_image(file, half)), crop.shape[2]).astype(np.float32)
    except KDError:
        return False
    return _contains(whole, crop) or _contains(whole[:, ::-1], crop)


def _contains(whole: np.ndarray, crop: np.ndarray) -> bool:
    """Return whether a crop, (h, w, C), is somewhere in an image (H, W, C)."""
    (height, width), (h, w) = whole.shape[:2], crop.shape[:2]
    if h > height or w > width:
        return False
    rows, columns = height - h + 1, width - w + 1
    fits = np.ones((rows, columns), dtype=bool)
    for y in np.linspace(0, h - 1, _GRID, dtype=int):
        for x in np.linspace(0, w - 1, _GRID, dtype=int):
            fits &= np.abs(whole[y : y + rows, x : x + columns] - crop[y, x]).max(axis=2) <= _POINT
    places = np.argwhere(fits)[:_TRIED]
    return any(np.abs(whole[top : top + h, left : left + w] - crop).mean() <= _MEAN for top, left in places)
