"""Draw the two figures of the README: the samples and the error of each band."""

from __future__ import annotations

import os
from pathlib import Path

from page import ROLES
from PIL import Image, ImageDraw, ImageFont
from results import BANDS, Results

_WIDTH = 1000
_TEXT, _SOFT, _LINE = "#1c2330", "#5b6577", "#dfe3ea"
_COLOURS = {
    "input": "#b4bac4",
    "teacher": "#2f5d8a",
    "student_alone": "#e0a13a",
    "student_distilled": "#2a9d6f",
}


def save_png(image: Image.Image, file: Path) -> None:
    """Write a PNG atomically."""
    temporary = file.with_name(f".{file.name}.part")
    image.save(temporary, format="PNG", optimize=True)
    os.replace(temporary, file)


def draw_samples(results: Results, images: Path, file: Path) -> None:
    """Draw the sample grid with a row for each crop, enlarged by nearest-neighbour interpolation."""
    scale, gap, head = 3, 10, 34
    size = results.task["crop_size"] * scale
    width = len(ROLES) * size + (len(ROLES) - 1) * gap
    picture = Image.new("RGB", (width, head + len(results.samples) * (size + gap) - gap), "white")
    draw = ImageDraw.Draw(picture)
    for column, (role, label) in enumerate(ROLES):
        left = column * (size + gap)
        draw.text((left + size / 2, head / 2), label, fill=_TEXT, font=_font(19), anchor="mm")
        for line, sample in enumerate(results.samples):
            with Image.open(images / f"{sample}_{role}.png") as image:
                enlarged = image.convert("RGB").resize((size, size), Image.Resampling.NEAREST)
            picture.paste(enlarged, (left, head + line * (size + gap)))
    save_png(picture, file)


def draw_bands(results: Results, file: Path) -> None:
    """Draw a bar chart with a group for each wavelet band and a bar for each row of the table."""
    height, base, top = 420, 370, 84
    picture = Image.new("RGB", (_WIDTH, height), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((20, 14), "Error by wavelet band on held-out photographs (lower is better)", fill=_TEXT, font=_font(20))
    left = 20.0
    for row in results.rows:
        draw.rounded_rectangle((left, 51, left + 14, 65), 3, fill=_COLOURS[row.name])
        draw.text((left + 21, 58), row.label, fill=_SOFT, font=_font(16), anchor="lm")
        left += 21 + draw.textlength(row.label, font=_font(16)) + 26
    highest = max(getattr(row.quality.bands, band) for row in results.rows for band in BANDS)
    group, bar = (_WIDTH - 40) / len(BANDS), 48
    for index, band in enumerate(BANDS):
        middle = 20 + group * (index + 0.5)
        for place, row in enumerate(results.rows):
            value = getattr(row.quality.bands, band)
            x = middle + (place - len(results.rows) / 2) * bar
            y = base - (base - top - 20) * value / highest
            draw.rounded_rectangle((x + 3, y, x + bar - 3, base), 3, fill=_COLOURS[row.name])
            draw.text((x + bar / 2, y - 4), f"{value:.2f}", fill=_TEXT, font=_font(14), anchor="mb")
        draw.text((middle, base + 24), band, fill=_TEXT, font=_font(18), anchor="mm")
    draw.line((20, base, _WIDTH - 20, base), fill=_LINE, width=2)
    save_png(picture, file)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
