"""Photographs and degraded copies of them, in pairs: the restoration task of the demo, with more pictures.

``python examples/datasets/photographs.py OUT --size 64`` writes ``OUT/train``, ``val`` and ``test`` in the hosts'
aligned format, the degraded photograph (A) on the left and the original (B) on the right of one PNG. The photographs
are those in the scikit-image wheel. Each is on one side of the split, and a group.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "demo"))

try:
    import numpy as np
    from dataset import (
        TEST_PHOTOGRAPHS,
        TRAIN_PHOTOGRAPHS,
        Task,
        degrade,
        even_crops,
        photograph_folder,
        random_tiles,
    )
    from folders import Drawn, command
    from PIL import Image
except ModuleNotFoundError as error:
    print(f"photographs: error: no module '{error.name}': pip install -e '.[datasets]'", file=sys.stderr)
    raise SystemExit(2) from None

_VAL = ("motorcycle_left.png",)
_SPLIT = {
    "train": tuple(name for name in TRAIN_PHOTOGRAPHS if name not in _VAL),
    "val": _VAL,
    "test": TEST_PHOTOGRAPHS,
}
_TILES = {"train": 240, "val": 96}  # of each photograph, at random places
_LICENCES = """The photographs are those that scikit-image distributes (https://scikit-image.org), whose folder
skimage/data has their sources and licences in README.txt. Here they are cut into tiles and degraded.
"""


def make(archives: list[Path], size: int) -> Iterator[Drawn]:
    """Yield the pairs, 2 ``size`` wide."""
    folder, done = photograph_folder(), 0
    total = sum(len(names) for names in _SPLIT.values())
    for phase, names in _SPLIT.items():
        task = Task(crop_size=size, tile_size=size, tiles=_TILES.get(phase, 0))
        for name in names:
            generator = np.random.default_rng([len(phase), done])
            with Image.open(folder / name) as opened:
                photograph = np.asarray(opened.convert("RGB"))
            if phase == "test":
                cells = (photograph.shape[0] // size) * (photograph.shape[1] // size)
                tiles = even_crops(photograph, Task(crop_size=size, test_crops=cells))
            else:
                tiles = random_tiles(photograph, task, generator)
            done += 1
            group = Path(name).stem
            for number, tile in enumerate(tiles):
                pair = Image.fromarray(np.concatenate((degrade(tile, task, generator), tile), axis=1))
                yield Drawn(f"{phase}/{group}_{number:03d}.png", pair, group, done / total)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    return command("photographs", "Degraded photographs and the originals, in pairs.", [], make, arguments, _LICENCES)


if __name__ == "__main__":
    sys.exit(main())
