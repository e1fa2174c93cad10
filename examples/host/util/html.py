"""A page of labelled images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import dominate
from dominate import tags


class HTML:
    """The page ``<web_dir>/index.html`` with images in ``<web_dir>/images/``."""

    def __init__(self, web_dir: str | os.PathLike[str], title: str, refresh: int = 0) -> None:
        self.web_dir = Path(web_dir)
        self.img_dir = self.web_dir / "images"
        self.img_dir.mkdir(parents=True, exist_ok=True)
        self.doc = dominate.document(title=title)
        with self.doc.head:
            tags.meta(charset="utf-8")
            if refresh > 0:
                tags.meta(http_equiv="refresh", content=str(refresh))

    def get_image_dir(self) -> str:
        """Return the image folder of this page."""
        return str(self.img_dir)

    def add_header(self, text: str) -> None:
        """Append a heading."""
        self.doc.add(tags.h3(text))

    def add_images(self, ims: Sequence[str], txts: Sequence[str], links: Sequence[str], width: int = 256) -> None:
        """Append a row of images, given their file names, labels and link targets in the image folder."""
        row = tags.tr()
        for image, text, link in zip(ims, txts, links, strict=True):
            picture = tags.img(src=quote(f"images/{image}"), style=f"width:{width}px", alt=text)
            cell = tags.td(tags.a(picture, href=quote(f"images/{link}")), tags.br(), text)
            cell["style"] = "text-align:center; vertical-align:top; padding:4px; word-wrap:break-word"
            row.add(cell)
        self.doc.add(tags.table(row, style="table-layout:fixed; border:1px solid #ccc"))

    def save(self) -> None:
        """Write the page."""
        (self.web_dir / "index.html").write_text(self.doc.render(), encoding="utf-8")
