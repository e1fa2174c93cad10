"""``examples/translate_large.py``: its tiles are the image at once, with the statistics that it says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import REPOSITORY
from helpers.generators import random_generator, save_generator
from PIL import Image

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.export.network import deployed
from kd_plugin.export.tiling import tile_networks
from kd_plugin.networks.translator import to_array, to_tensor

SCRIPT = REPOSITORY / "examples" / "translate_large.py"
SPEC = GeneratorSpec("resnet", 3, 3, 8, 1, "instance", False, True)
TILE = 72

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("translate_large")]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    checkpoint = save_generator(folder / "small", SPEC)
    assert main(["export", str(checkpoint), "--tiles", "--size", str(TILE), "-o", str(folder / "small.onnx")]) == 0
    return folder / "small.onnx"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("translate_large", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def run(*arguments: object) -> str:
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("how", [[], ["--thumbnail"]], ids=["parts", "thumbnail"])
@pytest.mark.parametrize("size", [(TILE, TILE), (150, 203), (TILE, 131), (60, 100)])
def test_tiles_are_the_image_at_once(
    size: tuple[int, int], how: list[str], file: Path, script: Any, tmp_path: Path
) -> None:
    image = picture(*size)
    Image.fromarray(image).save(tmp_path / "in.png")
    run(file, tmp_path / "in.png", tmp_path / "out.png", *how)
    found = np.asarray(Image.open(tmp_path / "out.png"))

    student = script.TiledStudent(file, TILE, 1)
    parts = (script.thumbnail if how else script.sample)(image, student)
    statistics, tiles = tile_networks(deployed(random_generator(SPEC), "picture"))
    sides = (max(-(-side // 4) * 4, TILE) for side in size)  # beyond the end, the last pixels are repeated
    padded = np.pad(image, [(0, more - side) for more, side in zip(sides, size, strict=True)] + [(0, 0)], "edge")
    with torch.no_grad():
        output = tiles(to_tensor([padded]), statistics(to_tensor(parts)))[0]
    expected = to_array(output)[: size[0], : size[1]]
    assert found.shape == image.shape
    assert np.abs(found.astype(int) - expected).max() <= 1  # a value at the edge of a step may be rounded otherwise


def test_an_array_is_translated_on_the_disk(file: Path, tmp_path: Path) -> None:
    image = picture(100, 180)
    np.save(tmp_path / "in.npy", image)
    Image.fromarray(image).save(tmp_path / "in.png")
    run(file, tmp_path / "in.npy", tmp_path / "out.npy")
    said = run(file, tmp_path / "in.png", tmp_path / "out.png")
    assert "tiles in" in said
    assert (np.load(tmp_path / "out.npy") == np.asarray(Image.open(tmp_path / "out.png"))).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"target": "in.png"}, "is the source"),
        ({"target": "gone/out.png"}, "in a folder that exists"),
        ({"target": "out.what"}, "give an image or .npy"),
        ({"source": "text.png"}, "cannot be read"),
        ({"source": "small.png"}, "smaller than 8 pixels"),
    ],
)
def test_refused(change: dict[str, str], message: str, file: Path, tmp_path: Path) -> None:
    for name, side in (("in.png", 80), ("small.png", 6)):
        Image.fromarray(picture(side, side)).save(tmp_path / name)
    (tmp_path / "text.png").write_text("no image")
    words = [tmp_path / name for name in ({"source": "in.png", "target": "out.png"} | change).values()]
    done = subprocess.run([sys.executable, SCRIPT, file, *words], capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.png", "small.png", "text.png"]


def test_a_tile_that_is_no_larger_than_its_margins_is_refused(tmp_path: Path) -> None:
    checkpoint = save_generator(tmp_path / "small", SPEC)
    target = tmp_path / "any.onnx"
    assert main(["export", str(checkpoint), "--tiles", "--dynamic", "--size", str(TILE), "-o", str(target)]) == 0
    Image.fromarray(picture(80, 80)).save(tmp_path / "in.png")
    for tile in ("0", "40", "75"):
        command = [sys.executable, SCRIPT, target, tmp_path / "in.png", tmp_path / "out.png", "--tile", tile]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and f"--tile {tile}: give a multiple of 4" in done.stderr


def test_parts_cover_an_image_that_is_not_too_large(script: Any, file: Path) -> None:
    student = script.TiledStudent(file, TILE, 1)
    image = picture(2 * TILE, 3 * TILE)
    parts = script.sample(image, student)
    assert sum(part.size for part in parts) == image.size
    assert len(script.sample(picture(9 * TILE, 20 * TILE), student)) == script.SAMPLE
