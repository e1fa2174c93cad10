"""Run an export for the options of ``kd export``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ArgumentError, CheckpointError, KDError, OptionError
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
from ..networks.generator import GeneratorSpec
from ..progress import Phase, Progress
from ..report.experiments import find_experiment, options_of
from ..students import StudentRecord
from .shared import generator_path, path_of

_SIZE = 256
_TEACHER = {"sha256": "sha256", "parameters": "parameters", "network": "netG"}  # facts by name
_OWN_OPTIONS = {"force": "--force"}  # of arguments that an error names


def run(options: argparse.Namespace, path: Path) -> int:
    """Export; return the exit status."""
    sys.path.append(os.getcwd())  # for the user's functions: an installed script does not search the folder
    try:
        source = _open(path, options)
        if options.bench:
            _print_times(options, source)
        elif options.web:
            _write_page(options, source)
        else:
            _print(_exported(source, _settings(options, source)))
    except ArgumentError as error:
        raise OptionError(f"kd export: {error}{_hint(error)}") from error
    return 0


@dataclass(frozen=True)
class _Source:
    """A generator to export.

    Attributes:
        path: as the user named it.
        file: its checkpoint.
        net: its name in the host, such as ``G_A``.
        direction: which it translates, if its folder has both; else "".
        record: that of its training, if it is there.
        network: the generator.
        spec: its description, if it is of the family.
        channels: of its input.
    """

    path: Path
    file: Path
    net: str
    direction: str
    record: StudentRecord | None
    network: nn.Module
    spec: GeneratorSpec | None
    channels: int

    @property
    def name(self) -> str:
        """A name for the reader, which differs between the generators of a folder."""
        if not self.path.is_dir():
            return self.file.stem
        epoch = self.file.name.partition("_net_")[0]
        parts = self.path.resolve().name, self.direction, "" if epoch == "latest" else epoch
        return "_".join(part for part in parts if part)

    def of(self, described: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the part of a record that is about this generator."""
        only = next(iter(described.values())) if len(described) == 1 else {}
        return described.get(self.net, only)


def _open(path: Path, options: argparse.Namespace) -> _Source:
    """Load the generator that a path and the direction name."""
    experiment = find_experiment(path, "student", options.epoch)
    if not experiment.files:
        raise CheckpointError(f"{path}: has no generators")
    named = {way: file for way, file in experiment.files.items() if options.direction in (None, way) or not way}
    if len(named) != 1:
        listed = " and ".join(f"{file.name} ({way})" for way, file in experiment.files.items())
        raise OptionError(f"kd export {path}: name one of {listed}, or a --direction")
    way, file = next(iter(named.items()))
    record = StudentRecord.read(file.parent, network_options())
    if record and not record.is_of(file.parent, file.name.partition("_net_")[0]):
        record = None  # of an earlier network
    loaded = load_file(file)
    net = file.stem.partition("_net_")[2]
    several = way if len(experiment.files) > 1 else ""
    source = _Source(path, file, net, several, record, loaded.module, loaded.spec, 3)
    described = source.of(record.students) if record else {}
    return replace(source, channels=loaded.spec.input_nc if loaded.spec else int(described.get("input_nc", 3)))


def _exported(source: _Source, settings: ExportSettings) -> Exported:
    return export(source.network, settings, source.spec, source.channels, _facts(source))


def _write_page(options: argparse.Namespace, source: _Source) -> None:
    """Write the page of a generator, and of its teacher if there is one."""
    folder = Path(options.web).expanduser()
    check_folder(folder, options.force)
    runtime = find_runtime(path_of(options.ort))
    settings = _settings(options, source)
    teacher = _teacher_of(options, source)
    sources = {"teacher": teacher, "student": source} if teacher else {"generator": source}
    models = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, one in sources.items():
            target = Path(temporary) / f"{name}.onnx"
            result = _exported(one, replace(settings, output=target, format="onnx"))
            square = one.spec is not None and settings.height == settings.width
            macs = int(generator_cost(one.spec, settings.height).macs) if one.spec and square else None
            size = target.stat().st_size
            models.append(
                (WebModel(name, target.name, count_parameters(one.network), macs, one.channels, size), target)
            )
            print(f"{name}: {result.parity}")
        try:
            write_folder(folder, source.name, models, settings.width, settings.height, runtime)
        except OSError as error:
            raise KDError(f"{folder}: cannot be written ({error.strerror or error})") from error
    more = "" if options.serve else f": serve the folder, with kd export --web {folder} --serve or any server"
    print(f"{folder / 'index.html'}{more}")


