"""``kd plan --runtime``, and the timings of ``kd export --bench``: each generator in each runtime, side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.generators import random_generator, save_generator

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.export import latency
from kd_plugin.export.bench import Timing, time_generators, timing_table
from kd_plugin.export.latency import RuntimeLatencies

LARGE = GeneratorSpec("resnet", 3, 3, 16, 2, "instance", False, True)
SMALL = GeneratorSpec("resnet", 3, 3, 4, 2, "instance", False, True)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_generator_is_exported_once_and_every_one_is_timed(
    runtime: latency.Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    written = []
    write = latency.onnx_file.write

    def counted(graph, file):  # type: ignore[no-untyped-def]
        written.append(graph)
        write(graph, file)

    monkeypatch.setattr(latency.onnx_file, "write", counted)
    measure, done = RuntimeLatencies(runtime), []
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = measure([LARGE, SMALL], 64, rounds=3, progress=done.append)
    measure([SMALL], 64, rounds=1)
    assert len(written) == 2 and len(first) == 2 and all(0 < seconds < 10 for seconds in first)
    assert done == sorted(done) and done[-1] == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_a_plan_is_measured_in_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With times that are known: proportional to the width."""
    save_generator(tmp_path, LARGE)
    calls = []

    def timed(self, specs, size, device="cpu", rounds=5, progress=lambda done: None):  # type: ignore[no-untyped-def]
        calls.append(len(specs))
        return [spec.ngf / 1000 for spec in specs]

    monkeypatch.setattr(RuntimeLatencies, "__call__", timed)
    assert main(["plan", str(tmp_path), "--size", "64", "--runtime", "onnx", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["runtime"] == "onnx" and calls
    assert all(student["latency"] == student["ngf"] / 1000 for student in plan["students"])
    assert main(["plan", str(tmp_path), "--size", "64", "--runtime", "onnx"]) == 0
    assert "one image of 64x64 on cpu, 1 threads, ONNX Runtime" in capsys.readouterr().out.replace(
        "2 threads", "1 threads"
    )


@pytest.mark.parametrize("more", [["--paper"], ["--device", "cuda"]])
def test_the_papers_and_gpus_are_measured_in_pytorch(
    tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [] if more == ["--paper"] else [str(save_generator(tmp_path, LARGE))]
    assert main(["plan", *given, "--runtime", "onnx", *more]) == 2
    assert f"measures the students of a teacher on the CPU: remove {' '.join(more)}" in capsys.readouterr().err


def test_every_runtime_has_both_generators() -> None:
    networks = {"teacher": random_generator(LARGE), "student": random_generator(SMALL)}
    timings = time_generators(networks, 32, 32, rounds=1, compiled=False)
    names = [timing.runtime for timing in timings]
    assert names[:4] == ["PyTorch", "PyTorch, channels_last", "ONNX Runtime", "ONNX Runtime, int8"]
    assert all(list(timing.seconds) == ["teacher", "student"] for timing in timings)
    for timing in timings:
        assert (set(timing.psnr) == {"teacher", "student"}) == ("int8" in timing.runtime or "bf16" in timing.runtime)
        assert all(psnr > 15 for psnr in timing.psnr.values())


def test_grey_images() -> None:
    grey = GeneratorSpec("resnet", 1, 1, 4, 1, "batch", False, False)
    timings = time_generators({"generator": random_generator(grey)}, 32, 32, 1, rounds=1, compiled=False)
    assert all(timing.seconds["generator"] > 0 for timing in timings)


def test_the_table_has_ratios() -> None:
    timings = [
        Timing("PyTorch", {"teacher": 0.8, "student": 0.2}, {}),
        Timing("ONNX Runtime, int8", {"teacher": 0.3, "student": 0.05}, {"teacher": 31.0, "student": 36.25}),
    ]
    lines = [line.split() for line in timing_table(timings).splitlines()]
    assert lines[1] == ["PyTorch", "800.0", "ms", "200.0", "ms", "4.00x", "4.00x"]
    assert lines[2] == ["ONNX", "Runtime,", "int8", "300.0", "ms", "50.0", "ms", "6.00x", "16.00x", "36.2", "dB"]
    alone = timing_table([Timing("PyTorch", {"generator": 0.2}, {}), Timing("OpenVINO", {"generator": 0.1}, {})])
    assert alone.splitlines()[2].split() == ["OpenVINO", "100.0", "ms", "2.00x"]
