"""Relations: a row of each network's relation matrix, for the cell of the encoding that the reader selects.

A page that was opened from a disk may not read the pixels of the images next to it, so the matrices are also written
into a script, ``relations.js``, which the page loads when they are first needed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from dominate import tags

from ...errors import KDError
from ...files import write_atomically
from ..results import Sample
from .samples import picture
from .view import View

SCRIPT = "relations.js"


def has_relations(view: View) -> bool:
    """Return whether a sample of the direction has relation matrices."""
    return any(_shown(sample) for sample in view.direction.samples)


def write_relations(views: Sequence[View], folder: Path) -> None:
    """Write the script with the relation matrices of all samples, or remove it if there are none.

    Raises:
        KDError: a matrix is missing or unreadable.
    """
    if not any(has_relations(view) for view in views):
        (folder / SCRIPT).unlink(missing_ok=True)
        return

    def write(file: BinaryIO) -> None:
        for view in views:
            for position, sample in enumerate(view.direction.samples):
                if _shown(sample):
                    _write_sample(view.sample_id(position), sample, folder, file)

    write_atomically(folder / SCRIPT, write)


def relations(view: View) -> None:
    """Add, for each sample with relations, the input image to select a cell of, and a heat map for each network."""
    tags.p(
        "A relation is the cosine similarity of two cells of the encoding. Select a cell of the first image (click, "
        "tap or arrow keys): the maps show how similar each network finds all other cells to it. A student that has "
        "learned the teacher's relations has the teacher's map.",
        cls="soft",
    )
    tags.p("The maps need JavaScript.", cls="soft unscripted")
    tags.p("Maps that were not opened before printing are left out.", cls="soft printed")
    for position, sample in enumerate(view.direction.samples):
        if _shown(sample):
            _widget(view, view.sample_id(position), sample)


def _shown(sample: Sample) -> bool:
    return bool(sample.relations) and min(sample.grid) > 0


def _background(view: View, sample: Sample) -> str:
    """Return the path of the image under the maps: the input, or else the first image."""
    inputs = [subject.key for subject in view.direction.subjects if subject.role == "input"]
    key = next((key for key in [*inputs, *view.order(sample.images)] if key in sample.images), None)
    return sample.images[key] if key else ""


def _widget(view: View, identifier: str, sample: Sample) -> None:
    rows, columns = sample.grid
    keys = view.order(sample.relations)
    reference = view.teacher.key if view.teacher and view.teacher.key in sample.relations else ""
    background = _background(view, sample)
    with tags.article(
        cls="card relations scripted",
        data_sample=identifier,
        data_rows=rows,
        data_columns=columns,
        data_script=SCRIPT,
        data_reference=reference,
    ):
        tags.h3(sample.name)
        with tags.div(cls="maps", style=f"--_ratio:{sample.width / max(sample.height, 1):.4f}"):
            with tags.figure(cls="map pick", tabindex=0, role="application") as pick:
                with tags.div(cls="layers"):
                    _layer(sample, background)
                    tags.span(cls="cell")
                tags.figcaption("input: select a cell")
            pick["aria-label"] = (
                f"{sample.name}, a grid of {rows} by {columns} cells: the arrow keys move the selected cell"
            )
            for key in keys:
                with tags.figure(cls="map", data_subject=key):
                    with tags.div(cls="layers"):
                        _layer(sample, background)
                        canvas = tags.canvas(width=columns, height=rows, role="img")
                        canvas["aria-label"] = f"relations of the selected cell, {view.label(key)}"
                        tags.span(cls="cell")
                    with tags.figcaption():
                        view.name(key)
                        tags.output(cls="distance")
        with tags.div(cls="scale"):
            tags.output("", cls="low")
            tags.span(cls="ramp")
            tags.output("", cls="high")
        tags.p("", cls="status soft", aria_live="polite")


def _layer(sample: Sample, path: str) -> None:
    if path:
        picture(sample, path, "")


def _write_sample(identifier: str, sample: Sample, folder: Path, file: BinaryIO) -> None:
    file.write(f"kdRelations({json.dumps(identifier)}, {{".encode())
    for count, (key, path) in enumerate(sample.relations.items()):
        try:
            matrix = (folder / path).read_bytes()
        except OSError as error:
            raise KDError(
                f"cannot read the relation matrix '{folder / path}' ({error.strerror}): compute the report again"
            ) from error
        file.write(f'{", " if count else ""}{json.dumps(key)}: "'.encode())
        file.write(base64.b64encode(matrix))
        file.write(b'"')
    file.write(b"});\n")
