"""Draw some test pictures of both data sets, for the documentation.

``python examples/datasets/contact_sheet.py EDGES2EMOJI FLAT2FLUENT FILE``, with the folders of the data sets.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

_COLUMNS, _GAP = 12, 4


def contact_sheet(edges2emoji: Path, flat2fluent: Path) -> Image.Image:
    """Return rows of drawings, three-dimensional pictures and flat pictures, evenly spaced in the test folder."""
    pairs = [Image.open(file) for file in _chosen(edges2emoji / "test")]
    size = pairs[0].height
    rows = [[pair.crop((left, 0, left + size, size)) for pair in pairs] for left in (0, size)]
    rows.append([Image.open(file) for file in _chosen(flat2fluent / "testA")])  # testB has those of the second row
    step = size + _GAP
    sheet = Image.new("RGB", (_COLUMNS * step, len(rows) * step), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * step, row * step))
    return sheet


def _chosen(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if "-" not in file.stem)  # without variants of skin and gender
    return [files[len(files) * number // _COLUMNS] for number in range(_COLUMNS)]


if __name__ == "__main__":
    *folders, file = map(Path, sys.argv[1:])
    contact_sheet(*folders).save(file, optimize=True)
