"""The demo, from photographs to page, at its smallest; and what it says when it cannot run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import REPOSITORY, run, succeed
from PIL import Image

pytest.importorskip("skimage")

DEMO = str(REPOSITORY / "examples" / "demo" / "demo.py")


def test_small_demo(tmp_path: Path) -> None:
    output = tmp_path / "out"
    text = succeed(run([DEMO, "--minutes", "1", "--epochs", "1", "--output", str(output)], tmp_path)).stdout
    assert text.splitlines()[-1].endswith(f"page: {output / 'index.html'}")
    results = json.loads((output / "results.json").read_text())
    rows = {row["name"]: row for row in results["rows"]}
    teacher, alone, distilled = (rows[name] for name in ("teacher", "student_alone", "student_distilled"))
    assert (
        alone["cost"] == distilled["cost"] and 6.5 < teacher["cost"]["parameters"] / alone["cost"]["parameters"] < 7.5
    )
    assert alone["quality"] != distilled["quality"] and alone["epochs"] == distilled["epochs"]
    assert results["distillation"]["terms"].keys() == {"wavelet", "srp"}
    trained = {re.sub(r"_\d+$", "", Path(f).stem) for f in (f.name for f in (output / "data" / "train").iterdir())}
    tested = {re.sub(r"_\d+$", "", Path(f).stem) for f in (f.name for f in (output / "data" / "test").iterdir())}
    assert trained and tested and not trained & tested  # whole photographs are held out
    page = (output / "index.html").read_text()
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) >= 5 and all((output / source).is_file() for source in sources)
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
    for row in rows.values():
        assert f"{row['quality']['psnr']:.2f}" in page
    for picture in ("samples.png", "bands.png"):
        with Image.open(output / picture) as opened:
            assert opened.width >= 900


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "--minutes 0: give a number above 0"),
        (["--minutes", "nan"], "--minutes nan"),
        (["--epochs", "0"], "--epochs 0: give a whole number"),
        (["--output", "."], "holds files that are not the demo's"),
    ],
)
def test_refuses(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    result = run([DEMO, *arguments], tmp_path)
    assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.txt"]
