"""Find kinds of emoji with nearly the same picture, and write them to near_duplicates.txt.

``python examples/datasets/near_duplicates.py`` was run once: its list is part of the repository, so that the split is
the same everywhere. Two pictures are nearly the same if their line drawings are, whatever the colours: if the
root-mean-square difference of the blurred drawings is less than ``NEAR`` times the geometric mean of their
root-mean-square values. A group is all pictures that such pairs connect.
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
    """Return the groups of two and more kinds, given drawings (H, W), 0 on lines and 255 elsewhere."""
    kinds = sorted(drawings)
    lines = np.stack([ndimage.gaussian_filter(1 - drawings[k] / 255.0, _BLUR).ravel() for k in kinds])  # (N, HW)
    power = (lines**2).sum(1)
    squared = power[:, None] + power - 2 * lines @ lines.T
    near = squared < NEAR**2 * np.sqrt(power[:, None] * power)
    _, labels = csgraph.connected_components(sparse.csr_array(near), directed=False)
    groups = [[k for k, label in zip(kinds, labels, strict=True) if label == one] for one in np.unique(labels)]
    return [group for group in groups if len(group) > 1]


def main() -> None:
    """Write the list."""
    contents: dict[Emoji, bytes] = {}
    for name, content in sorted(pictures(fetch(FLUENT, default_cache()), FLUENT)):
        contents.setdefault(kind(parse(name)), content)
    drawings = {k: line_drawing(np.asarray(decode(content, _SIZE)), _SIGMA) for k, content in contents.items()}
    groups = near_duplicates(drawings)
    head = "# Kinds of emoji with nearly the same picture, a group in each line; written by near_duplicates.py\n"
    text = head + "".join(" ".join(map(file_name, group)) + "\n" for group in groups)
    NEAR_DUPLICATES.write_text(text, encoding="utf-8")
    print(f"{len(groups)} groups of {sum(map(len, groups))} kinds, of {len(contents)}")


if __name__ == "__main__":
    sys.exit(main())
