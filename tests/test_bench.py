"""The benchmark runs, whatever it measures; and the steps of `make gpu`, without a GPU."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.commands import REPOSITORY, run, succeed


@pytest.mark.slow
def test_tiny(tmp_path: Path) -> None:
    """All tables, no row left out for a missing package, and the page it is asked to write."""
    page = tmp_path / "benchmarks.md"
    shutil.copy(REPOSITORY / "docs" / "benchmarks.md", page)
    bench = str(REPOSITORY / "benchmarks" / "bench.py")
    text = succeed(run([bench, "--tiny", "--device", "cpu", "--write", str(page)], tmp_path)).stdout
    assert "left out" not in text and text.count("| wavelet, ") == 3 and text.count("| srp, ") == 3
    written = page.read_text()
    assert text.strip() in written and written.count("<!-- cpu:") == 2 and "## GPU" in written


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    return importlib.import_module("gpu")


class TestStepsOfMakeGpu:
    def steps(self, folder: Path, **bodies: str) -> dict[str, list[str]]:
        """Commands that count their calls in a file, then run some Python."""
        count = "import sys, time; open(sys.argv[1], 'a').write('x')\n"
        return {name: [sys.executable, "-c", count + body, str(folder / name)] for name, body in bodies.items()}

    def test_what_passed_is_not_run_again(
        self, gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = tmp_path / "out" / "results"
        bodies = {
            "one": "print('2 passed')",
            "two": "sys.exit(1)",
            "three": "time.sleep(60)",
            "four": "print('1 skipped in 0.1s')",
        }
        start = time.monotonic()
        assert gpu.work(self.steps(tmp_path, **bodies), output, 2) == 3  # left
        assert time.monotonic() - start < 30
        said = capsys.readouterr().out
        assert "one: 2 passed" in said and "1 passed, 1 failed, 2 left;" in said and "more than" not in said
        assert json.loads((output / "steps.json").read_text()) == {"one": "passed", "two": "failed"}
        bodies["three"] = ""
        assert gpu.work(self.steps(tmp_path, **bodies), output, 60) == 1  # failed
        bodies["two"] = ""
        assert gpu.work(self.steps(tmp_path, **bodies), output, 60) == 0
        assert "3 passed, 1 skipped, 0 left;" in capsys.readouterr().out
        assert {name: (tmp_path / name).read_text() for name in bodies} == {
            "one": "x", "two": "xxx", "three": "xx", "four": "xx"
        }  # fmt: skip

    def test_a_step_that_no_call_has_time_for_is_named(
        self, gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert gpu.work(self.steps(tmp_path, long="time.sleep(60)"), tmp_path, 0.3) == 3
        assert "long takes more than 0.005 minutes: make gpu GPU_MINUTES=" in capsys.readouterr().out

    def test_are_all_tests_and_the_benchmark(self, gpu: ModuleType, tmp_path: Path) -> None:
        commands = gpu.steps(tmp_path / "out")
        tests = importlib.import_module("test_gpu")
        assert set(commands) == {"benchmark", *(name for name in vars(tests) if name.startswith("test_"))}
        assert all(command[-1].endswith(f"::{name}") for name, command in commands.items() if name != "benchmark")
        assert (tmp_path / "out" / "benchmarks.md").is_file()  # the page for the tables

    def test_what_is_missing_is_said_in_one_line(
        self,
        gpu: ModuleType,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert gpu.main(["--output", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert "sees no GPU" in said and said.count("\n") == 1 and not (tmp_path / "out").exists()
        monkeypatch.setattr(gpu, "PACKAGES", {"torch": "torch", "not_here": "not-here", "nor_this": "nor-this"})
        assert gpu.main([]) == 2
        said = capsys.readouterr().err
        assert "has no not-here, nor-this: use a Python" in said and said.count("\n") == 1
