"""Draw test images and what the generators make of them: ``python examples/study/samples.py study_output/cpu``.

A column for each recipe of one size and seed; the rows are evenly spaced over the names of the test images, without
selection.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from commands import CHOSEN_EPOCH
from measure import Images, load, translate
from PIL import Image, ImageDraw
from plan import TEACHER, Cell
from recipes import MAIN, RECIPES
from tasks import find_task

from kd_plugin.errors import KDError

_SCALE, _MARGIN, _HEAD = 2, 4, 64  # of a pixel; pixels between images; height of the titles
_LETTERS = 18  # of a line of a title


def draw_samples(study: Path, task: str, size: str, seed: int, rows: int, side: int) -> Image.Image:
    """Return the picture.

    Raises:
        KDError: no cell of this size and seed has been run.
    """
    images = Images(find_task(task, study / "data" / task, study / "links"), "test", side, "cpu")
    files = sorted((study / "runs" / Cell(task, TEACHER, "", 0).key).glob(f"{CHOSEN_EPOCH}_net_G*.pth"))
    columns = {"input": (images.inputs + 1) / 2}
    if images.paired:
        columns["truth"] = images.reals
    if files:
        columns["teacher"] = translate(load(files[0], images), images)
    for recipe in MAIN:
        file = study / "weights" / f"{Cell(task, recipe, size, seed).key}.pth"
        if file.is_file():
            columns[RECIPES[recipe].short] = translate(load(file, images), images)
    if len(columns) < 4:
        raise KDError(f"{study / 'weights'}: no students of {task}, {size}, seed {seed}: run their cells first")
    chosen = np.linspace(0, len(images.inputs) - 1, rows).round().astype(int)
    step = _SCALE * side + _MARGIN
    page = Image.new("RGB", (step * len(columns) - _MARGIN, _HEAD + step * rows - _MARGIN), "white")
    draw = ImageDraw.Draw(page)
    for x, (title, tensors) in enumerate(columns.items()):
        lines = textwrap.fill(title, _LETTERS)
        draw.text((x * step + step / 2, _HEAD / 2), lines, fill="black", anchor="mm", align="center", font_size=13)
        for y, index in enumerate(chosen):
            array = (255 * tensors[index]).round().to(torch.uint8).permute(1, 2, 0).numpy()
            tile = Image.fromarray(array).resize((_SCALE * side, _SCALE * side), Image.Resampling.NEAREST)
            page.paste(tile, (x * step, _HEAD + y * step))
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture; return the exit status."""
    parser = argparse.ArgumentParser(prog="samples.py", description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a study")
    parser.add_argument("--task", default="edges2emoji")
    parser.add_argument("--size", default="7x")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--side", type=int, default=64, help="of the images of the study (default: %(default)s)")
    parser.add_argument("--figure", type=Path, default=Path("samples.png"), metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        page = draw_samples(options.study, options.task, options.size, options.seed, options.rows, options.side)
    except KDError as error:
        print(f"samples: error: {error}", file=sys.stderr)
        return 2
    page.quantize(256).save(options.figure, optimize=True)  # a fifth of the size
    return 0


if __name__ == "__main__":
    sys.exit(main())
