"""Samples: all images of each, and a slider between any two."""

from __future__ import annotations

from collections.abc import Iterator

from dominate import tags

from ..results import Sample
from .view import View, url

_SMALL = 256  # pixels: narrower images are enlarged, and shown with square pixels


def samples(view: View) -> None:
    """Add a card for each sample."""
    for position, sample in enumerate(view.direction.samples):
        with tags.article(cls="card sample", id=view.sample_id(position)):
            tags.h3(sample.name)
            tags.p(sample.reason, cls="soft")
            with tags.div(cls="views"):
                if len(sample.images) > 1:
                    _slider(view, sample)
                _gallery(view, sample)


def picture(sample: Sample, path: str, alt: str) -> None:
    """Add an image of a sample."""
    tags.img(
        src=url(path),
        alt=alt,
        width=sample.width,
        height=sample.height,
        loading="lazy",
        cls="small" if sample.width <= _SMALL else "",
    )


def _gallery(view: View, sample: Sample) -> None:
    """Add a column for each subject: its image, difference map and missing-detail map."""
    rows = [maps for maps in (sample.differences, sample.missing_detail) if maps]
    keys = view.order(dict.fromkeys(k for paths in (sample.images, *rows) for k in paths))
    with tags.div(cls="gallery", style=f"--_rows:{2 + len(rows)};--_columns:{len(keys)}"):
        for key in keys:
            with tags.div(cls="column"):
                with tags.div(cls="label"):
                    view.name(key)
                for title, paths in _kinds(sample):
                    with tags.figure():
                        if key in paths:
                            picture(sample, paths[key], f"{sample.name}, {view.label(key)}{title and ', ' + title}")
                            if title:
                                tags.figcaption(title)


def _kinds(sample: Sample) -> Iterator[tuple[str, dict[str, str]]]:
    yield "", sample.images
    if sample.differences:
        yield "difference", sample.differences
    if sample.missing_detail:
        yield "missing detail", sample.missing_detail


def _slider(view: View, sample: Sample) -> None:
    """Add two images above each other, and a range input that moves the edge of the upper one."""
    left, right = _first_pair(view, sample)
    with tags.div(cls="compare scripted", style=f"--_ratio:{sample.width / max(sample.height, 1):.4f}"):
        with tags.div(cls="stage", aria_hidden="true"):
            picture(sample, sample.images[right], "")
            picture(sample, sample.images[left], "")
            tags.span(cls="edge")
            tags.span(view.label(left), cls="tag left")
            tags.span(view.label(right), cls="tag right")
        slider = tags.input_(type="range", min=0, max=100, value=50, step=1)
        slider["aria-label"] = f"share of {sample.name} that shows the left image, in percent"
        with tags.div(cls="choices"):
            for side, key in (("left", left), ("right", right)):
                with tags.label(side):
                    _select(view, sample, side, key)


def _first_pair(view: View, sample: Sample) -> tuple[str, str]:
    """Return the images that the slider shows first: teacher and first student, if there are both."""
    keys = view.order(sample.images)
    wanted = [view.teacher.key] if view.teacher else []
    wanted += [student.key for student in view.students]
    first = [key for key in wanted if key in sample.images] + [key for key in keys if key not in wanted]
    return first[0], first[1]


def _select(view: View, sample: Sample, side: str, chosen: str) -> None:
    with tags.select(data_side=side):
        for title, paths in _kinds(sample):
            with tags.optgroup(label=title or "image"):
                for key in view.order(paths):
                    label = f"{view.label(key)}{title and ', ' + title}"
                    selected = {"selected": True} if key == chosen and not title else {}
                    tags.option(label, value=url(paths[key]), **selected)
