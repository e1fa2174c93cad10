"""Draw the two figures of the README: the samples and the error of each band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from table import BANDS

from kd_plugin.files import write_atomically
from kd_plugin.report.results import Direction

_WIDTH = 1000
_ROWS = 4
_TEXT, _SOFT, _LINE = "#1c2330", "#5b6577", "#dfe3ea"
_COLOURS = {  # as on the page
    "input": "#a3aab6",
    "teacher": "#2f5d8a",
    "student1": "#2a9d6f",
    "student2": "#e0a13a",
    "student3": "#b5483f",
}


def draw_samples(direction: Direction, folder: Path, file: Path) -> None:
    """Draw the four samples of a report in ``folder`` with the most detail, enlarged by nearest-neighbour
    interpolation.
    """
    scale, gap, head = 3, 10, 34
    subjects = direction.subjects
    samples = sorted(direction.samples, key=lambda sample: -_detail(folder / sample.images["truth"]))[:_ROWS]
    size = samples[0].width * scale
    width = len(subjects) * (size + gap) - gap
    picture = Image.new("RGB", (width, head + len(samples) * (size + gap) - gap), "white")
    draw = ImageDraw.Draw(picture)
    for column, subject in enumerate(subjects):
        left = column * (size + gap)
        draw.text((left + size / 2, head / 2), subject.label, fill=_TEXT, font=_font(19), anchor="mm")
        for line, sample in enumerate(samples):
            with Image.open(folder / sample.images[subject.key]) as image:
                enlarged = image.convert("RGB").resize((size, size), Image.Resampling.NEAREST)
            picture.paste(enlarged, (left, head + line * (size + gap)))
    _save(picture, file)


def _detail(file: Path) -> float:
    """Return the mean absolute difference between neighbouring pixels, in grey levels of 255."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("L"), dtype=float)
    return float(np.abs(np.diff(pixels, axis=0)).mean() + np.abs(np.diff(pixels, axis=1)).mean())


def draw_bands(direction: Direction, file: Path) -> None:
    """Draw a bar chart with a group for each wavelet band and a bar for each row of the table."""
    assert direction.frequency is not None
    errors = {key: [bands[band].value for band in BANDS] for key, bands in direction.frequency.bands.items()}
    labels = {subject.key: subject.label for subject in direction.subjects}
    height, base, top = 420, 370, 84
    picture = Image.new("RGB", (_WIDTH, height), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((20, 14), "Error by wavelet band on held-out photographs (lower is better)", fill=_TEXT, font=_font(20))
    left = 20.0
    for key in errors:
        draw.rounded_rectangle((left, 51, left + 14, 65), 3, fill=_COLOURS[key])
        draw.text((left + 21, 58), labels[key], fill=_SOFT, font=_font(16), anchor="lm")
        left += 21 + draw.textlength(labels[key], font=_font(16)) + 26
    highest = max(map(max, errors.values()))
    group, bar = (_WIDTH - 40) / len(BANDS), 48
    for index, band in enumerate(BANDS):
        middle = 20 + group * (index + 0.5)
        for place, (key, values) in enumerate(errors.items()):
            value = values[index]
            x = middle + (place - len(errors) / 2) * bar
            y = base - (base - top - 20) * value / highest
            draw.rounded_rectangle((x + 3, y, x + bar - 3, base), 3, fill=_COLOURS[key])
            draw.text((x + bar / 2, y - 4), f"{value:.2f}", fill=_TEXT, font=_font(14), anchor="mb")
        draw.text((middle, base + 24), band, fill=_TEXT, font=_font(18), anchor="mm")
    draw.line((20, base, _WIDTH - 20, base), fill=_LINE, width=2)
    _save(picture, file)


def _save(image: Image.Image, file: Path) -> None:
    write_atomically(file, lambda stream: image.save(stream, format="PNG", optimize=True))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
