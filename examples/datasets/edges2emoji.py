"""Line drawings and pictures of emoji, in pairs: a task of the family of edges2shoes.

``python examples/datasets/edges2emoji.py OUT`` writes ``OUT/train``, ``val`` and ``test`` in the hosts' aligned
format, the drawing (A) on the left and the picture (B) on the right of one PNG. The pictures are those of the npm
package ``@lobehub/fluent-emoji-3d``, on white.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

try:
    import numpy as np
    from emoji_groups import file_name, group, parse, read_groups, split
    from emoji_pictures import decode, on_white
    from folders import Drawn, command
    from line_drawing import line_drawing
    from packages import FLUENT, pictures
    from PIL import Image
except ModuleNotFoundError as error:
    print(f"edges2emoji: error: no module '{error.name}': pip install -e '.[datasets]'", file=sys.stderr)
    raise SystemExit(2) from None

_SIGMA = 1 / 128  # of the smoothing, as a share of the picture's side
_LEAST_SIGMA = 0.8  # in pixels: with less, the derivatives of small pictures are noise


def make(archives: list[Path], size: int) -> Iterator[Drawn]:
    """Yield the pairs, 2 ``size`` wide."""
    (archive,) = archives
    contents = {parse(name): content for name, content in pictures(archive, FLUENT)}
    groups = read_groups()
    sides = split(contents, groups)
    for number, emoji in enumerate(sorted(contents), 1):
        picture = decode(contents[emoji], size)
        drawing = line_drawing(np.asarray(picture), max(size * _SIGMA, _LEAST_SIGMA))
        pair = Image.new("RGB", (2 * size, size))
        pair.paste(Image.fromarray(drawing).convert("RGB"), (0, 0))
        pair.paste(on_white(picture), (size, 0))
        path = f"{sides[emoji]}/{file_name(emoji)}.png"
        yield Drawn(path, pair, file_name(group(emoji, groups)), number / len(contents))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return command("edges2emoji", "Line drawings and pictures of emoji, in pairs.", [FLUENT], make, arguments)


if __name__ == "__main__":
    sys.exit(main())
