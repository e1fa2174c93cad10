"""``kd plan``: tables, JSON and errors, in this process, with fixed latencies."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.commands.plan_output import _times
from kd_plugin.metrics.cost import generator_cost
from kd_plugin.networks.generator import build_generator

TEACHER = GeneratorSpec("resnet", 3, 3, 16, 6, "instance", False, True)


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A millisecond for every million operations; separable convolutions take ten times as long for theirs."""

    def count(specs, size, device="cpu", rounds=5, progress=lambda done: None):  # type: ignore[no-untyped-def]
        slow = [10 if spec.conv == "separable" else 1 for spec in specs]
        return [generator_cost(spec, size).macs * 1e-9 * factor for spec, factor in zip(specs, slow, strict=True)]

    monkeypatch.setattr("kd_plugin.students.plan.generator_latencies", count)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    torch.save(build_generator(TEACHER).state_dict(), tmp_path / "latest_net_G.pth")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plan", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plan", *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    return error.removeprefix("kd: error: ")


def test_a_table(big: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--teacher", str(big), "--size", "64", "--macs", "4x")
    lines = text.splitlines()
    assert lines[0] == f"{big}/latest_net_G.pth: resnet_6blocks, ngf 16" and "one image of 64x64 on cpu" in lines[1]
    table = lines[: lines.index("", 4)]
    rows = [line for line in table if "--student_ngf" in line]
    taken = [float(re.search(r"([\d.]+) ms", row)[1]) for row in rows]  # type: ignore[index]
    assert taken == sorted(taken) and len({row.index("--student") for row in rows}) == 1
    own = generator_cost(TEACHER, 64)
    assert all(generator_cost(spec_of(row), 64).macs <= own.macs / 4 for row in rows)
    assert any(row.startswith("*") for row in rows)
    assert f"--teacher {big} with" in lines[-1]  # as it was given: two generators need their folder
    assert "* fewer MACs than another student, but not faster (depthwise convolutions" in text


def test_the_teacher_needs_no_option(big: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--size", "64", str(big)) == said(capsys, "--teacher", str(big), "--size", "64")


def test_former_names(big: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--size-mb says its unit, so its numbers need none."""
    expected = said(capsys, str(big), "--size", "64", "--file-size", ".2MB")
    for former in ("--size-mb=.2", "--size_mb=.2MB"):
        assert said(capsys, str(big), "--size", "64", former) == expected


def test_the_slow_ones_are_hidden(big: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, str(big), "--size", "64")
    found = json.loads(said(capsys, str(big), "--size", "64", "--json"))
    assert all(student["latency"] <= found["teacher"]["latency"] for student in found["students"])
    assert found["hidden"] > 0 and f"\n{found['hidden']} students are not listed: slower than the teacher on" in text


def test_all_are_slow(big: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is listed or recommended, and the page says why."""

    def slow(specs, size, device="cpu", rounds=5, progress=lambda done: None):  # type: ignore[no-untyped-def]
        return [1.0 if spec == TEACHER else 2.0 for spec in specs]

    monkeypatch.setattr("kd_plugin.students.plan.generator_latencies", slow)
    text = said(capsys, str(big), "--size", "64")
    found = json.loads(said(capsys, str(big), "--size", "64", "--json"))
    assert text.endswith(f"{found['hidden']} students are not listed: slower than the teacher on this machine.\n")
    assert found["students"] == found["recommended"] == [] and "--student_ngf" not in text


@pytest.mark.parametrize("limits", ["", "--macs 7x", "--latency 2x", "--file-size 150KB"])
def test_ends_with_what_to_begin_with(big: Path, capsys: pytest.CaptureFixture[str], limits: str) -> None:
    """As many lines as JSON has, with the flags of listed students; between them they are best in all three."""
    arguments = [str(big), "--size", "64", *limits.split()]
    found = json.loads(said(capsys, *arguments, "--json"))
    page = said(capsys, *arguments)
    assert sorted(m for each in found["recommended"] for m in each["best"]) == ["file_size", "latency", "macs"]
    section = page.split("Recommended among")[1].splitlines()[1:]
    within = page.split("Recommended among")[1].splitlines()[0]
    assert (limits.split() or ["wavelet paper)"])[-1] in within
    listed = [student["flags"] for student in found["students"]]
    for line, each in zip(section, found["recommended"], strict=False):
        assert each["flags"] in listed and line.endswith(each["flags"])
        assert ("fastest" in line) == ("latency" in each["best"])


def spec_of(row: str) -> GeneratorSpec:
    depth = re.search(r"--student_netG resnet_(\d)blocks", row)
    ngf = re.search(r"--student_ngf (\d+)", row)
    conv = "separable" if "--student_conv separable" in row else "standard"
    return replace(TEACHER, depth=int(depth[1]) if depth else 6, ngf=int(ngf[1]), conv=conv)  # type: ignore


def test_json(big: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "--teacher", str(big / "latest_net_G.pth"), "--size", "64", "--json"))
    assert found["teacher"]["ngf"] == 16 and found["size"] == 64 and len(found["students"]) > 5
    for student in found["students"]:
        spec = spec_of(student["flags"])
        assert (student["ngf"], student["conv"]) == (spec.ngf, spec.conv)
        assert student["params"] == generator_cost(spec, 64).params and student["latency"] > 0
    assert {student["slower_with_fewer_macs"] for student in found["students"]} == {True, False}


def test_the_papers_students(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--paper")
    first = next(line for line in text.splitlines() if line.startswith("WKD, CVPR 2022 ") and "64 -> 24" in line)
    assert "11.378 M -> 1.606 M   7.08x" in first and "49.55 G -> 7.26 G   6.82x" in first
    assert first.endswith("6.82x") and first.count("6.82x") == 2  # the times of this test go with the operations
    assert text.count("SRP, ECCV 2020") == 2 and text.count("frequency study  unet_256") == 2
    found = json.loads(said(capsys, "--paper", "--json"))
    assert [row["student"]["ngf"] for row in found["students"]] == [24, 32, 16, 32, 16]


@pytest.mark.parametrize(
    "teacher",
    [
        replace(TEACHER, ngf=64, widths=(64, 64, 64)), replace(TEACHER, ngf=8, widths=(8, 40, 64)),
        replace(TEACHER, conv="separable", ngf=7), GeneratorSpec("unet", 1, 1, 5, 6, "batch", False, False),
    ],
)  # fmt: skip
def test_odd_teachers(tmp_path: Path, capsys: pytest.CaptureFixture[str], teacher: GeneratorSpec) -> None:
    """Whatever is listed is smaller than the teacher, and where there is something between, it is."""
    torch.save(build_generator(teacher).state_dict(), tmp_path / "G.pth")
    found = json.loads(said(capsys, "--teacher", str(tmp_path / "G.pth"), "--size", "64", "--json"))
    own = found["teacher"]
    assert all(s["params"] < own["params"] and s["macs"] < own["macs"] for s in found["students"])
    assert max(s["macs"] for s in found["students"]) > own["macs"] / 3


def test_a_teacher_without_students(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(build_generator(replace(TEACHER, ngf=3, depth=2, conv="separable")).state_dict(), tmp_path / "G.pth")
    assert "is too small to have students" in refused(capsys, "--teacher", str(tmp_path / "G.pth"), "--size", "64")


def test_ratios_are_never_rounded_up() -> None:
    assert [_times(7.086), _times(6.999), _times(2)] == ["7.08x", "6.99x", "2.00x"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "kd plan needs a teacher: kd plan checkpoints/NAME"),
        ("{} --teacher {}", "kd plan takes one teacher, not both"),
        ("--teacher {}/gone.pth", "gone.pth: no such file"),
        ("--teacher {}/empty", r"there is no \*_net_G\*.pth in this folder"),
        ("--teacher {} --macs seven", "^--macs seven: give an amount such as 8G or 7x"),
        ("--teacher {} --file-size 4G", "^--file-size 4G: give an amount such as 4MB"),
        ("{} --macs 7", r"^--macs 7: a number needs a unit: did you mean 7x \(7 times .*\) or 7G\?"),
        ("{} --file_size 4", r"^--file-size 4: a number needs a unit: did you mean 4x .* or 4MB\?"),
        ("--teacher {} --size 0", "--size 0: give 8 pixels or more"),
        (
            "--teacher {} --size 64 --params .001K",
            "params .001K allows .* ngf 4, separable, takes",
        ),
        ("--teacher {} --size 64 --latency 1us", "latency 1us allows 0.0010 ms, a resnet_4blocks of ngf 4 takes"),
        ("--teacher {} --device gpu", "--device gpu: PyTorch has no such device here"),
        ("--teacher {} --size 4", "--size 4: give 8 pixels or more"),
        ("--teacher {} --device meta", "--device meta: PyTorch has no such device here, use cpu"),
        (
            "--teacher {} --size 64 --params 1K --macs 100G",
            r"small enough: params 1K .*teacher\); increase the budget, or choose fewer blocks$",
        ),
        ("--paper --macs 7x", "--paper measures the papers' students without limits: remove --macs"),
        ("--teacher {} --paper", "--paper uses the papers' teachers: remove /"),
        ("--paper --size 100", "--size 100: the papers' U-Nets take multiples of 256"),
    ],
)
def test_refuses(big: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    (big / "empty").mkdir()
    assert re.search(message, refused(capsys, *arguments.replace("{}", str(big)).split()))
