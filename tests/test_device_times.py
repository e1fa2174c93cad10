"""``latency=30ms@device.json``: the times of a device, and the students that they choose."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_plugin import GeneratorSpec
from kd_plugin.compression.students import build
from kd_plugin.compression.teachers import Teacher
from kd_plugin.compression.wishes import parse_wish
from kd_plugin.errors import ArgumentError, OptionError
from kd_plugin.host.options.student import StudentOptions
from kd_plugin.metrics.cost import generator_cost
from kd_plugin.metrics.limits import Limit, parse_budget, parse_limit
from kd_plugin.networks.generator import build_generator
from kd_plugin.report.experiments import Experiment
from kd_plugin.students import student_within
from kd_plugin.students.device import DeviceTimes, Timed

TEACHER = GeneratorSpec("resnet", 3, 3, 16, 3, "instance", False, True)
UNET = GeneratorSpec("unet", 3, 3, 8, 5, "batch", None, False)
SIZE = 64
# Milliseconds by width, convolution and blocks. Of three blocks, that of 6 is slower than that of 8, as noise has it.
TIMES = {
    (12, "standard", 3): 40, (8, "standard", 3): 20, (6, "standard", 3): 22, (16, "separable", 3): 30,
    (16, "standard", 2): 60,
}  # fmt: skip


def times(teacher: GeneratorSpec = TEACHER, students: tuple[Timed, ...] = ()) -> DeviceTimes:
    students = students or tuple(
        Timed(replace(teacher, ngf=ngf, conv=conv, depth=depth), ms / 1000)  # type: ignore[arg-type]
        for (ngf, conv, depth), ms in TIMES.items()
    )
    date = "2026-01-01T00:00:00.000Z"
    return DeviceTimes(SIZE, SIZE, "WebAssembly", "Firefox", date, Timed(teacher, 0.1), students)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    times().write(tmp_path / "device.json")
    return tmp_path / "device.json"


def within(text: str, file: Path, like: GeneratorSpec = TEACHER, size: int = SIZE) -> GeneratorSpec:
    return student_within(parse_budget(text.replace("@", f"@{file}")), like, TEACHER, size)


class TestLimits:
    @pytest.mark.parametrize("text, wanted", [
        ("30ms@device.json", Limit(0.03, False, "30ms@device.json", "device.json")),
        ("3X@a=b/Phone.json ", Limit(3.0, True, "3X@a=b/Phone.json", "a=b/Phone.json")),
        ("30ms", Limit(0.03, False, "30ms")),
    ])  # fmt: skip
    def test_the_file_follows_the_amount(self, text: str, wanted: Limit) -> None:
        assert parse_limit("latency", text) == wanted
        assert parse_budget(f"latency={text},params=2x") == {"latency": wanted, "params": Limit(2.0, True, "2x")}

    @pytest.mark.parametrize("text, message", [
        ("macs=7x@device.json", "macs 7x@device.json: only a latency depends on a device: remove @device.json"),
        ("7x@device.json", "macs 7x@device.json: only a latency depends on a device: remove @device.json"),
        ("latency=7ms@", "latency 7ms@: name the file of the device's times after the @: 7ms@device.json"),
        ("latency=@device.json", "latency @device.json: give an amount such as 50ms or 3x"),
        ("latency=30@device.json", "latency 30@device.json: a number needs a unit: did you mean 30x (30 times less"),
    ])  # fmt: skip
    def test_what_is_none_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(ArgumentError) as raised:
            parse_budget(text)
        assert str(raised.value).startswith(message)


class TestDescriptions:
    @pytest.mark.parametrize("spec", [TEACHER, UNET, replace(TEACHER, widths=(16, 24, 40), conv="separable")])
    def test_they_are_what_was_written(self, spec: GeneratorSpec) -> None:
        assert GeneratorSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec

    @pytest.mark.parametrize("changes, message", [
        ({"ngf": 0}, "its channels is not valid"), ({"ngf": True}, "channels"), ({"ngf": 1 << 40}, "channels"),
        ({"depth": 10**9}, "its depth"), ({"depth": "6"}, "its depth"), ({"bias": 1}, "its bias"),
        ({"dropout": 0}, "its dropout"), ({"norm": ["batch"]}, "its norm"), ({"conv": "thin"}, "its conv"),
        ({"widths": 3}, "its widths"), ({"widths": ["a"]}, "its channels"), ({"widths": []}, "contradict each other"),
        ({"widths": [1, 2]}, "takes 3"), ({"netG": "resnet_9blocks"}, "contradict each other"),
        ({"architecture": "vit"}, "unknown architecture 'vit'"), ({"architecture": []}, "its architecture"),
        ({"more": 1}, "not the description of a generator"),
    ])  # fmt: skip
    def test_others_are_refused(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            GeneratorSpec.from_dict({**TEACHER.to_dict(), **changes})


class TestFiles:
    def test_it_is_what_was_written(self, file: Path) -> None:
        assert DeviceTimes.read(file) == times()
        content = json.loads(file.read_text())
        assert content["format"] == 1 and content["teacher"] == {"spec": TEACHER.to_dict(), "seconds": 0.1}

    @pytest.mark.parametrize("change, message", [
        (lambda content: content.update(format=2), "its format is of another version of kd_plugin, expected 1"),
        (lambda content: content.pop("format"), "it has no format"),
        (lambda content: content.pop("date"), "'date' is missing"),
        (lambda content: content.update(more=1), "'more' is unknown"),
        (lambda content: content.update(user_agent="\x1b[2J"), "its user_agent is not valid"),
        (lambda content: content.update(runtime="a" * 2000), "its runtime is not valid"),
        (lambda content: content.update(date=3), "its date is not valid"),
        (lambda content: content.update(width=0), "its width is not valid"),
        (lambda content: content.update(height=True), "its height is not valid"),
        (lambda content: content.update(students=[]), "it has no students"),
        (lambda content: content.update(students={}), "it has no students"),
        (lambda content: content["students"].append(content["students"][0]), "it has a student twice"),
        (lambda content: content.update(teacher=3), "a generator has no spec and seconds"),
        (lambda content: content["teacher"]["spec"].pop("ngf"), "not the description of a generator"),
        *((lambda content, value=value: content["students"][1].update(seconds=value), "a time is no number of sec")
          for value in (0, -1.0, float("nan"), float("inf"), True, "1", None, 1e9, 10**400)),
    ])  # fmt: skip
    def test_damaged_files_are_refused_in_one_line(
        self, file: Path, change: Callable[[dict[str, Any]], Any], message: str
    ) -> None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))
        with pytest.raises(ArgumentError) as raised:
            within("latency=30ms@", file)
        assert str(raised.value).startswith(f"{file}: no file of the times on a device: {message}")

    @pytest.mark.parametrize("content, message", [
        (b"{", "not JSON (Expecting"), (b"[" * 100_000, "not JSON ("), (b"[]", "it has no format"),
        (b"\xff", "not UTF-8"), (b'{"loss": 1}', "it has no format"),
    ])  # fmt: skip
    def test_other_files_too(self, file: Path, content: bytes, message: str) -> None:
        file.write_bytes(content)
        with pytest.raises(ArgumentError) as raised:
            within("latency=30ms@", file)
        assert str(raised.value).startswith(f"{file}: no file of the times on a device: {message}")

    def test_a_missing_file_and_a_folder(self, tmp_path: Path) -> None:
        for name, message in (("none.json", "no such file"), (".", "cannot be read ")):
            with pytest.raises(ArgumentError, match=message):
                within("latency=30ms@", tmp_path / name)


class TestChoice:
    """The oracle is the table of the times above."""

    @pytest.mark.parametrize("text, ngf", [
        ("latency=40ms@", 12), ("latency=39ms@", 8), ("latency=20ms@", 8), ("latency=2.5x@", 12), ("latency=5x@", 8),
        ("params=2x,latency=1s@", 8),  # which allows 11, but 12 and 8 are measured
    ])  # fmt: skip
    def test_the_widest_that_was_measured(self, file: Path, text: str, ngf: int) -> None:
        assert within(text, file) == replace(TEACHER, ngf=ngf)
        assert generator_cost(replace(TEACHER, ngf=12), SIZE).params > generator_cost(TEACHER, SIZE).params / 2

    def test_of_the_depth_and_convolutions_that_are_asked_for(self, file: Path) -> None:
        for like in (replace(TEACHER, conv="separable", ngf=64), replace(TEACHER, depth=2, ngf=1)):
            assert within("latency=1s@", file, like) == replace(like, ngf=16)

    def test_dropout_takes_no_time(self, tmp_path: Path) -> None:
        """A U-Net's file does not show it."""
        measured = times(UNET, students=(Timed(replace(UNET, ngf=4), 0.01),))
        measured.write(tmp_path / "device.json")
        budget = parse_budget(f"latency=3x@{tmp_path}/device.json")
        like = replace(UNET, dropout=True)
        assert student_within(budget, like, replace(UNET, dropout=False), SIZE) == replace(like, ngf=4)

    @pytest.mark.parametrize("text, message", [
        ("latency=19ms@", "latency 19ms@{file} allows 19.0 ms, a resnet_3blocks of ngf 8 takes 20.0 ms (5x less"),
        ("latency=10x@", "latency 10x@{file} allows 10.0 ms, a resnet_3blocks of ngf 8 takes 20.0 ms"),
        ("latency=30ms@,params=100x", "params 100x allows"),
        # One student keeps each limit, but none both: 8 is fast, and 6 is small.
        ("latency=20ms@,params=6.5x", "latency 20ms@{file} allows 20.0 ms, a resnet_3blocks of ngf 8 takes 20.0 ms"),
    ])  # fmt: skip
    def test_nothing_is_fast_enough(self, file: Path, text: str, message: str) -> None:
        with pytest.raises(ArgumentError) as raised:
            within(text, file)
        assert str(raised.value).startswith(f"no student is small enough: {message.format(file=file)}")
        assert str(raised.value).endswith("increase the budget, or choose fewer blocks")

    def test_another_size_kind_or_teacher(self, file: Path) -> None:
        with pytest.raises(ArgumentError, match="64x64 pixels, and the training's are 32x32: measure at that size"):
            within("latency=30ms@", file, size=32)
        kinds = "resnet_3blocks; resnet_3blocks, separable; resnet_2blocks"
        for like in (replace(TEACHER, depth=4), replace(TEACHER, depth=2, conv="separable")):
            with pytest.raises(ArgumentError, match=f"has no time of a resnet_.*; measured are {kinds}$"):
                within("latency=30ms@", file, like)
        times(replace(TEACHER, ngf=32, depth=6)).write(file)
        message = r"another teacher \(netG resnet_6blocks, not resnet_3blocks; ngf 32, not 16\): measure this one's"
        with pytest.raises(ArgumentError, match=message):
            within("latency=30ms@", file)

    def test_a_latency_without_a_device_is_refused(self) -> None:
        with pytest.raises(ArgumentError, match=r"depends on the machine: .*, latency=30ms@device\.json$"):
            student_within(parse_budget("latency=30ms"), TEACHER, TEACHER, SIZE)


