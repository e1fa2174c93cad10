"""The page of a plan: the generators whose speed is measured, and the times that a device sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ...errors import ArgumentError
from ...metrics.cost import generator_cost
from ...networks.generator import GeneratorSpec, build_generator
from ...students.device import DeviceTimes
from ..export import export
from ..parity import Parity
from ..settings import ExportSettings
from .folder import MODELS, WebModel
from .serve import DEVICE_NAME

_FACTS = {"weights": "random: the file is for measuring the speed"}  # saved in the files


def export_plan(
    teacher: GeneratorSpec,
    students: Sequence[GeneratorSpec],
    size: int,
    folder: Path,
    progress: Callable[[float, str], None] = lambda done, text: None,
) -> tuple[list[tuple[WebModel, Path]], Parity]:
    """Write a teacher and its students as ONNX files; return them, and the largest difference of a file.

    Their weights are PyTorch's initial ones, which do not affect the time.

    Args:
        teacher: description of the teacher.
        students: descriptions of the students.
        size: side of a square image in pixels.
        folder: for the files, which exists.
        progress: called with the completed fraction, 0 to 1, and what comes next.

    Raises:
        ArgumentError: If the size does not suit a generator.
        KDError: If a generator cannot be exported.
    """
    models, parities = [], []
    for number, spec in enumerate([teacher, *students]):
        name = "teacher" if number == 0 else _name(spec)
        progress(number / (1 + len(students)), f"exporting {name}")
        file = folder / f"{name.replace(', ', '_').replace(' ', '')}.onnx"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = build_generator(spec)
        settings = ExportSettings(file, height=size, width=size)
        result = export(network, settings, spec, spec.input_nc, _FACTS)
        parities.append(result.parity)
        cost = generator_cost(spec, size)
        numbers = int(cost.params), int(cost.macs), spec.input_nc, result.size
        models.append((WebModel(name, file.name, *numbers, spec.to_dict()), file))
    return models, max(parities, key=lambda parity: parity.largest)


def _name(spec: GeneratorSpec) -> str:
    return f"{spec.netG}, ngf {spec.ngf}{', separable' if spec.conv == 'separable' else ''}"


def is_plan(folder: Path) -> bool:
    """Return whether a folder has the page of a plan."""
    try:
        return "device" in json.loads((folder / MODELS).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def save_times(folder: Path, body: bytes) -> DeviceTimes:
    """Write the times that a device measured with the page to its folder, and return them.

    Args:
        folder: of the page.
        body: what the device sent, which is not trusted.

    Raises:
        ArgumentError: If it is not the times of all generators of the page.
        OSError: If the page cannot be read, or the file cannot be written.
    """
    try:
        times = DeviceTimes.from_json(body.decode())
    except UnicodeDecodeError:
        raise ArgumentError("not UTF-8") from None
    try:
        page = json.loads((folder / MODELS).read_text(encoding="utf-8"))
        teacher, *students = (GeneratorSpec.from_dict(model["spec"]) for model in page["models"])
        size = page["width"], page["height"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"{folder / MODELS} is damaged: write the page again") from error
    if (times.width, times.height) != size:
        raise ArgumentError("the images are not of the page's size")
    if times.teacher.spec != teacher or {student.spec for student in times.students} != set(students):
        raise ArgumentError("the generators are not those of the page: load it again")
    times.write(folder / DEVICE_NAME)
    return times
