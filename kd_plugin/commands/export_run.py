"""Run an export for the options of ``kd export``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, CheckpointError, OptionError
from ..export.export import Exported, export
from ..export.network import Statistics
from ..export.settings import SUFFIXES, ExportSettings, Format
from ..files import sha256
from ..host.model.load_generator import load_file
from ..host.repository.family import network_options
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
    record = _record_of(file, options.epoch)
    try:
        settings = _settings(options, file, path, record)
        loaded = load_file(file)
        channels = loaded.spec.input_nc if loaded.spec else int(_described(record).get("input_nc", 3))
        result = export(loaded.module, settings, loaded.spec, channels, _facts(file, record))
    except ArgumentError as error:
        raise OptionError(f"kd export: {error}{_hint(error)}") from error
    _print(result)
    return 0


def _file_of(path: Path, options: argparse.Namespace) -> Path:
    experiment = find_experiment(path, "student", options.epoch)
    if not experiment.files:
        raise CheckpointError(f"{path}: has no generators")
    named = {way: file for way, file in experiment.files.items() if options.direction in (None, way) or not way}
    if len(named) == 1:
        return next(iter(named.values()))
    listed = " and ".join(f"{file.name} ({way})" for way, file in experiment.files.items())
    raise OptionError(f"kd export {path}: name one of {listed}, or a --direction")


def _record_of(file: Path, epoch: str) -> StudentRecord | None:
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
