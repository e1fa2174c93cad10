"""``kd export --web``: the page in a browser, without a network; and where it is written and served."""

from __future__ import annotations

import base64
import json
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.browser import BROWSER, visit
from helpers.generators import save_generator
from helpers.images import paint
from PIL import Image

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.errors import ArgumentError, KDError
from kd_plugin.export import onnx_file
from kd_plugin.export.web import runtime
from kd_plugin.export.web.folder import MODELS, WebModel, check_folder, write_folder
from kd_plugin.export.web.serve import server
from kd_plugin.files import sha256
from kd_plugin.networks.translator import to_array, to_tensor
from kd_plugin.students import StudentRecord

SIDE = 32
SPEC = GeneratorSpec("resnet", 3, 3, 8, 1, "instance", False, True)
GREY = GeneratorSpec("resnet", 1, 1, 4, 1, "batch", False, False)

in_a_browser = pytest.mark.skipif(BROWSER is None or shutil.which("npm") is None, reason="needs chromium and npm")

_DROP = """
  await until(() => document.body.dataset.ready);
  const bytes = Uint8Array.from(atob("%s"), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "a.png", { type: "image/png" }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  const done = () => !document.getElementById("measure").disabled || !document.getElementById("problem").hidden;
  for (let i = 0; i < 3; i += 1) if (await until(done)) break;
"""
_READ = """
  const pixels = (canvas) => Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
  const figures = [...document.querySelectorAll("figure")].map((figure) => ({
    name: figure.querySelector("strong").textContent,
    pixels: pixels(figure.querySelector("canvas")),
    time: (figure.querySelector("figcaption span") || {}).textContent,
  }));
"""
_REPORT = """
  report({ figures, problem: document.getElementById("problem").textContent, title: document.title,
    runtime: document.getElementById("runtime").textContent, isolated: crossOriginIsolated,
    costs: [...document.querySelectorAll("#costs tr")].map((row) => [...row.children].map((td) => td.textContent)),
    others: performance.getEntriesByType("resource").map((entry) => entry.name)
      .filter((name) => ![location.origin, "data:", "blob:"].some((start) => name.startsWith(start))) });
"""


@pytest.fixture(scope="module")
def ort() -> Path:
    """ONNX Runtime Web, from its package."""
    return runtime.find_runtime()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def served() -> Iterator[Any]:
    """A function that serves a folder and returns its address."""
    running = []

    def serve(folder: Path) -> str:
        found = server(folder)
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        running.append(found)
        return f"http://127.0.0.1:{found.server_address[1]}"

    yield serve
    for one in running:
        one.shutdown()
        one.server_close()


def dropped(page: Path, image: Path, address: str, profile: Path, more: str = "") -> Any:
    encoded = base64.b64encode(image.read_bytes()).decode()
    visited = visit(page / "index.html", _DROP % encoded + more + _READ + _REPORT, profile, server=address)
    (page / "probe.html").unlink()
    return visited.value


def shown(figure: Any, channels: int = 3) -> np.ndarray:
    array = np.array(figure["pixels"], dtype=np.uint8).reshape(SIDE, SIDE, 4)
    assert (array[..., 3] == 255).all()
    return array[..., :channels]


