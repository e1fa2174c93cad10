"""Flat and three-dimensional pictures of emoji, unpaired: a task of the family of horse2zebra.

``python examples/datasets/flat2fluent.py OUT`` writes ``OUT/trainA``, ``trainB``, ``valA`` and so on. Domain A is the
npm package ``@twemoji/svg``, domain B ``@lobehub/fluent-emoji-3d``, both on white. The pictures for training are of
different emoji, so none has a counterpart. Those of val and test are of the same emoji, and have its name in both
domains, so a translation can be compared with the true picture.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

try:
    from emoji_groups import draw, file_name, group, parse, read_groups, split
    from emoji_pictures import decode, on_white, rasterise
    from folders import Drawn, command
    from packages import FLUENT, TWEMOJI, pictures
except ModuleNotFoundError as error:
    print(f"flat2fluent: error: no module '{error.name}': pip install -e '.[datasets]'", file=sys.stderr)
    raise SystemExit(2) from None


def make(archives: list[Path], size: int) -> Iterator[Drawn]:
    """Yield the pictures of both domains."""
    flat, fluent = (
        {parse(name): content for name, content in pictures(archive, package)}
        for archive, package in zip(archives, (TWEMOJI, FLUENT), strict=True)
    )
    groups = read_groups()
    both = sorted(set(flat) & set(fluent))
    sides = split(both, groups)
    for number, emoji in enumerate(both, 1):
        own, domains = group(emoji, groups), "AB"
        if sides[emoji] == "train":
            domains = "A" if draw(own, "domain") < 0.5 else "B"
        for domain in domains:
            content = rasterise(flat[emoji]) if domain == "A" else fluent[emoji]
            path = f"{sides[emoji]}{domain}/{file_name(emoji)}.png"
            yield Drawn(path, on_white(decode(content, size)), file_name(own), number / len(both))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    about = "Flat and three-dimensional pictures of emoji, unpaired."
    return command("flat2fluent", about, [TWEMOJI, FLUENT], make, arguments)


if __name__ == "__main__":
    sys.exit(main())
