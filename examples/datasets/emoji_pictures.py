"""Decode and resize pictures of emoji."""

from __future__ import annotations

import io

from PIL import Image

from kd_plugin.errors import KDError

LARGEST_SIZE = 256  # of the pictures in the packages


def decode(content: bytes, size: int) -> Image.Image:
    """Return a picture as RGBA of ``size`` x ``size`` pixels, centred if it is not square."""
    with Image.open(io.BytesIO(content)) as opened:
        picture = opened.convert("RGBA")
    side = max(picture.size)
    if picture.size != (side, side):
        square = Image.new("RGBA", (side, side))
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        picture = square
    if side == size:
        return picture
    # Colours are weighted by alpha ("RGBa"), or those of transparent pixels would enter the outline.
    return picture.convert("RGBa").resize((size, size), Image.Resampling.LANCZOS).convert("RGBA")


def on_white(picture: Image.Image) -> Image.Image:
    """Return an RGBA picture as RGB on a white ground."""
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def rasterise(svg: bytes) -> bytes:
    """Return an SVG as a PNG of 256 x 256 pixels, by resvg.

    Raises:
        KDError: resvg-py is not installed.
    """
    try:
        from resvg_py import svg_to_bytes
    except ModuleNotFoundError as error:
        raise KDError("the flat pictures are SVGs, which resvg draws: pip install resvg-py") from error
    # No picture has text; system fonts would be read anew for each.
    return bytes(
        svg_to_bytes(svg_string=svg.decode(), width=LARGEST_SIZE, height=LARGEST_SIZE, skip_system_fonts=True)
    )
