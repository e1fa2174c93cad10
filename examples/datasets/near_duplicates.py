"""Find kinds of emoji with nearly the same picture, and write them to near_duplicates.txt.

``python examples/datasets/near_duplicates.py`` was run once: its list is part of the repository, so that the split is
the same everywhere. Two pictures are nearly the same if their line drawings are, whatever the colours: if the
root-mean-square difference of the blurred drawings is less than ``NEAR`` times the geometric mean of their
root-mean-square values. A group is all kinds that such pairs connect.
"""

from __future__ import annotations

import sys

import numpy as np
from emoji_groups import NEAR_DUPLICATES, Emoji, file_name, kind, parse
from emoji_pictures import decode
from line_drawing import line_drawing
from packages import FLUENT, default_cache, fetch, pictures
from scipy import ndimage, sparse
from scipy.sparse import csgraph

NEAR = 0.5
_SIZE, _SIGMA = 64, 0.8  # of the drawings
_BLUR = 1.0  # pixels: lines that are one pixel apart are the same


def near_duplicates(drawings: dict[Emoji, np.ndarray]) -> list[list[Emoji]]:
    """Return the groups of two and more kinds, given drawings (H, W), 0 on lines and 255 elsewhere, of emoji."""
    kinds = sorted(set(map(kind, drawings)))
    places = np.array([kinds.index(kind(emoji)) for emoji in drawings])  # (N,)
    lines = np.stack([ndimage.gaussian_filter(1 - lines / 255.0, _BLUR).ravel() for lines in drawings.values()])
    power = (lines**2).sum(1)
    squared = power[:, None] + power - 2 * lines @ lines.T  # (N, N)
    first, second = np.nonzero(squared < NEAR**2 * np.sqrt(power[:, None] * power))
    near = sparse.coo_array((np.ones(len(first)), (places[first], places[second])), shape=(len(kinds), len(kinds)))
    _, labels = csgraph.connected_components(near, directed=False)
    groups = [[k for k, label in zip(kinds, labels, strict=True) if label == one] for one in np.unique(labels)]
    return [group for group in groups if len(group) > 1]


def main() -> None:
    """Write the list."""
    archive = fetch(FLUENT, default_cache())
    drawings = {
        parse(name): line_drawing(np.asarray(decode(content, _SIZE)), _SIGMA)
        for name, content in pictures(archive, FLUENT)
    }
    groups = near_duplicates(drawings)
    head = "# Kinds of emoji with nearly the same picture, a group in each line; written by near_duplicates.py\n"
    text = head + "".join(" ".join(map(file_name, group)) + "\n" for group in groups)
    NEAR_DUPLICATES.write_text(text, encoding="utf-8")
    print(f"{len(groups)} groups of {sum(map(len, groups))} kinds, of {len(set(map(kind, drawings)))}")


if __name__ == "__main__":
    sys.exit(main())