class TestOptions:
    def options(self, **changes: Any) -> Namespace:
        usual = {"netG": "resnet_3blocks", "ngf": 64, "preprocess": "resize_and_crop", "crop_size": SIZE}
        return Namespace(**{**usual, "input_nc": 3, "output_nc": 3, **changes})

    def test_the_host_gets_the_width(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        opt = self.options()
        student = StudentOptions(student_budget=f"latency=30ms@{file}")
        student.check()
        student.apply(opt, TEACHER, recorded=False)
        assert opt.ngf == 8
        assert "ngf 8 is the widest measured resnet_3blocks within latency" in capsys.readouterr().out
        separable = StudentOptions(student_budget=f"latency=30ms@{file}", student_conv="separable")
        separable.apply(opt, TEACHER, recorded=False)
        assert opt.ngf == 16

    def test_a_continued_training_needs_no_file(self) -> None:
        opt = self.options()
        StudentOptions(student_budget="latency=30ms@gone.json").apply(opt, TEACHER, recorded=True)
        assert opt.ngf == 64

    def test_errors_name_the_option(self, file: Path) -> None:
        student = StudentOptions(student_budget=f"latency=30ms@{file}")
        with pytest.raises(OptionError, match=f"^--student_budget latency=30ms@{file}: {file}: .* are 32x32"):
            student.apply(self.options(crop_size=32), TEACHER, recorded=False)
        with pytest.raises(OptionError, match="kd plan TEACHER --web FOLDER writes; or list students with kd plan"):
            StudentOptions(student_budget="latency=30ms").check()


class TestCompression:
    def teacher(self, spec: GeneratorSpec | None = TEACHER) -> Teacher:
        network = build_generator(TEACHER).requires_grad_(False)
        return Teacher(network, spec, Experiment(Path("big"), "teacher", "big", {}), "")

    def test_a_student_of_a_device(self, file: Path) -> None:
        wish = parse_wish(f"latency=30ms@{file}+conv=separable")
        assert wish.name == "latency30ms_separable"
        student = build(wish, self.teacher(), 3, SIZE, 0)
        assert (student.request.ngf, student.request.conv) == (16, "separable")
        assert student.network(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)

    def test_refusals(self, file: Path) -> None:
        with pytest.raises(ArgumentError, match="the student 'latency=30ms': latency 30ms: the time depends on"):
            parse_wish("latency=30ms")
        with pytest.raises(ArgumentError, match="the cost of the teacher is not known"):
            build(parse_wish(f"latency=30ms@{file}"), self.teacher(None), 3, SIZE, 0)
