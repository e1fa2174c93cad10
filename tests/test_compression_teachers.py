"""The teachers of ``kd compress``: checkpoints, exported files, functions, finished images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.images import paint
from torch import nn

from kd_plugin import GeneratorSpec, load_teacher
from kd_plugin.compression.compress import load_of_family
from kd_plugin.compression.teachers import Teacher, loader_with, open_teacher, probe
from kd_plugin.errors import ArgumentError, CheckpointError, KDError
from kd_plugin.networks.generator import build_generator

SPEC = GeneratorSpec("resnet", 3, 3, 4, 1, "batch", False, False)
IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1

_FUNCTIONS = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1), nn.Tanh())

def halves():
    return nn.Conv2d(3, 3, 2, stride=2)

def features():
    return nn.Conv2d(3, 8, 1)

def fails():
    raise RuntimeError("no weights here")

def number():
    return 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build_generator(SPEC).train()
    network(IMAGES)  # statistics that are not those of an untrained network
    (tmp_path / "big").mkdir()
    torch.save(network.state_dict(), tmp_path / "big" / "latest_net_G.pth")
    return tmp_path / "big" / "latest_net_G.pth"


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "some_teachers.py").write_text(_FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def opened(path: Path | None = None, **named: object) -> Teacher:
    return open_teacher(path, load=load_of_family, **named)  # type: ignore[arg-type]


def out(teacher: Teacher, images: torch.Tensor = IMAGES) -> torch.Tensor:
    with torch.no_grad():
        return teacher.network(images)  # type: ignore[no-any-return]


def test_options_lie_next_to_the_weights_of_a_function(functions: Path, tmp_path: Path) -> None:
    import some_teachers  # type: ignore[import-not-found]

    (tmp_path / "run").mkdir()
    torch.save(some_teachers.build().state_dict(), tmp_path / "run" / "weights.pth")
    (tmp_path / "run" / "train_opt.txt").write_text("  crop_size: 32  \n  preprocess: crop  \n")
    teacher = opened(function="some_teachers:build", weights=tmp_path / "run" / "weights.pth")
    assert teacher.trained == {"crop_size": "32", "preprocess": "crop"}


def test_finished_images_are_known_by_their_names_and_sizes(tmp_path: Path) -> None:
    digests = []
    for seed in (0, 1):
        for folder in ("first", "second"):
            paint(tmp_path / folder / "a.png", 16, 16, seed if folder == "first" else 0)
        digests.append([opened(images=tmp_path / folder).digest for folder in ("first", "second")])
    assert digests[0][0] == digests[0][1] == digests[1][1] != digests[1][0]


class TestFiles:
    @pytest.mark.parametrize("named", ["file", "folder"])
    def test_a_checkpoint_is_frozen_in_eval_mode(self, file: Path, named: str) -> None:
        teacher = opened(file if named == "file" else file.parent)
        assert torch.equal(out(teacher), load_teacher(file)(IMAGES))
        alone = torch.cat([out(teacher, image) for image in IMAGES.split(1)])
        torch.testing.assert_close(out(teacher), alone, rtol=0, atol=1e-6)
        assert not any(p.requires_grad for p in teacher.network.parameters())
        assert (teacher.spec, teacher.readable, teacher.multiple, teacher.channels) == (
            load_teacher(file).spec,
            True,
            1,
            3,
        )

    def test_train_mode_has_the_statistics_of_the_batch(self, file: Path) -> None:
        teacher = opened(file, mode="train")
        state = {key: value for key, value in teacher.network.state_dict().items() if "tracked" not in key}
        before = {key: value.clone() for key, value in state.items()}
        assert torch.equal(out(teacher), load_teacher(file, "train")(IMAGES))
        assert all(torch.equal(value, before[key]) for key, value in state.items())

    def test_a_direction_chooses_among_the_generators_of_a_folder(self, tmp_path: Path) -> None:
        for seed, net in enumerate(("G_A", "G_B")):
            torch.manual_seed(seed)
            torch.save(build_generator(SPEC).state_dict(), tmp_path / f"latest_net_{net}.pth")
        for direction, net in (("AtoB", "G_A"), ("BtoA", "G_B")):
            expected = load_teacher(tmp_path / f"latest_net_{net}.pth")(IMAGES)
            assert torch.equal(out(opened(tmp_path, direction=direction)), expected)
            assert torch.equal(out(opened(tmp_path / f"latest_net_{net}.pth")), expected)
        (tmp_path / "train_opt.txt").write_text("  direction: AtoB  \n")
        with pytest.raises(CheckpointError, match=r"translates AtoB, by the options of its training, not BtoA"):
            opened(tmp_path / "latest_net_G_A.pth", direction="BtoA")
        with pytest.raises(ArgumentError, match=r"more than one generator: latest_net_G_A.pth .AtoB. and"):
            opened(tmp_path)

    def test_a_program_of_torch_export(self, file: Path, tmp_path: Path) -> None:
        network = load_teacher(file)
        torch.export.save(torch.export.export(network, (IMAGES[:1],)), tmp_path / "one.pt2")
        teacher = opened(tmp_path / "one.pt2")
        expected = torch.cat([network(image) for image in IMAGES.split(1)])
        torch.testing.assert_close(out(teacher), expected, rtol=0, atol=1e-6)
        assert not teacher.readable
        probe(teacher, 3, 16)
        with pytest.raises(KDError, match=r"does not take images \(1, 3, 24, 24\)"):
            probe(teacher, 1, 24)

    def test_an_onnx_file(self, file: Path, tmp_path: Path) -> None:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
        network = load_teacher(file)
        torch.onnx.export(network, (IMAGES[:1],), tmp_path / "one.onnx", dynamo=True, verbose=False)
        teacher = opened(tmp_path / "one.onnx")
        torch.testing.assert_close(out(teacher), network(IMAGES), rtol=0, atol=1e-5)
        with pytest.raises(KDError, match=r"takes .16, 16. pixels"):
            probe(teacher, 1, 24)

    def test_other_weights_have_another_digest(self, file: Path, tmp_path: Path) -> None:
        torch.save(build_generator(SPEC).state_dict(), tmp_path / "other.pth")
        assert opened(file).digest == opened(file.parent).digest != opened(tmp_path / "other.pth").digest

    def test_options_of_its_training_lie_next_to_it(self, file: Path) -> None:
        assert opened(file).trained == {}
        lines = {"crop_size": "128", "preprocess": "scale_width_and_crop", "no_flip": "True", "suffix": ""}
        text = "".join(f"{name:>25}: {value:<30}\t[default: 256]\n" for name, value in lines.items())
        (file.parent / "train_opt.txt").write_text(f"----- Options -----\n{text}----- End -----\n")
        found = opened(file).trained
        assert {name: found[name] for name in ("crop_size", "preprocess", "no_flip")} == {
            "crop_size": "128",
            "preprocess": "scale_width_and_crop",
            "no_flip": "True",
        }


class TestFunctions:
    def test_the_network_with_its_weights(self, functions: Path) -> None:
        import some_teachers  # type: ignore[import-not-found]

        torch.manual_seed(3)
        network = some_teachers.build().eval()
        torch.save(network.state_dict(), functions / "weights.pth")
        teacher = opened(function="some_teachers:build", weights=functions / "weights.pth")
        assert torch.equal(out(teacher), network(IMAGES))
        assert (teacher.spec, teacher.readable, probe(teacher, 1, 20)) == (None, False, 3)
        again = opened(function="some_teachers:build", weights=functions / "weights.pth")
        torch.save(some_teachers.build().state_dict(), functions / "other.pth")
        other = opened(function="some_teachers:build", weights=functions / "other.pth")
        assert teacher.digest == again.digest != other.digest

    def test_a_report_gets_the_network_itself(self, functions: Path, file: Path) -> None:
        teacher = opened(function="some_teachers:build")
        load = loader_with(teacher, load_of_family)
        (named,) = teacher.experiment.files.values()
        assert load(named).module is teacher.network
        assert load(file).spec == load_teacher(file).spec

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            ("some_teachers:fails", "cannot be built: RuntimeError: no weights here"),
            ("some_teachers:number", "returned a int, expected a network"),
            ("some_teachers:none", "has no attribute 'none'"),
            ("no_such_module:build", "No module named 'no_such_module'"),
        ],
    )
    def test_one_that_builds_no_network_is_refused(self, functions: Path, function: str, message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            opened(function=function)

    @pytest.mark.parametrize(
        ("function", "message"),
        [("halves", "returns 8x8 pixels for 16x16"), ("features", r"returns \(2, 8, 16, 16\), expected images")],
    )
    def test_one_that_returns_other_than_images_of_the_size_is_refused(
        self, functions: Path, function: str, message: str
    ) -> None:
        with pytest.raises(KDError, match=message):
            probe(opened(function=f"some_teachers:{function}"), 2, 16)

    def test_other_weights_are_refused(self, functions: Path, file: Path) -> None:
        with pytest.raises(CheckpointError, match="not the weights of some_teachers:build"):
            opened(function="some_teachers:build", weights=file)

    def test_weights_cannot_run_code(self, functions: Path) -> None:
        class Attack:
            def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
                return os.system, (f"touch {functions}/attacked",)

        torch.save({"0.weight": Attack()}, functions / "attack.pth")
        with pytest.raises(CheckpointError):
            opened(function="some_teachers:build", weights=functions / "attack.pth")
        assert not (functions / "attacked").exists()


class TestErrors:
    def test_a_teacher_is_named_in_one_way(self, file: Path, tmp_path: Path) -> None:
        with pytest.raises(ArgumentError, match="a file and a function given: name the teacher in one way"):
            opened(file, function="a:b")
        with pytest.raises(ArgumentError, match="no teacher given"):
            opened()
        with pytest.raises(ArgumentError, match="belong to a teacher's function, and none is given"):
            opened(file, weights=file)

    def test_images_are_no_network(self, tmp_path: Path) -> None:
        paint(tmp_path / "images" / "0.png", 16, 16, 0)
        with pytest.raises(CheckpointError, match="is a folder of images, not of checkpoints"):
            opened(tmp_path / "images")
        assert opened(images=tmp_path / "images").finished
        (tmp_path / "empty").mkdir()
        with pytest.raises(KDError, match="no images"):
            opened(images=tmp_path / "empty")

    def test_a_size_that_a_u_net_does_not_take(self, tmp_path: Path) -> None:
        spec = GeneratorSpec("unet", 3, 3, 2, 5, "batch", False, False)
        torch.save(build_generator(spec).state_dict(), tmp_path / "latest_net_G.pth")
        with pytest.raises(ArgumentError, match="multiples of 32, not 48"):
            probe(opened(tmp_path), 1, 48)
        assert probe(opened(tmp_path), 1, 64) == 3


def test_teach_gives_images_and_features(file: Path) -> None:
    teacher = opened(file)
    output, features = teacher.teach({"model.1"}, teacher.network, None)({"input": IMAGES})
    assert torch.equal(output, out(teacher))
    first = next(m for m in teacher.network.modules() if isinstance(m, nn.Conv2d))
    padded = nn.ReflectionPad2d(3)(IMAGES)
    with torch.no_grad():
        assert torch.equal(features["model.1"], first(padded))


def test_finished_images_teach_without_a_network(tmp_path: Path) -> None:
    paint(tmp_path / "images" / "0.png", 16, 16, 0)
    teacher = opened(images=tmp_path / "images")
    given = torch.from_numpy(np.ones((1, 3, 2, 2), np.float32))
    output, features = teacher.teach(set(), teacher.network, None)({"teacher": given})
    assert output is given and not features
