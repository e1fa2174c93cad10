"""Run a report for the options of ``kd report``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..host.model.load_generator import load_file
from ..pictures import Preprocessing
from ..report.experiments import find_experiment
from ..report.settings import Settings
from ..report.write import write_report
from .shared import device_of, path_of

_FOLDERS = ("images", "dataroot", "truth", "pairs", "real")


def run(options: argparse.Namespace, preprocessing: Preprocessing, sections: Sequence[str]) -> int:
    """Write the report; return 1 if images or measures were left out, 130 if it was interrupted."""
    sys.path.append(os.getcwd())  # for the user's functions: an installed script does not search the folder
    experiments = [find_experiment(Path(options.teacher), "teacher", options.epoch)] if options.teacher else []
    experiments += [find_experiment(Path(path), "student", options.epoch) for path in options.student]
    settings = Settings(
        experiments=tuple(experiments),
        preprocessing=preprocessing,
        sections=tuple(sections),
        load=load_file,
        mode="eval" if options.eval else "train",
        device=device_of(options.device),
        batch=options.batch_size,
        title=options.title or "",
        features=options.features,
        inception=path_of(options.inception),
        distances=not options.no_fid,
        lpips=options.lpips,
        segmenter=options.segmenter,
        labels=path_of(options.labels),
        sizes=options.sizes or (options.size,),
        batches=options.batches,
        limit=options.num_test,
        command=shlex.join(["kd", *sys.argv[1:]]),
    )
    folders = {name: path_of(getattr(options, name)) for name in _FOLDERS}
    try:
        return write_report(settings, folders, options.phase, options.direction, Path(options.output).expanduser())
    except KeyboardInterrupt:
        print("\nkd report: interrupted; the same command continues", file=sys.stderr)
        return 130
