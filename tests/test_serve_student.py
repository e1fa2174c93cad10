"""``examples/serve_student.py`` gives the generator's images; what runs files needs no package of this project."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import REPOSITORY
from helpers.generators import random_generator, save_generator
from helpers.images import paint
from PIL import Image

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.networks.translator import ModuleTranslator, to_array, to_tensor

SCRIPT = REPOSITORY / "examples" / "serve_student.py"
SPEC = GeneratorSpec("resnet", 3, 3, 8, 1, "instance", False, True)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serve_student")]


@pytest.mark.parametrize("script", [SCRIPT, SCRIPT.with_name("translate_large.py")], ids=lambda path: path.stem)
def test_it_imports_onnxruntime_numpy_and_pillow_alone(script: Path) -> None:
    tree = ast.parse(script.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert others == {"numpy", "onnxruntime", "PIL"}


OPTIONS = {"plain": [], "frames": ["--uint8"], "any": ["--dynamic"]}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a generator, exported in each way."""
    folder = tmp_path_factory.mktemp("files")
    file = save_generator(folder / "small", SPEC)
    for name, options in OPTIONS.items():
        assert main(["export", str(file), "--size", "32", *options, "-o", str(folder / f"{name}.onnx")]) == 0
    return folder


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("how", ["folder", "stream"])
def test_its_images_are_the_generators(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        paint(tmp_path / "photos" / f"{i}.png", 32, 32, i)
    images = [np.asarray(Image.open(f"photos/{i}.png").convert("RGB")) for i in range(3)]
    translator = ModuleTranslator(random_generator(SPEC), "", "")
    wanted = [to_array(translator.translate(to_tensor([image]), [0])[0]) for image in images]
    command = [
        sys.executable,
        str(SCRIPT),
        str(files / f"{name}.onnx"),
        *(["photos", "out"] if how == "folder" else ["-", "-"]),
    ]
    sent = b"".join(image.tobytes() for image in images)
    ended = subprocess.run(command, input=sent if how == "stream" else b"", capture_output=True, check=False)
    if how == "stream" and name == "any":
        assert ended.returncode == 2 and b"export it for the size of the frames" in ended.stderr
        return
    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(rb"3 images, [\d.]+ frames per second\n", ended.stderr)
    if how == "stream":
        found = list(np.frombuffer(ended.stdout, np.uint8).reshape(3, 32, 32, 3))
    else:
        found = [np.asarray(Image.open(f"out/{i}.png")) for i in range(3)]
    # Rounded down: a value at the edge of two steps may fall to either side.
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(found, wanted, strict=True))
