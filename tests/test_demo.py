"""A minimal demo, from photographs to page, and its errors."""

from __future__ import annotations

import functools
import importlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers.commands import REPOSITORY, Forked, run
from PIL import Image

from kd_plugin.metrics.cost import Cost
from kd_plugin.metrics.quality import BandErrors, Quality

pytest.importorskip("skimage")

DEMO = REPOSITORY / "examples" / "demo" / "demo.py"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import one of the demo's modules."""
    monkeypatch.syspath_prepend(DEMO.parent)
    return importlib.import_module


def fork_logged(
    command: Sequence[str], folder: Path, environment: dict[str, str], log: Path, on_line: Callable[[str], None]
) -> None:
    """The demo's ``run_logged`` for commands of Python, but forked."""
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as output:
        ended = Forked([*command[1:]], folder, environment, output).finish()
    assert command[0] == sys.executable and ended.returncode == 0, ended.stderr + log.read_text()
    for line in log.read_text().splitlines(keepends=True):
        on_line(line)


@pytest.mark.slow
def test_small_demo(
    module: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output, demo = tmp_path / "out", module("demo")
    monkeypatch.setattr(module("training"), "run_logged", fork_logged)
    monkeypatch.setattr(demo, "Task", functools.partial(module("dataset").Task, tiles=12, test_crops=6))
    monkeypatch.setattr(demo.signal, "signal", lambda *handler: None)
    assert demo.main(["--minutes", "1", "--epochs", "1", "--output", str(output)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"page: {output / 'index.html'}")
    results = json.loads((output / "results.json").read_text())
    rows = {row["name"]: row for row in results["rows"]}
    assert all(len(row["crops"]) == results["pairs"]["test"] for row in rows.values())
    teacher, alone, distilled = (rows[name] for name in ("teacher", "student_alone", "student_distilled"))
    assert alone["cost"] == distilled["cost"] and 6.5 < teacher["cost"]["params"] / alone["cost"]["params"] < 7.5
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


def test_children_are_logged_line_by_line(module: Callable[[str], ModuleType], tmp_path: Path) -> None:
    process, lines = module("process"), []
    shared = tmp_path, {}, tmp_path / "logs" / "child.txt", lines.append
    process.run_logged([sys.executable, "-c", "print('one')\nprint('two')"], *shared)
    assert lines == ["one\n", "two\n"] and shared[2].read_text() == "one\ntwo\n"
    with pytest.raises(process.ChildError, match=r"exit status 3; .*child.txt:\nall is lost"):
        process.run_logged([sys.executable, "-c", "print('all is lost')\nraise SystemExit(3)"], *shared)


def quality(values: np.ndarray) -> Quality:
    """The quality of crops of which only the PSNR matters."""
    return Quality(len(values), 0.1, float(values.mean()), 0.5, BandErrors(0.1, 0.2, 0.3, 0.4))


@pytest.mark.parametrize(
    ("better", "noise", "gain", "closed", "printed"),
    [
        (1e-5, 0.2, 0.005, None, "no gap"),  # 50000 % of next to nothing
        (0.05, 0.2, 0.1, None, "no gap"),  # 1.7 standard errors
        (0.07, 0.2, 0.035, 0.5, "50%"),  # 2.4
        (1e-5, 0, 1e-3, 100.0, "over 100%"),  # as little as the first, but the same on every crop
        (0.1, 0, -1.0, -10.0, "under -100%"),
        (-1.0, 0.2, 0.5, None, "no gap"),
    ],
)
def test_there_is_no_gap_within_the_noise(
    module: Callable[[str], ModuleType],
    better: float,
    noise: float,
    gain: float,
    closed: float | None,
    printed: str,
) -> None:
    results, table = module("results"), module("table")
    alone = 24 + 3 * np.random.default_rng(0).standard_normal(48)  # crops differ by far more than generators do
    unsettled = noise * np.tile((1, -1), 24)  # its standard error is noise / sqrt(47)
    crops = {"teacher": alone + better + unsettled, "alone": alone, "distilled": alone + gain}
    rows = tuple(
        results.Row(name, name, quality(values), tuple(map(quality, np.split(values, 48))), Cost(1000, 1000, 4000))
        for name, values in crops.items()
    )
    found = results.Results(rows, ("alone", "distilled"), {}, {}, {}, {}, 0, 1, 1, (), {}, (), None)
    assert results.gaps(found)["PSNR"] == (None if closed is None else pytest.approx(closed))
    assert results.gaps(found)["SSIM"] is None  # equal
    assert re.split(" {2,}", table.table(found).splitlines()[-1])[:3] == ["gap closed", "no gap", printed]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "--minutes 0: give a number above 0"),
        (["--minutes", "nan"], "--minutes nan"),
        (["--epochs", "0"], "--epochs 0: give a whole number"),
        (["--output", "."], "contains files not created by the demo"),
    ],
)
@pytest.mark.slow
def test_refuses(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    result = run([str(DEMO), *arguments], tmp_path)
    assert result.returncode == 2 and message in result.stderr and result.stderr.count("\n") == 1
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.txt"]
