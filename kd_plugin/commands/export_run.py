"""Run an export for the options of ``kd export``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..errors import ArgumentError, CheckpointError, OptionError
from ..export.bench import time_generators, timing_table
from ..export.export import Exported, export
from ..export.network import Statistics
from ..export.settings import SUFFIXES, ExportSettings, Format
from ..export.web.folder import WebModel, check_folder, write_folder
from ..export.web.runtime import find_runtime
from ..files import sha256
from ..host.model.load_generator import load_file
from ..host.repository.family import network_options
from ..metrics.cost import count_parameters, generator_cost
from ..progress import Phase, Progress
from ..report.experiments import find_experiment, options_of
from ..students import StudentRecord
from .shared import path_of

_SIZE = 256
_TEACHER = {"sha256": "sha256", "parameters": "parameters", "network": "netG"}  # facts by name
_OWN_OPTIONS = {"force": "--force"}  # of arguments that an error names


def run(options: argparse.Namespace, path: Path) -> int:
    """Export; return the exit status."""
    sys.path.append(os.getcwd())  # for the user's functions: an installed script does not search the folder
    file = _file_of(path, options)
    record = _record_of(file)
    try:
        if options.bench:
            _print_times(options, file, path, record)
        elif options.web:
            _write_page(options, file, path, record)
        else:
            _print(_exported(file, record, _settings(options, file, path, record)))
    except ArgumentError as error:
        raise OptionError(f"kd export: {error}{_hint(error)}") from error
    return 0


def _exported(file: Path, record: StudentRecord | None, settings: ExportSettings) -> Exported:
    loaded = load_file(file)
    return export(loaded.module, settings, loaded.spec, _channels(file, record), _facts(file, record))


def _channels(file: Path, record: StudentRecord | None) -> int:
    """Return the number of channels of a generator's input."""
    spec = load_file(file).spec
    return spec.input_nc if spec else int(_described(record).get("input_nc", 3))


def _write_page(options: argparse.Namespace, file: Path, path: Path, record: StudentRecord | None) -> None:
    """Write the page of a generator, and of its teacher if there is one."""
    folder = Path(options.web).expanduser()
    check_folder(folder, options.force)
    runtime = find_runtime(path_of(options.ort))
    settings = _settings(options, file, path, record)
    teacher = _teacher_of(options, record)
    models = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, source in (("teacher", teacher), ("student" if teacher else "generator", file)):
            if source is None:
                continue
            target = Path(temporary) / f"{name}.onnx"
            result = _exported(source, _record_of(source), replace(settings, output=target, format="onnx"))
            spec = load_file(source).spec
            parameters = count_parameters(load_file(source).module)
            macs = (
                int(generator_cost(spec, settings.height).macs)
                if spec and settings.height == settings.width
                else None
            )
            models.append((WebModel(name, target.name, parameters, macs, target.stat().st_size), target))
            print(f"{name}: {result.parity}")
        title = path.resolve().name if path.is_dir() else file.stem
        write_folder(folder, title, models, settings.width, settings.height, _channels(file, record), runtime)
    print(f"{folder / 'index.html'}: serve the folder, with kd export --web {folder} --serve or any server")


def _print_times(options: argparse.Namespace, file: Path, path: Path, record: StudentRecord | None) -> None:
    """Print the times of a generator, and of its teacher if there is one, in the runtimes."""
    settings = replace(_settings(options, file, path, record), output=Path(tempfile.gettempdir()) / "unused.onnx")
    teacher = _teacher_of(options, record)
    sources = {"teacher": teacher, "student": file} if teacher else {"generator": file}
    loaded = {name: load_file(source) for name, source in sources.items() if source}
    progress = Progress([Phase("timing", 60)])
    progress.begin("timing")
    try:
        timings = time_generators(
            {name: found.module for name, found in loaded.items()},
            settings.height,
            settings.width,
            _channels(file, record),
            statistics=settings.statistics,
            progress=progress.update,
        )
    finally:
        progress.clear()
    print(f"one image of {settings.width}x{settings.height} on the CPU, {torch.get_num_threads()} threads; medians")
    print(timing_table(timings))
    specs = [found.spec for found in loaded.values()]
    if len(specs) == 2 and specs[0] and specs[1] and settings.height == settings.width:
        macs = [generator_cost(spec, settings.height).macs for spec in specs if spec]
        print(f"MACs: {macs[0] / 1e9:.2f} G and {macs[1] / 1e9:.2f} G, {macs[0] / macs[1]:.2f}x fewer")


