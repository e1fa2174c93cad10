"""Folders of images: links, and names that match several files."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.images import paint

from kd_plugin.errors import KDError
from kd_plugin.pictures import find_images, match_images, name_of
from kd_plugin.report.inputs import Images, Task, items_of


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    paint(tmp_path / "photos" / "a.png", 8, 8, 0)
    paint(tmp_path / "elsewhere" / "b.png", 8, 8, 1)
    for name, target in (("self", "photos"), ("one", "elsewhere"), ("two", "elsewhere")):
        (tmp_path / "photos" / name).symlink_to(tmp_path / target)
    found = [file.relative_to(tmp_path / "photos").as_posix() for file in find_images(tmp_path / "photos")]
    assert found == ["a.png", "one/b.png"]


def test_an_image_is_not_matched_with_two_inputs(tmp_path: Path) -> None:
    """Two folders of inputs have an image of one name, and the folder of results is flat, as a host's."""
    for name in ("a/1.png", "b/1.png"):
        paint(tmp_path / "photos" / name, 8, 8, 0)
    paint(tmp_path / "made" / "1.png", 8, 8, 0)
    names = [name_of(file, tmp_path / "photos") for file in find_images(tmp_path / "photos")]
    with pytest.raises(KDError, match=r"made/1.png: belongs to the inputs a/1 and b/1: keep the inputs' folders"):
        match_images(names, tmp_path / "made")
    for name in ("a/1.png", "b/1.png"):
        paint(tmp_path / "made" / name, 8, 8, 0)
    found, unused = match_images(names, tmp_path / "made")
    assert [file.relative_to(tmp_path / "made").as_posix() for file in found.values()] == ["a/1.png", "b/1.png"]
    assert [file.name for file in unused] == []


def test_images_that_differ_in_their_extension_are_two(tmp_path: Path) -> None:
    for name in ("1.png", "1.jpg"):
        paint(tmp_path / "photos" / name, 8, 8, 0)
    items, problems = items_of(Task("AtoB", Images(tmp_path / "photos")), {})
    assert [item.name for item in items] == ["1.jpg", "1.png"] and not problems