@pytest.mark.slow
@in_a_browser
class TestInABrowser:
    def test_a_dropped_image_is_translated_as_by_the_runtime(
        self, folder: Path, served: Any, ort: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """By teacher and student, within two steps of 8 bits; nothing is loaded from elsewhere."""
        teacher = save_generator(folder / "big", GeneratorSpec("resnet", 3, 3, 12, 1, "instance", False, True))
        student = save_generator(folder / "zebra_small", SPEC, seed=1)
        assert main(["export", "zebra_small", "--teacher", "big", "--size", str(SIDE), "--web", "page"]) == 0
        assert "page/index.html: serve the folder" in capsys.readouterr().out
        for name, file in (("teacher", teacher), ("student", student)):
            assert main(["export", str(file), "--size", str(SIDE), "-o", f"{name}.onnx"]) == 0
        paint(folder / "a.png", SIDE, SIDE, 3)
        found = dropped(folder / "page", folder / "a.png", served(folder / "page"), folder / "profile")
        assert found["problem"] == "" and found["title"] == "zebra_small"
        assert found["runtime"].startswith("ONNX Runtime Web, Web") and found["others"] == []
        assert found["isolated"]  # so that WebAssembly has threads
        source, *figures = found["figures"]
        image = np.asarray(Image.open(folder / "a.png").convert("RGB"))
        assert np.array_equal(shown(source), image)
        assert [figure["name"] for figure in figures] == ["teacher", "student"]
        for figure in figures:
            output = onnx_file.Runner(Path(f"{figure['name']}.onnx"))(to_tensor([image]).numpy())[0]
            wanted = to_array(torch.from_numpy(output))
            assert np.abs(shown(figure).astype(int) - wanted).max() <= 2
            assert figure["time"].endswith(" ms")
        assert np.abs(shown(figures[0]).astype(int) - shown(figures[1])).max() > 10
        costs = {row[0]: row[1:] for row in found["costs"]}
        assert costs["student"][0] == f"{Path('student.onnx').stat().st_size / 1e3:.2f} kB"
        assert costs["teacher"][1].endswith(" k") and costs["teacher"][2].endswith(" M")

    def test_the_speed_is_measured_side_by_side(self, folder: Path, served: Any, ort: Path) -> None:
        save_generator(folder / "big", GeneratorSpec("resnet", 3, 3, 12, 1, "instance", False, True))
        save_generator(folder / "small", SPEC)
        assert main(["export", "small", "--teacher", "big", "--size", str(SIDE), "--web", "page"]) == 0
        paint(folder / "a.png", SIDE, SIDE, 3)
        more = """
          document.getElementById("measure").click();
          const measured = () => document.querySelector("#costs tr:last-child td:last-child").textContent;
          for (let i = 0; i < 3; i += 1) if (await until(measured)) break;
        """
        found = dropped(folder / "page", folder / "a.png", served(folder / "page"), folder / "profile", more)
        teacher, student = found["costs"]
        assert teacher[4].endswith(" ms") and student[4].endswith(" ms")
        ratio = float(teacher[4].split()[0]) / float(student[4].split()[0])
        times, _, word = student[5].partition("x ")
        assert teacher[5] == "" and word in ("faster", "slower") and float(times) >= 1
        assert word == "faster" or ratio < 1.05  # up to the rounding of what is shown

    def test_grey_images_and_the_centre_of_a_wide_one(self, folder: Path, served: Any, ort: Path) -> None:
        save_generator(folder / "small", GREY)
        arguments = ["small", "--size", str(SIDE), "--statistics", "running"]
        assert main(["export", *arguments, "--web", "page"]) == 0
        assert main(["export", *arguments, "-o", "one.onnx"]) == 0
        paint(folder / "centre.png", SIDE, SIDE, 3)
        wide = Image.new("RGB", (2 * SIDE, SIDE), "red")
        wide.paste(Image.open(folder / "centre.png"), (SIDE // 2, 0))
        wide.save(folder / "wide.png")
        found = dropped(folder / "page", folder / "wide.png", served(folder / "page"), folder / "profile")
        _, figure = found["figures"]
        assert figure["name"] == "generator"
        centre = np.asarray(Image.open(folder / "centre.png").convert("RGB"), dtype=np.float32)
        grey = (centre @ np.array([0.299, 0.587, 0.114], np.float32) / 127.5 - 1)[None, None]
        output = onnx_file.Runner(Path("one.onnx"))(grey)[0, 0]
        wanted = ((output + 1) * 127.5).clip(0, 255).astype(np.uint8)
        pixels = shown(figure).astype(int)
        assert np.abs(pixels - wanted[..., None]).max() <= 2 and (pixels == pixels[..., :1]).all()

    def test_a_file_that_is_no_image_and_a_page_from_the_disk(self, folder: Path, served: Any, ort: Path) -> None:
        save_generator(folder / "small", SPEC)
        assert main(["export", "small", "--size", str(SIDE), "--web", "page"]) == 0
        (folder / "a.png").write_text("no image")
        found = dropped(folder / "page", folder / "a.png", served(folder / "page"), folder / "profile")
        assert found["problem"].startswith("This image or generator does not run here: ")
        probe = """
          const problem = document.getElementById("problem");
          await until(() => !problem.hidden);
          report(problem.textContent);
        """
        visited = visit(folder / "page" / "index.html", probe, folder / "other_profile")
        assert "kd export --web FOLDER --serve" in visited.value


class TestFolder:
    def models(self, folder: Path) -> list[tuple[WebModel, Path]]:
        (folder / "student.onnx").write_bytes(b"a model")
        return [(WebModel("student", "student.onnx", 10, None, 3, 7), folder / "student.onnx")]

    @pytest.fixture
    def fake_ort(self, tmp_path: Path) -> Path:
        (tmp_path / "dist").mkdir()
        for name in runtime.FILES:
            (tmp_path / "dist" / name).write_text(name)
        return tmp_path / "dist"

    def test_it_has_all_that_the_page_needs(self, tmp_path: Path, fake_ort: Path) -> None:
        write_folder(tmp_path / "page", "zebra", self.models(tmp_path), 64, 32, fake_ort)
        page = tmp_path / "page"
        files = {file.relative_to(page).as_posix() for file in page.rglob("*") if file.is_file()}
        ours = {"index.html", "page.js", "page.css", MODELS, "student.onnx"}
        assert files == ours | {f"ort/{name}" for name in runtime.FILES}
        facts = json.loads((tmp_path / "page" / MODELS).read_text())
        assert (facts["title"], facts["width"], facts["height"]) == ("zebra", 64, 32)
        assert "://" not in (tmp_path / "page" / "index.html").read_text()
        assert "://" not in (tmp_path / "page" / "page.js").read_text()

    def test_only_an_earlier_page_is_replaced_and_by_force_alone(self, tmp_path: Path, fake_ort: Path) -> None:
        page = tmp_path / "page"
        check_folder(page, force=False)
        write_folder(page, "first", self.models(tmp_path), 32, 32, fake_ort)
        with pytest.raises(ArgumentError, match="page exists: name another folder, or replace it"):
            check_folder(page, force=False)
        check_folder(page, force=True)
        write_folder(page, "second", self.models(tmp_path), 32, 32, fake_ort)
        assert json.loads((page / MODELS).read_text())["title"] == "second"
        (page / "thesis.tex").write_text("mine")
        with pytest.raises(ArgumentError, match="has files of something else"):
            check_folder(page, force=True)
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "a.txt").write_text("mine")
        (tmp_path / "mine" / MODELS).write_text('{"models": []}')
        for force in (False, True):
            with pytest.raises(ArgumentError, match="has files of something else"):
                check_folder(tmp_path / "mine", force)
        with pytest.raises(ArgumentError, match=r"none: no such folder: create it first"):
            check_folder(tmp_path / "none" / "page", False)

    def test_the_folder_of_the_command_and_links_are_kept(
        self, folder: Path, fake_ort: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "real").mkdir()
        (folder / "link").symlink_to(folder / "real")
        write_folder(folder / "link", "zebra", self.models(folder), 32, 32, fake_ort)
        assert (folder / "link").is_symlink() and (folder / "real" / MODELS).is_file()
        (folder / "here").mkdir()
        monkeypatch.chdir(folder / "here")
        check_folder(Path("."), force=False)
        write_folder(Path("."), "zebra", self.models(folder), 32, 32, fake_ort)
        assert Path(MODELS).is_file()

    def test_a_teacher_is_that_of_the_record_if_it_is_unchanged(
        self, folder: Path, fake_ort: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("onnxruntime")
        teacher = save_generator(folder / "big", SPEC)
        save_generator(folder / "small", SPEC, seed=1)
        described = {"netG": "resnet_1blocks", "ngf": 8, "input_nc": 3, "output_nc": 3, "norm": "instance"}
        record = StudentRecord(
            "1", "test", None, {}, {}, {"G": described}, {"G": {"file": str(teacher), "sha256": sha256(teacher)}}
        )
        record.write(folder / "small")
        command = ["export", "small", "--size", "32", "--web", "page", "--ort", str(fake_ort), "--force"]
        found = []
        for seed in (0, 1):
            save_generator(folder / "big", SPEC, seed=seed)
            assert main(command) == 0
            found.append([model["name"] for model in json.loads((folder / "page" / MODELS).read_text())["models"]])
        assert found == [["teacher", "student"], ["generator"]]
        # An exported file of the default name does not matter.
        (folder / "small.onnx").write_text("mine")
        assert main(command) == 0
        save_generator(folder / "grey", GREY)
        assert main([*command, "--teacher", "grey"]) == 2
        assert "takes images of 1 channels, the generator 3" in capsys.readouterr().err


class TestRuntime:
    def test_a_given_folder_needs_all_files(self, tmp_path: Path) -> None:
        with pytest.raises(KDError, match=r"has no ort.wasm.min.mjs: give the folder dist of the npm package onnx"):
            runtime.find_runtime(tmp_path)
        (tmp_path / "dist").mkdir()
        for name in runtime.FILES:
            (tmp_path / "dist" / name).write_text(name)
        assert runtime.find_runtime(tmp_path) == runtime.find_runtime(tmp_path / "dist") == tmp_path / "dist"

    def test_without_npm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(KDError, match="install npm, which fetches it, or give the folder dist"):
            runtime.find_runtime()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "script, message",
        [
            (
                "echo no network >&2; exit 1",
                r"npm cannot fetch onnxruntime-web@[\d.]+ \(no network\): without a network",
            ),
            ("echo other > a.tgz", "is not the published one: its SHA-512 differs"),
        ],
    )
    def test_a_package_that_cannot_be_fetched_or_is_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
    ) -> None:
        (tmp_path / "bin").mkdir()
        npm = tmp_path / "bin" / "npm"
        npm.write_text(f"#!/bin/sh\n{script}\n")
        npm.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        with pytest.raises(KDError, match=message):
            runtime.find_runtime()
        assert list((tmp_path / "cache" / "kd_plugin").iterdir()) == []


class TestServing:
    def test_files_have_their_types_and_headers(self, tmp_path: Path, served: Any) -> None:
        (tmp_path / "a.mjs").write_text("1")
        (tmp_path / "a.wasm").write_bytes(b"2")
        address = served(tmp_path)
        for name, kind in (("a.mjs", "text/javascript"), ("a.wasm", "application/wasm")):
            with urllib.request.urlopen(f"{address}/{name}") as answer:
                assert answer.headers["Content-Type"] == kind
                assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"

    @pytest.mark.parametrize("arguments, message", [
        (["--serve"], "--serve serves the page of --web FOLDER: name it"),
        (["--web", "page", "--serve"], "--web page: has no page yet: name a generator as well"),
        (["a", "--web", "page", "-o", "a.onnx"], "--web page writes a page, not the file a.onnx: choose one"),
        (["a", "--web", "page", "--uint8"], "--uint8 has no effect with --web: remove it"),
        (["a", "--bench", "--half"], "--half has no effect with --bench: remove it"),
        (["--web", "page", "--port", "99999"], "kd export: argument --port: '99999' is not a port: give a number"),
    ])  # fmt: skip
    def test_refusals(
        self, folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["export", *arguments]) == 2
        assert capsys.readouterr().err.startswith(f"kd: error: {message}")
