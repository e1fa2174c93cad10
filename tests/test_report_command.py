"""``kd report`` on small generators: numbers, continuing, problems, errors."""

from __future__ import annotations

import io
import json
import math
import shutil
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.images import paint
from PIL import Image

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.metrics.quality import measure_quality
from kd_plugin.networks.generator import build_generator
from kd_plugin.networks.translator import ModuleTranslator, to_tensor
from kd_plugin.pictures import find_images
from kd_plugin.report.store import Store, key_of

TEACHER = GeneratorSpec("resnet", 3, 3, 8, 2, "instance", False, True)
STUDENT = replace(TEACHER, ngf=4)
QUICK = ("--size", "32", "--no-fid", "--only", "quality", "--only", "samples")


def save(folder: Path, spec: GeneratorSpec, net: str = "G", seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    torch.save(build_generator(spec).state_dict(), folder / f"latest_net_{net}.pth")
    return folder


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    save(tmp_path / "big", TEACHER)
    save(tmp_path / "small", STUDENT, seed=1)
    return tmp_path


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for i in range(5):
        paint(tmp_path / "inputs" / f"{i}.png", 40, 36, i)
    return tmp_path / "inputs"


def report(output: Path, *arguments: object, status: int = 0) -> dict:  # type: ignore[type-arg]
    assert main(["report", *map(str, arguments), "-o", str(output)]) == status
    content = json.loads((output / "report.json").read_text())
    assert (output / "index.html").is_file()
    return dict(content)


def both(networks: Path) -> list[str]:
    return ["--teacher", str(networks / "big"), "--student", str(networks / "small")]


def measure(content: dict, key: str, direction: int = 0) -> dict[str, float]:  # type: ignore[type-arg]
    (found,) = (m for m in content["directions"][direction]["measures"] if m["key"] == key)
    return {name: value["value"] for name, value in found["values"].items()}


def load(files: Sequence[Path]) -> torch.Tensor:
    arrays = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 255


class TestNumbers:
    def test_finished_images_have_the_quality_of_their_files(self, tmp_path: Path) -> None:
        for i in range(4):
            paint(tmp_path / "truth" / f"{i}.png", 32, 32, i)
            paint(tmp_path / "inputs" / f"{i}.png", 32, 32, i + 10)
            paint(tmp_path / "results" / f"{i}_fake_B.png", 32, 32, i + 20)
        folders = ("--images", tmp_path / "inputs", "--truth", tmp_path / "truth")
        content = report(tmp_path / "out", "--student", tmp_path / "results", *folders, *QUICK)
        images, truth = (load(find_images(tmp_path / name)) for name in ("results", "truth"))
        expected = measure_quality(images, truth)
        assert measure(content, "psnr_truth")["student1"] == pytest.approx(expected.psnr, rel=1e-12)
        assert measure(content, "ssim_truth")["student1"] == pytest.approx(expected.ssim, rel=1e-12)
        assert measure(content, "l1_truth")["student1"] == pytest.approx(expected.l1, rel=1e-12)

    def test_a_generator_is_measured_on_the_images_that_it_writes(self, networks: Path, inputs: Path) -> None:
        network = build_generator(TEACHER)
        network.load_state_dict(torch.load(networks / "big" / "latest_net_G.pth", weights_only=True))
        for file in find_images(inputs):
            resized = np.asarray(Image.open(file).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
            with torch.no_grad():
                output = network(to_tensor([resized]))[0]
            array = ((output + 1) / 2 * 255).numpy().astype(np.uint8).transpose(1, 2, 0)  # as hosts save it
            (networks / "written").mkdir(exist_ok=True)
            Image.fromarray(array).save(networks / "written" / file.name)
        arguments = (*both(networks), "--student", networks / "written", "--images", inputs)
        content = report(networks / "out", *arguments, *QUICK)
        assert measure(content, "l1_teacher")["student2"] == 0
        limit = 10 * math.log10(12 * 255**2)  # of equal images
        assert measure(content, "psnr_teacher")["student2"] == pytest.approx(limit)
        assert measure(content, "l1_teacher")["student1"] > 0

    def test_the_teacher_as_its_own_student_is_no_different(self, networks: Path, inputs: Path) -> None:
        arguments = ("--teacher", networks / "big", "--student", networks / "big", "--images", inputs)
        content = report(networks / "out", *arguments, "--size", 32, "--only", "frequency", "--only", "stability")
        (direction,) = content["directions"]
        assert {band["value"] for band in direction["frequency"]["bands"]["student1"].values()} == {0}
        assert all(row["values"]["student1"] == row["values"]["teacher"] for row in direction["stability"])
        assert direction["measures"] == []

    def test_costs_are_those_of_the_networks(self, networks: Path, inputs: Path) -> None:
        content = report(networks / "out", *both(networks), "--images", inputs, "--size", 32, "--only", "cost")
        costs = {s["key"]: s["cost"] for s in content["directions"][0]["subjects"] if s["cost"]}
        for key, spec in (("teacher", TEACHER), ("student1", STUDENT)):
            from kd_plugin.metrics.cost import generator_cost

            expected = generator_cost(spec, 32)
            assert (costs[key]["params"], costs[key]["macs"]) == (expected.params, expected.macs)
        assert costs["student1"]["file_size"] == (networks / "small" / "latest_net_G.pth").stat().st_size

    def test_features_of_a_function_are_not_called_fid(self, networks: Path, inputs: Path) -> None:
        function = f"{__name__}:mean_colours"
        arguments = ("--images", inputs, "--real", inputs, "--size", 32, "--only", "quality", "--features", function)
        content = report(networks / "out", *both(networks), *arguments)
        titles = [m["title"] for m in content["directions"][0]["measures"]]
        assert titles[:2] == [f"kernel distance ({function})", f"Frechet distance ({function})"]
        assert measure(content, "frechet_real")["input"] == pytest.approx(0, abs=1e-9)  # the same images
        assert measure(content, "frechet_real")["student1"] > 1e-3

    def test_without_inception_nothing_is_called_fid(
        self, networks: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3"):
            monkeypatch.setitem(sys.modules, name, None)  # an import raises ImportError
        arguments = ("--images", inputs, "--real", inputs, "--size", 32, "--only", "quality")
        content = report(networks / "out", *both(networks), *arguments)
        assert not any("frechet" in m["key"] or "FID" in m["title"] for m in content["directions"][0]["measures"])
        (problem,) = content["problems"]
        assert problem["what"] == "FID and KID"
        assert "torch-fidelity" in problem["reason"]

    def test_a_segmenter_is_scored_on_labels(self, networks: Path, inputs: Path) -> None:
        (networks / "labels").mkdir()
        for file in find_images(inputs):
            resized = Image.open(file).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)
            bright = np.asarray(resized).mean(2) > 127.2
            Image.fromarray(bright.astype(np.uint8)).save(networks / "labels" / file.name)
        function = f"{__name__}:brightness"
        arguments = ("--images", inputs, "--truth", inputs, "--segmenter", function, "--labels", networks / "labels")
        content = report(networks / "out", *both(networks), *arguments, *QUICK)
        assert measure(content, "mean_iou")["truth"] == 1  # the labels are made from it
        assert measure(content, "mean_iou")["student1"] < 1


def mean_colours(images: torch.Tensor) -> torch.Tensor:
    return images.mean(dim=(2, 3))


def brightness(images: torch.Tensor) -> torch.Tensor:
    light = images.mean(dim=1) * 255  # a multiple of a third
    return torch.stack([127.2 - light, light - 127.2], dim=1)


class TestContinuing:
    def test_nothing_is_computed_twice(
        self, networks: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Interrupted in the second batch, the same command continues there and gives the same report."""
        arguments = (*both(networks), "--images", inputs, *QUICK[:-2], "--batch-size", 2)
        whole = report(networks / "whole", *arguments)
        count_passes(monkeypatch, stop_after=3)  # teacher and student of the first batch, then the teacher
        assert main(["report", *map(str, arguments), "-o", str(networks / "out")]) == 130
        assert capsys.readouterr().err.endswith("kd report: interrupted; the same command continues\n")
        assert not (networks / "out" / "report.json").exists()
        monkeypatch.undo()
        passes = count_passes(monkeypatch)
        continued = report(networks / "out", *arguments)
        assert sum(passes) == 2 * 3  # two networks, the last three images
        assert continued["directions"] == whole["directions"]

    def test_another_network_is_computed(self, networks: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        arguments = (*both(networks), "--images", inputs, *QUICK[:-2])
        first = report(networks / "out", *arguments)
        save(networks / "small", STUDENT, seed=2)
        second = report(networks / "out", *arguments)
        assert measure(first, "l1_teacher")["student1"] != measure(second, "l1_teacher")["student1"]

    @pytest.mark.parametrize("batch", [1, 3])
    def test_results_do_not_depend_on_the_batch(self, tmp_path: Path, inputs: Path, batch: int) -> None:
        """Batch statistics are those of one image and dropout that of its pixels, whatever else is in the batch."""
        save(tmp_path / "big", replace(TEACHER, norm="batch", dropout=True, bias=False))
        save(tmp_path / "small", replace(STUDENT, norm="batch", bias=False), seed=1)
        arguments = (*both(tmp_path), "--images", inputs, *QUICK[:-2])
        expected = report(tmp_path / "5", *arguments, "--batch-size", 5)
        found = report(tmp_path / "out", *arguments, "--batch-size", batch)
        assert found["directions"] == expected["directions"]

    def test_a_store_keeps_arrays_by_what_they_depend_on(self, tmp_path: Path) -> None:
        values = {key_of("a", 1): np.arange(3), key_of("a", 2): np.ones((2, 2))}
        assert len({*values, key_of("a1", ""), key_of("a", "1", "")}) == 4
        with Store(tmp_path / "results.db") as store:
            store.put(values)
        with Store(tmp_path / "results.db") as store:
            found = store.get([*values, "missing"])
        assert found.keys() == values.keys()
        for key, value in values.items():
            np.testing.assert_array_equal(found[key], value)


def count_passes(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> list[int]:
    """Record the number of images of each pass of a generator; interrupt after some passes."""
    passes: list[int] = []
    original = ModuleTranslator.translate

    def translate(self: ModuleTranslator, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        if len(passes) == stop_after:
            raise KeyboardInterrupt
        passes.append(len(images))
        return original(self, images, seeds)

    monkeypatch.setattr(ModuleTranslator, "translate", translate)
    return passes


class TestProblems:
    def test_a_network_that_rounds_the_size_up_is_compared_at_the_size_of_the_input(
        self, networks: Path, inputs: Path
    ) -> None:
        content = report(networks / "out", *both(networks), "--images", inputs, "--size", 30, "--only", "samples")
        assert {(s["width"], s["height"]) for s in content["directions"][0]["samples"]} == {(30, 30)}

    def test_what_is_left_out_is_listed_and_sets_the_exit_status(
        self, networks: Path, inputs: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (inputs / "0.png").rename(inputs / "<script>alert(1)<.png")  # no slash in names of files
        (inputs / "1.png").write_bytes(b"no image")
        shutil.copytree(inputs, networks / "done")
        for file in find_images(networks / "done"):
            if file.stem != "1":
                Image.open(file).resize((32, 32)).save(file)
        (networks / "done" / "2.png").unlink()
        Image.new("RGB", (16, 16)).save(networks / "done" / "3.png")
        Image.new("RGB", (32, 32)).save(networks / "done" / "extra.png")
        arguments = (*both(networks), "--student", networks / "done", "--images", inputs, *QUICK)
        content = report(networks / "out", *arguments, status=1)
        assert content["directions"][0]["images"] == 2
        problems = {Path(p["what"]).name: p for p in content["problems"]}
        assert {name for name, p in problems.items() if p["fatal"]} == {"1.png", "2.png", "3.png"}
        assert problems["1.png"]["reason"].startswith("it cannot be read")
        assert "there is no image of this name in" in problems["2.png"]["reason"]
        assert "has 16x16 pixels, the input 32x32" in problems["3.png"]["reason"]
        assert not problems["extra.png"]["fatal"]
        page = (networks / "out" / "index.html").read_text()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page
        errors = capsys.readouterr().err
        assert all(f"{name}.png: " in errors for name in "123")

    def test_images_of_different_sizes_have_one_spectrum(self, networks: Path) -> None:
        for i, (width, height) in enumerate([(40, 24), (64, 80), (20, 28)]):
            paint(networks / "inputs" / f"{i}.png", width, height, i)
        arguments = (*both(networks), "--images", networks / "inputs", "--preprocess", "none", "--only", "frequency")
        frequency = report(networks / "out", *arguments)["directions"][0]["frequency"]
        assert frequency["frequencies"] == [(i + 0.5) / 64 for i in range(32)]
        assert {len(spectrum) for spectrum in frequency["spectra"].values()} == {32}
        assert all(math.isfinite(power) for spectrum in frequency["spectra"].values() for power in spectrum)

    def test_a_missing_direction_is_a_problem(self, tmp_path: Path, images: Path) -> None:
        save(tmp_path / "big", TEACHER, "G_A")
        save(tmp_path / "big", TEACHER, "G_B", 1)
        save(tmp_path / "small", STUDENT, "G_A")
        arguments = (*both(tmp_path), "--dataroot", images / "unpaired", *QUICK[:-2])
        content = report(tmp_path / "out", *arguments, status=1)
        assert [d["name"] for d in content["directions"]] == ["AtoB", "BtoA"]
        assert [len(d["subjects"]) for d in content["directions"]] == [3, 2]
        (problem,) = content["problems"]
        assert problem["reason"] == "has no generator for BtoA: left out"


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("", "kd report needs a generator: --teacher checkpoints/BIG --student checkpoints/SMALL"),
            ("--teacher {big}", "kd report needs images: --images FOLDER, --pairs FOLDER or --dataroot DATA"),
            ("--teacher {big} --images {inputs} --dataroot {big}", "images and dataroot given"),
            ("--teacher {big} --pairs {inputs} --truth {inputs}", "pairs has its own ground truth"),
            ("--teacher {big}/none --images {inputs}", "no such file"),
            ("--teacher {inputs} --images {big}", "no images"),
            ("--teacher {big} --images {inputs} --only speed", "--only speed: choose from cost, quality"),
            ("--teacher {big} --images {inputs} --labels {inputs}", "--segmenter and --labels belong together"),
            ("--teacher {big} --images {inputs} --preprocess resize", "--preprocess resize: unknown preprocessing"),
            ("--teacher {big} --images {inputs} --load-size 16", "images of 16 pixels cannot be cropped to 256"),
            ("--teacher {big} --images {inputs} --size 0", "'0' is not a whole number of 1 or more"),
            ("--teacher {big} --images {inputs} --batches 1,x", "'x' is not a whole number of 1 or more"),
            (
                "--teacher {big} --images {inputs} --preprocess crop --size 99",
                "can be used: {inputs}/0.png: its 40x36 pixels are less than the crop of 99",
            ),
            ("--teacher {big} --images {inputs} --device tpu", "--device tpu: give cpu or cuda"),
            ("--teacher {big} --images {inputs} --dataroots x", "did you mean '--dataroot'"),
            ("--teacher {big} --dataroot {inputs}", "not a data set of the hosts"),
            ("--teacher {big} --images {inputs} --real {inputs} --features nothing:f", "No module named 'nothing'"),
            ("--teacher {big} --images {inputs} -o {inputs}/0.png", "0.png"),
        ],
    )
    def test_are_one_line(
        self, networks: Path, inputs: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
    ) -> None:
        given = arguments.format(big=networks / "big", inputs=inputs).split()
        assert main(["report", *given, *([] if "-o" in given else ["-o", str(networks / "out")])]) == 2
        error = [line for line in capsys.readouterr().err.splitlines() if "ETA" not in line]
        assert len(error) == 1
        assert error[0].startswith("kd: error: ")
        assert message.format(inputs=inputs) in error[0]
        assert not (networks / "out" / "index.html").exists()

    def test_a_damaged_store_says_what_to_do(
        self, networks: Path, inputs: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (networks / "out").mkdir()
        (networks / "out" / "results.db").write_bytes(b"no database" * 100)
        assert main(["report", *both(networks), "--images", str(inputs), "-o", str(networks / "out")]) == 2
        assert "remove the file to compute them again" in capsys.readouterr().err


class Harm:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


class TestOtherNetworks:
    def test_another_epoch_is_named_by_it(self, networks: Path, inputs: Path) -> None:
        shutil.copy(networks / "small" / "latest_net_G.pth", networks / "small" / "ema_net_G.pth")
        files = (networks / "small" / f"{epoch}_net_G.pth" for epoch in ("latest", "ema"))
        students = [argument for file in files for argument in ("--student", file)]
        content = report(networks / "out", *students, "--images", inputs, "--truth", inputs, *QUICK[:-2])
        labels = [s["label"] for s in content["directions"][0]["subjects"] if s["role"] == "student"]
        assert labels == ["small", "small, ema"]
        assert len({measure(content, "psnr_truth")[key] for key in ("student1", "student2")}) == 1

    def test_an_exported_program_is_the_network_it_was_made_of(self, networks: Path, inputs: Path) -> None:
        network = build_generator(STUDENT).eval()
        network.load_state_dict(torch.load(networks / "small" / "latest_net_G.pth", weights_only=True))
        shapes = ({0: torch.export.Dim.AUTO},)
        program = torch.export.export(network, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=shapes)
        torch.export.save(program, networks / "small.pt2")
        arguments = (*both(networks), "--student", networks / "small.pt2", "--images", inputs, *QUICK[:-2])
        content = report(networks / "out", *arguments)
        values = measure(content, "l1_teacher")
        assert values["student2"] == pytest.approx(values["student1"], abs=1 / 255 / 1000)  # rounding to 8 bits

    def test_an_exported_program_runs_no_code_while_it_is_loaded(
        self, networks: Path, inputs: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        program = torch.export.export(torch.nn.Conv2d(3, 3, 1), (torch.zeros(1, 3, 32, 32),))
        torch.export.save(program, networks / "good.pt2")
        harm = io.BytesIO()
        torch.save(Harm(networks / "run"), harm)
        with zipfile.ZipFile(networks / "good.pt2") as good, zipfile.ZipFile(networks / "bad.pt2", "w") as bad:
            names = [name for name in good.namelist() if "sample_inputs" in name]
            assert names
            for name in good.namelist():
                bad.writestr(name, harm.getvalue() if name in names else good.read(name))
        arguments = ["--student", networks / "bad.pt2", "--images", inputs, "-o", networks / "out"]
        assert main(["report", *map(str, arguments)]) == 2
        assert "bad.pt2: torch.export cannot load it" in capsys.readouterr().err
        assert not (networks / "run").exists()

    def test_onnx_files_are_run_in_the_batches_they_have(self, networks: Path, inputs: Path) -> None:
        pytest.importorskip("onnxruntime")
        onnx = pytest.importorskip("onnx")
        given = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [2, 3, 32, 32])
        output = onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [2, 3, 32, 32])
        graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["images"], ["output"])], "g", [given], [output])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
        onnx.save(model, networks / "neg.onnx")
        arguments = ("--student", networks / "neg.onnx", "--images", inputs, "--truth", inputs, *QUICK[:-2])
        content = report(networks / "out", *arguments)
        images = [
            Image.open(file).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC) for file in find_images(inputs)
        ]
        arrays = np.stack([np.asarray(image, dtype=int) for image in images])
        expected = np.abs(255 - 2 * arrays).mean() / 255
        assert measure(content, "l1_truth")["student1"] == pytest.approx(expected, abs=1 / 255)  # 8 bits

    def test_grey_generators_are_compared_in_colour(self, tmp_path: Path, inputs: Path) -> None:
        for name, spec in (("big", TEACHER), ("small", STUDENT)):
            save(tmp_path / name, replace(spec, input_nc=1, output_nc=1))
        content = report(tmp_path / "out", *both(tmp_path), "--images", inputs, "--truth", inputs, *QUICK)
        assert measure(content, "l1_truth")["input"] > 0  # the ground truth has colours
        assert measure(content, "l1_teacher")["student1"] > 0

    def test_a_damaged_file_is_an_error(
        self, networks: Path, inputs: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (networks / "bad.pt2").write_bytes(b"no program")
        arguments = ["--student", networks / "bad.pt2", "--images", inputs, "-o", networks / "out"]
        assert main(["report", *map(str, arguments)]) == 2
        assert not (networks / "out").exists()
        assert "bad.pt2: torch.export cannot load it" in capsys.readouterr().err
