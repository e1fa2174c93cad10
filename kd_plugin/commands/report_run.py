"""Run a report for the options of ``kd report``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import ArgumentError, OptionError, UnknownNetworkError
from ..files import write_text_atomically
from ..host.options.record import refuse_among_checkpoints
from ..host.repository.family import network_options
from ..networks.checkpoint import read_state_dict
from ..networks.teacher import load_teacher
from ..pictures import Preprocessing
from ..report.build import Settings, build_report
from ..report.experiments import dropout_of, find_experiment
from ..report.networks import LoadedFile
from ..report.page import write_page
from ..report.store import NAME, Store
from ..students import RECORD_NAME, StudentRecord, build_student


def run(options: argparse.Namespace, preprocessing: Preprocessing, sections: Sequence[str]) -> int:
    """Write the report; return 1 if images or measures were left out."""
    output = Path(options.output).expanduser()
    experiments = [find_experiment(Path(options.teacher), "teacher", options.epoch)] if options.teacher else []
    experiments += [find_experiment(Path(path), "student", options.epoch) for path in options.student]
    settings = Settings(
        experiments=tuple(experiments),
        preprocessing=preprocessing,
        sections=tuple(sections),
        mode="eval" if options.eval else "train",
        device=_device(options.device),
        batch=options.batch_size,
        title=options.title or "",
        load=load_generator,
        features=options.features,
        inception=options.inception and Path(options.inception),
        distances=not options.no_fid,
        lpips=options.lpips,
        segmenter=options.segmenter,
        labels=options.labels and Path(options.labels),
        sizes=options.sizes or (options.size,),
        batches=options.batches,
        limit=options.num_test,
        command=" ".join(["kd report", *sys.argv[2:]]),
    )
    folders = {name: getattr(options, name) for name in ("images", "dataroot", "truth", "pairs", "real")}
    paths = {name: Path(value).expanduser() if value else None for name, value in folders.items()}
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"--output {output}: {error.strerror or error}") from error
    with Store(output / NAME) as store:
        report = build_report(settings, paths, options.phase, options.direction, output, store)
    write_text_atomically(output / "report.json", json.dumps(report.to_dict(), indent=2) + "\n")
    page = write_page(report, output)
    left_out = [problem for problem in report.problems if problem.fatal]
    for problem in left_out[:5]:
        print(f"kd report: {problem.what}: {problem.reason}", file=sys.stderr)
    if len(left_out) > 5:
        print(f"kd report: and {len(left_out) - 5} more, which the page lists", file=sys.stderr)
    print(page)
    return 1 if left_out else 0


def load_generator(file: Path) -> LoadedFile:
    """Load a generator of the family from its file, or another from its record.

    Raises:
        CheckpointError: it cannot be read, or is of neither kind.
    """
    try:
        network = load_teacher(file, dropout=dropout_of(file))
        return LoadedFile(network, network.spec)
    except UnknownNetworkError:
        record = StudentRecord.read(file.parent, network_options())
        if record is None or not record.request.factory:
            raise
    request = record.request
    refuse_among_checkpoints(request.factory, file.parent.parent, file.parent / RECORD_NAME)
    names = {"input_nc", "output_nc", "ngf", "netG", "norm"}
    named = {name: value for name, value in record.host_options.items() if name in names}
    module = build_student(replace(request, **named, dropout=not record.host_options.get("no_dropout", False)))
    try:
        module.load_state_dict(read_state_dict(file))
    except RuntimeError as error:
        raise ArgumentError(f"{file}: not a network of {request.factory}, which its record names") from error
    return LoadedFile(module, None)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise OptionError(f"--device {name}: give cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"--device {name}: PyTorch finds no CUDA GPU, use cpu")
    return device
