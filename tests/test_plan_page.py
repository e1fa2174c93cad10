"""``kd plan --web``: the page over the students of a teacher, and the times that a device sends to its server."""

from __future__ import annotations

import functools
import http.client
import json
import shutil
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.browser import BROWSER, visit
from helpers.generators import save_generator

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.commands.plan_page import receive
from kd_plugin.errors import ArgumentError
from kd_plugin.export import onnx_file
from kd_plugin.export.web import runtime
from kd_plugin.export.web.folder import MODELS, WebModel, check_folder, write_folder
from kd_plugin.export.web.serve import DEVICE_NAME, server
from kd_plugin.host.options.student import StudentOptions
from kd_plugin.metrics.cost import generator_cost
from kd_plugin.metrics.limits import parse_budget
from kd_plugin.networks.checkpoint import inspect_checkpoint
from kd_plugin.students.device import DeviceTimes, Timed
from kd_plugin.students.plan import list_students

SIDE = 32
TEACHER = GeneratorSpec("resnet", 3, 3, 12, 1, "instance", False, True)
STUDENTS = [replace(TEACHER, ngf=8), replace(TEACHER, ngf=6), replace(TEACHER, ngf=6, conv="separable")]
TIMES = DeviceTimes(
    SIDE, SIDE, "WebAssembly, 2 threads", "Firefox", "2026-01-01T00:00:00.000Z", Timed(TEACHER, 0.1),
    tuple(Timed(spec, 0.01 * (1 + number)) for number, spec in enumerate(STUDENTS)),
)  # fmt: skip

in_a_browser = pytest.mark.skipif(BROWSER is None or shutil.which("npm") is None, reason="needs chromium and npm")


@pytest.fixture
def fake_ort(tmp_path: Path) -> Path:
    (tmp_path / "dist").mkdir()
    for name in runtime.FILES:
        (tmp_path / "dist" / name).write_text(name)
    return tmp_path / "dist"


@pytest.fixture
def page(tmp_path: Path, fake_ort: Path) -> Path:
    """The folder of a page, whose files are no generators."""
    models = []
    for number, spec in enumerate([TEACHER, *STUDENTS]):
        file = tmp_path / f"{number}.onnx"
        file.write_bytes(b"a model")
        models.append((WebModel(str(number), file.name, 10, 20, 3, 7, spec.to_dict()), file))
    write_folder(tmp_path / "page", "Students of big", models, SIDE, SIDE, fake_ort)
    return tmp_path / "page"


@pytest.fixture
def served() -> Iterator[Callable[..., int]]:
    """A function that serves a folder, with what it receives if it is a plan, and returns the port."""
    running = []

    def serve(folder: Path, plan: bool = True) -> int:
        found = server(folder, receive=functools.partial(receive, folder) if plan else None)
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        running.append(found)
        return int(found.server_address[1])

    yield serve
    for one in running:
        one.shutdown()
        one.server_close()