def _print_times(options: argparse.Namespace, source: _Source) -> None:
    """Print the times of a generator, and of its teacher if there is one, in the runtimes."""
    settings = _settings(options, source)
    teacher = _teacher_of(options, source)
    sources = {"teacher": teacher, "student": source} if teacher else {"generator": source}
    progress = Progress([Phase("timing", 60)])
    progress.begin("timing")
    try:
        timings = time_generators(
            {name: one.network for name, one in sources.items()},
            settings.height,
            settings.width,
            source.channels,
            statistics=settings.statistics,
            progress=progress.update,
        )
    finally:
        progress.clear()
    print(f"one image of {settings.width}x{settings.height} on the CPU, {torch.get_num_threads()} threads; medians")
    print(timing_table(timings))
    if teacher and teacher.spec and source.spec and settings.height == settings.width:
        large, small = (generator_cost(spec, settings.height).macs for spec in (teacher.spec, source.spec))
        print(f"MACs: {large / 1e9:.2f} G and {small / 1e9:.2f} G, {large / small:.2f}x fewer")


def _teacher_of(options: argparse.Namespace, source: _Source) -> _Source | None:
    """Return the teacher to compare with: the given one, or that of the record, if it is still there."""
    found: _Source | None = None
    if options.teacher:
        found = _open(generator_path(options.teacher, options.checkpoints_dir), options)
    else:
        known = source.of(source.record.teachers) if source.record else {}
        file = Path(str(known.get("file", "")))
        if file.is_file() and sha256(file) == known.get("sha256"):
            found = _open(file, options)
    if found and found.channels != source.channels:
        raise ArgumentError(
            f"the teacher {found.file} takes images of {found.channels} channels, the generator {source.channels}"
        )
    return found


def _settings(options: argparse.Namespace, source: _Source) -> ExportSettings:
    given = Path(options.output).expanduser() if options.output else None
    by_suffix: dict[str, Format] = {suffix: format for format, suffix in SUFFIXES.items()}
    format: Format = options.format or by_suffix.get(given.suffix if given else "", "onnx")
    trained = options_of(source.file).get("crop_size", "")
    side = int(trained) if trained.isdecimal() and int(trained) else _SIZE
    width, height = options.size or (side, side)
    distillation = source.record.distillation if source.record else {}
    tested: Statistics = "running" if distillation.get("student_mode") == "eval" else "picture"
    return ExportSettings(
        output=given or Path(f"{source.name}{SUFFIXES[format]}"),
        format=format,
        height=height,
        width=width,
        dynamic=options.dynamic,
        half=options.half,
        int8=path_of(options.int8),
        images=path_of(options.images),
        statistics=options.statistics or tested,
        frames=options.uint8,
        tiles=options.tiles,
        force=options.force,
    )


def _facts(source: _Source) -> dict[str, str]:
    """Return what to save in the file about its origin."""
    facts = {"source": source.file.name, "source sha256": sha256(source.file)}
    if source.record:
        teacher = source.of(source.record.teachers)
        facts |= {"terms": str(source.record.distillation.get("distill", ""))}
        facts |= {f"teacher {name}": str(teacher[key]) for name, key in _TEACHER.items() if key in teacher}
    return {name: text for name, text in facts.items() if text}


def _hint(error: ArgumentError) -> str:
    option = _OWN_OPTIONS.get(error.argument)
    return f", with {option}" if option else ""


def _print(result: Exported) -> None:
    print(f"{result.file}: {result.shapes}, {result.size / 1e6:.2f} MB")
    if result.operators:
        print(result.operators)
    for note in result.notes:
        print(f"note: {note}")
    print(f"compared with the generator: {result.parity}, {result.images}")
    if result.seams:
        print(f"tiles that overlap by {result.seams.margin} pixels on each side, of an image of 2x2 of them:")
        print(f"  seams, to the image at once with the same statistics: {result.seams.seams}")
        print(f"  with statistics of its quarters, to the generator: {result.seams.parts}")
        print(f"  with statistics of a thumbnail, to the generator: {result.seams.thumbnail}")
