"""Atomic writes of files, with the permissions of the user's umask."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from kd_plugin.files import write_atomically, write_text_atomically


@pytest.mark.skipif(os.name == "nt", reason="no umask on Windows")
@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022, 0o002])
def test_permissions_are_those_of_a_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text_atomically(tmp_path / "ours", "text")
        (tmp_path / "plain").write_text("text")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("ours", "plain")]
    assert modes[0] == modes[1] == 0o666 & ~mask


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    with pytest.raises(ZeroDivisionError):
        write_atomically(file, lambda stream: stream.write(b"half") / 0)
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_text_atomically(tmp_path / "nowhere" / "file", "text")


def test_no_random_numbers_are_drawn(tmp_path: Path) -> None:
    before = random.getstate()
    write_text_atomically(tmp_path / "file", "text")
    assert random.getstate() == before
