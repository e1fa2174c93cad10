"""The benchmark runs; what it measures is no test."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import REPOSITORY, run, succeed


def test_tiny(tmp_path: Path) -> None:
    """All tables, no row left out for a missing package, and the page it is asked to write."""
    page = tmp_path / "benchmarks.md"
    shutil.copy(REPOSITORY / "docs" / "benchmarks.md", page)
    bench = str(REPOSITORY / "benchmarks" / "bench.py")
    text = succeed(run([bench, "--tiny", "--device", "cpu", "--write", str(page)], tmp_path)).stdout
    assert "left out" not in text and text.count("| wavelet, ") == 3 and text.count("| srp, ") == 3
    written = page.read_text()
    assert text.strip() in written and written.count("<!-- cpu:") == 2 and "## GPU" in written
    again = succeed(run([bench, "--tiny", "--device", "cpu", "--write", str(page)], tmp_path)).stdout
    assert again.strip() in page.read_text() and text.strip() not in page.read_text()
