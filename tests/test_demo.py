"""A minimal demo, from photographs to the report, and its errors."""

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

from kd_plugin.metrics.intervals import difference_interval, mean_interval
from kd_plugin.report.results import Difference, Direction, Measure, Subject

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
    content = json.loads((output / "report.json").read_text())
    (direction,) = content["directions"]
    assert direction["images"] == 12 and not content["problems"]
    teacher, alone, distilled, compressed = (s["cost"] for s in direction["subjects"] if s["cost"])
    assert (
        alone["params"] == distilled["params"] == compressed["params"]
        and 6.5 < teacher["params"] / alone["params"] < 7.5
    )
    psnr = next(m for m in direction["measures"] if m["key"] == "psnr_truth")["values"]
    assert psnr.keys() == {"input", "teacher", "student1", "student2", "student3"}
    assert len({psnr[f"student{i}"]["value"] for i in (1, 2, 3)}) == 3
    errors = {k: {n: e["value"] for n, e in v.items()} for k, v in direction["frequency"]["bands"].items()}
    for name, differences in direction["frequency"]["differences"].items():
        expected = [errors[d["first"]][name] - errors[d["second"]][name] for d in differences]
        assert [d["value"]["value"] for d in differences] == expected and len(expected) == 6
    assert content["settings"]["distillation"] == "wavelet \u00d7 100, srp \u00d7 1000"
    assert [re.search(r"--n_epochs (\d+)", command)[1] for command in content["commands"][:3]] == ["1"] * 3
    trained = {re.sub(r"_\d+$", "", Path(f).stem) for f in (f.name for f in (output / "data" / "train").iterdir())}
    tested = {re.sub(r"_\d+$", "", Path(f).stem) for f in (f.name for f in (output / "data" / "test").iterdir())}
    assert trained and tested and not trained & tested  # whole photographs are held out
    page = (output / "index.html").read_text()
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) >= 5 and all((output / source).is_file() for source in sources)
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page
    for value in psnr.values():
        assert f"{value['value']:.2f}" in page
    for sample in direction["samples"]:  # those of the host's test, which rounds where hosts round down
        compressed = ("student3", "student_compressed")
        for key, name in (("teacher", "teacher"), ("student2", "student_distilled"), compressed):
            tested = output / "results" / name / "test_latest" / "images" / f"{Path(sample['name']).stem}_fake_B.png"
            reported, saved = (np.asarray(Image.open(f), int) for f in (output / sample["images"][key], tested))
            assert np.abs(reported - saved).max() <= 1
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


def measure(title: str, crops: dict[str, np.ndarray]) -> Measure:
    """A measure of the report, from its values on the crops."""
    students = ("student1", "student2", "student3")
    pairs = [*((key, "teacher") for key in students), ("student2", "student1")]
    differences = tuple(Difference(a, b, difference_interval(crops[a], crops[b])) for a, b in pairs)
    values = {key: mean_interval(array) for key, array in crops.items()}
    return Measure(title, title, "dB", True, "ground truth", 2, values, differences)


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
    table = module("table")
    alone = 24 + 3 * np.random.default_rng(0).standard_normal(48)  # crops differ by far more than generators do
    unsettled = noise * np.tile((1, -1), 24)  # its standard error is noise / sqrt(47)
    crops = {"teacher": alone + better + unsettled, "student1": alone, "student2": alone + gain}
    crops["student3"] = alone  # closes nothing
    psnr, equal = measure("PSNR", crops), measure("SSIM", dict.fromkeys(crops, alone))
    assert table.gap_closed(psnr) == (None if closed is None else pytest.approx(closed))
    assert table.gap_closed(psnr, "student3") == (None if closed is None else 0)
    assert table.gap_closed(equal) is None
    subjects = tuple(Subject(key, key, "student" if "student" in key else "teacher") for key in crops)
    printed_table = table.table(Direction("AtoB", 48, "", subjects, (psnr, equal)))
    distilled, compressed = (re.split(" {2,}", line) for line in printed_table.splitlines()[-2:])
    assert distilled == ["gap closed, distilled", printed, "no gap"]
    assert compressed == ["gap closed, compressed", "no gap" if closed is None else "0%", "no gap"]


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