def post(port: int, body: bytes | str, path: str = f"/{DEVICE_NAME}", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    given = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    connection.request("POST", path, body, given)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def text_of(times: DeviceTimes, folder: Path) -> str:
    times.write(folder / "sent.json")
    return (folder / "sent.json").read_text()


class TestServer:
    def test_times_are_written_and_a_line_printed(
        self, page: Path, tmp_path: Path, served: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        port = served(page)
        assert post(port, text_of(TIMES, tmp_path)) == (200, "saved")
        assert DeviceTimes.read(page / DEVICE_NAME) == TIMES
        (line,) = capsys.readouterr().out.splitlines()
        assert line == (
            f"{page}/device.json: 3 students timed, teacher 100.0 ms, fastest student 10.0 ms, WebAssembly, "
            "2 threads, on Firefox"
        )
        later = replace(TIMES, teacher=Timed(TEACHER, 0.2))
        assert post(port, text_of(later, tmp_path)) == (200, "saved")
        assert DeviceTimes.read(page / DEVICE_NAME) == later
        assert not list(page.glob(".*"))  # no temporary file

    @pytest.mark.parametrize("times, message", [
        (replace(TIMES, width=64), "the images are not of the page's size"),
        (replace(TIMES, teacher=TIMES.students[0]), "the generators are not those of the page: load it again"),
        (replace(TIMES, students=TIMES.students[1:]), "the generators are not those of the page"),
        (replace(TIMES, students=(*TIMES.students, Timed(replace(TEACHER, ngf=4), 0.1))), "the generators are not"),
        (replace(TIMES, students=(Timed(STUDENTS[0], -1.0), *TIMES.students[1:])), "a time is no number of seconds"),
        (replace(TIMES, user_agent="\n"), "its user_agent is not valid"),
    ])  # fmt: skip
    def test_times_that_are_not_the_pages_are_refused(
        self, page: Path, tmp_path: Path, served: Callable[..., int], times: DeviceTimes, message: str
    ) -> None:
        status, text = post(served(page), text_of(times, tmp_path))
        assert status == 400 and text.startswith(message)
        assert not (page / DEVICE_NAME).exists()

    def test_requests_of_other_forms_are_refused(
        self, page: Path, tmp_path: Path, served: Callable[..., int], capsys: pytest.CaptureFixture[str]
    ) -> None:
        port, text = served(page), text_of(TIMES, tmp_path)
        assert post(port, text, "/models.json")[0] == post(port, text, "/../device.json")[0] == 404
        assert post(port, text, Content_Type="text/plain")[0] == 415  # as forms of other sites send
        assert post(port, text, Content_Length="many")[0] == post(port, text, Content_Length="-1")[0] == 411
        assert post(port, "", Content_Length=str(1 << 21))[0] == post(port, "", Content_Length="9" * 9)[0] == 413
        for body in (b"", b"{", b"\xff", b"[]", b"NaN", b"[" * 100_000):
            status, answer = post(port, body)
            assert status == 400 and "\n" not in answer
        assert {file.name for file in page.iterdir()} == {
            "index.html", "page.js", "page.css", MODELS, "ort", *(f"{number}.onnx" for number in range(4))
        }  # fmt: skip
        assert "Traceback" not in capsys.readouterr().err

    def test_a_folder_that_cannot_be_written(self, page: Path, tmp_path: Path, served: Callable[..., int]) -> None:
        (page / DEVICE_NAME).mkdir()
        status, text = post(served(page), text_of(TIMES, tmp_path))
        assert status == 500 and text.startswith("cannot be written (")
        assert list(page.glob(".*")) == []

    def test_the_server_of_an_export_receives_nothing(
        self, page: Path, tmp_path: Path, served: Callable[..., int]
    ) -> None:
        assert post(served(page, plan=False), text_of(TIMES, tmp_path))[0] == 501
        assert not (page / DEVICE_NAME).exists()


class TestFolder:
    def test_the_times_are_kept_when_the_page_is_replaced(self, page: Path, tmp_path: Path, fake_ort: Path) -> None:
        TIMES.write(page / DEVICE_NAME)
        with pytest.raises(ArgumentError, match="exists"):
            check_folder(page, force=False)
        check_folder(page, force=True)
        (tmp_path / "student.onnx").write_bytes(b"a model")
        model = WebModel("student", "student.onnx", 10, None, 3, 7)
        write_folder(page, "zebra", [(model, tmp_path / "student.onnx")], SIDE, SIDE, fake_ort)
        assert DeviceTimes.read(page / DEVICE_NAME) == TIMES
        assert not (page / "1.onnx").exists() and "device" not in json.loads((page / MODELS).read_text())


class TestCommand:
    @pytest.mark.slow
    def test_the_files_are_the_students_of_a_plan(
        self, tmp_path: Path, fake_ort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("onnxruntime")
        monkeypatch.chdir(tmp_path)
        save_generator(tmp_path / "big", TEACHER)
        command = ["plan", "big", "--web", "page", "--size", str(SIDE), "--ort", str(fake_ort), "--params", "2x"]
        assert main(command) == 0
        said = capsys.readouterr()
        wanted = list_students(TEACHER, SIDE, parse_budget("params=2x"))
        facts = json.loads((tmp_path / "page" / MODELS).read_text())
        assert facts["device"]["format"] == 1 and facts["title"] == "Students of big"
        specs = [GeneratorSpec.from_dict(model["spec"]) for model in facts["models"]]
        assert specs == [inspect_checkpoint(tmp_path / "big" / "latest_net_G.pth"), *wanted]
        for model, spec in zip(facts["models"], specs, strict=True):
            file = tmp_path / "page" / model["file"]
            cost = generator_cost(spec, SIDE)
            assert (model["parameters"], model["macs"], model["bytes"]) == (
                cost.params,
                cost.macs,
                file.stat().st_size,
            )
            assert onnx_file.metadata_of(file)["weights"].startswith("random")
        assert f"exporting it and {len(wanted)} students, about " in said.out and "of 255 steps" in said.out
        assert "page/index.html: serve the folder, with kd plan --web page --serve" in said.out
        assert "exporting resnet_1blocks" in said.err and not list(tmp_path.glob(".kd_export_*"))
        assert main(command) == 2
        assert (
            "--web page exists: name another folder, or replace it, with --force"
            in capsys.readouterr().err.replace(str(tmp_path / "page"), "page")
        )

    @pytest.mark.parametrize("arguments, message", [
        ("big --web page --latency 3x", "--web times the students on the device that visits it: remove --latency"),
        ("big --web page --runtime onnx", "--web times the students on the device that visits it: remove --runtime"),
        ("big --web page --device cuda", "--web times the students on the device that visits it: remove --device"),
        ("big --web page --json", "--web times the students on the device that visits it: remove --json"),
        ("--web page --paper", "--web times the students on the device that visits it: remove --paper"),
        ("big --serve", "--serve is for the page of --web FOLDER: name it"),
        ("big --force", "--force is for the page of --web FOLDER: name it"),
        ("--web page", "kd plan needs a teacher"),
        ("--web page --serve", "--web page: has no page of kd plan yet: name a teacher as well"),
        ("big --web mine", "--web mine: has files of something else: name a new folder for the page"),
        ("big --latency 3x@device.json", "--latency 3x@device.json: kd plan measures here: give 3x, or give "
         "--student_budget latency=3x@device.json to the training"),
    ])  # fmt: skip
    def test_refusals(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str,
        message: str,
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        save_generator(tmp_path / "big", TEACHER)
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "a.txt").write_text("mine")
        assert main(["plan", *arguments.split()]) == 2
        error = capsys.readouterr().err.replace(f"{tmp_path}/", "")
        assert error.startswith(f"kd: error: {message}") and error.count("\n") == 1


_MEASURE = """
  await until(() => document.body.dataset.ready);
  const button = document.getElementById("measure");
  const before = { enabled: !button.disabled, drop: getComputedStyle(document.getElementById("drop")).display };
  button.click();
  const said = () => document.getElementById("state").textContent;
  const done = () => !button.disabled && (said() || !document.getElementById("problem").hidden);
  for (let i = 0; i < 5; i += 1) if (await until(done)) break;
  const saved = await (await fetch(document.getElementById("save").href)).json();
  report({ before, saved, said: said(), problem: document.getElementById("problem").textContent,
    download: document.getElementById("save").download,
    costs: [...document.querySelectorAll("#costs tr")].map((row) => [...row.children].map((td) => td.textContent)) });
"""


@pytest.mark.slow
@in_a_browser
def test_a_visit_writes_the_times_which_choose_a_student(
    tmp_path: Path, served: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_generator(tmp_path / "big", TEACHER)
    assert main(["plan", "big", "--web", "page", "--size", str(SIDE)]) == 0
    page = tmp_path / "page"
    found = visit(
        page / "index.html", _MEASURE, tmp_path / "profile", server=f"http://127.0.0.1:{served(page)}"
    ).value
    assert found["before"] == {"enabled": True, "drop": "none"}  # no image is needed
    assert (found["problem"], found["said"], found["download"]) == (
        "",
        "Saved on the server: device.json.",
        DEVICE_NAME,
    )
    content = json.loads((page / DEVICE_NAME).read_text())
    assert content == found["saved"] and content["runtime"].startswith("ONNX Runtime Web, Web")
    assert "Chrome" in content["user_agent"] and (content["width"], content["height"]) == (SIDE, SIDE)
    # The table shows the times of the file.
    assert [row[0] for row in found["costs"]] == [
        model["name"] for model in json.loads((page / MODELS).read_text())["models"]
    ]
    for row, timed in zip(found["costs"], [content["teacher"], *content["students"]], strict=True):
        assert abs(float(row[4].split()[0]) - 1000 * timed["seconds"]) <= 0.5
    # The student that they choose, by hand: the widest of the teacher's kind that takes at most the median time.
    alike = {
        student["spec"]["ngf"]: student["seconds"]
        for student in content["students"]
        if (student["spec"]["depth"], student["spec"]["conv"]) == (1, "standard")
    }
    assert len(alike) >= 3
    allowed = sorted(alike.values())[len(alike) // 2]
    wanted = max(ngf for ngf, seconds in alike.items() if seconds <= allowed)
    option = f"latency={allowed * 1000 + 1e-6:.9f}ms@{page / DEVICE_NAME}"
    opt = Namespace(
        netG="resnet_1blocks", ngf=64, input_nc=3, output_nc=3, preprocess="resize_and_crop", crop_size=SIDE
    )
    teacher = inspect_checkpoint(tmp_path / "big" / "latest_net_G.pth")
    StudentOptions(student_budget=option).apply(opt, teacher, recorded=False)
    assert opt.ngf == wanted