def _teacher_of(options: argparse.Namespace, record: StudentRecord | None) -> Path | None:
    """Return the teacher to compare with: the given one, or that of the record, if it is still there."""
    if options.teacher:
        return _file_of(Path(options.teacher).expanduser(), options)
    known = next(iter(record.teachers.values()), {}) if record else {}
    file = Path(str(known.get("file", "")))
    return file if file.is_file() and sha256(file) == known.get("sha256") else None


def _file_of(path: Path, options: argparse.Namespace) -> Path:
    experiment = find_experiment(path, "student", options.epoch)
    if not experiment.files:
        raise CheckpointError(f"{path}: has no generators")
    named = {way: file for way, file in experiment.files.items() if options.direction in (None, way) or not way}
    if len(named) == 1:
        return next(iter(named.values()))
    listed = " and ".join(f"{file.name} ({way})" for way, file in experiment.files.items())
    raise OptionError(f"kd export {path}: name one of {listed}, or a --direction")


def _record_of(file: Path) -> StudentRecord | None:
    """Return the record next to a generator, if it is its own."""
    record = StudentRecord.read(file.parent, network_options())
    return record if record and record.is_of(file.parent, file.name.partition("_net_")[0]) else None


def _described(record: StudentRecord | None) -> Mapping[str, Any]:
    return next(iter(record.students.values()), {}) if record else {}


def _settings(options: argparse.Namespace, file: Path, path: Path, record: StudentRecord | None) -> ExportSettings:
    given = Path(options.output).expanduser() if options.output else None
    by_suffix: dict[str, Format] = {suffix: format for format, suffix in SUFFIXES.items()}
    format: Format = options.format or by_suffix.get(given.suffix if given else "", "onnx")
    label = path.resolve().name if path.is_dir() else file.stem
    trained = options_of(file).get("crop_size", "")
    side = int(trained) if trained.isdecimal() and int(trained) else _SIZE
    width, height = options.size or (side, side)
    tested: Statistics = "running" if record and record.distillation.get("student_mode") == "eval" else "picture"
    return ExportSettings(
        output=given or Path(f"{label}{SUFFIXES[format]}"),
        format=format,
        height=height,
        width=width,
        dynamic=options.dynamic,
        half=options.half,
        int8=path_of(options.int8),
        images=path_of(options.images),
        statistics=options.statistics or tested,
        frames=options.uint8,
        force=options.force,
    )


def _facts(file: Path, record: StudentRecord | None) -> dict[str, str]:
    """Return what to save in the file about its origin."""
    facts = {"source": file.name, "source sha256": sha256(file)}
    if record:
        teacher = next(iter(record.teachers.values()), {})
        facts |= {"terms": str(record.distillation.get("distill", ""))}
        facts |= {f"teacher {name}": str(teacher[key]) for name, key in _TEACHER.items() if key in teacher}
    return {name: text for name, text in facts.items() if text}


def _hint(error: ArgumentError) -> str:
    option = _OWN_OPTIONS.get(error.argument)
    return f": {option}" if option else ""


def _print(result: Exported) -> None:
    size = result.file.stat().st_size
    print(f"{result.file}: {result.shapes}, {size / 1e6:.2f} MB")
    if result.operators:
        print(result.operators)
    for note in result.notes:
        print(f"note: {note}")
    print(f"compared with the generator: {result.parity}, {result.images}")
