"""``--kd_report`` of a host's test: compare the tested student with its teacher when the test has finished."""

from __future__ import annotations

import atexit
import sys
from argparse import Namespace
from pathlib import Path

import torch

from ...errors import KDError, OptionError
from ...pictures import Preprocessing
from ...processes import say
from ...report import SECTIONS
from ...report.experiments import Experiment, find_experiment
from ...report.settings import Settings
from ...report.write import write_report
from ...students import RECORD_NAME, StudentRecord
from ..options.command_line import CommandLine
from ..options.distill import experiment_folder
from ..repository.family import network_options
from .load_generator import load_file

_OPTION = "kd_report"


def add_report_option(line: CommandLine, record: StudentRecord | None) -> None:
    """Add ``--kd_report`` to a host's test, if it is on the command line.

    Raises:
        OptionError: the tested experiment is not a distilled student.
    """
    if f"--{_OPTION}" not in sys.argv[1:]:
        return
    line.parser.add_argument(f"--{_OPTION}", action="store_true", help="compare the student with its teacher")
    if record is None or not record.teachers:
        raise OptionError(
            f"--{_OPTION}: {experiment_folder(line.opt)} has no {RECORD_NAME} with a teacher: "
            "kd report --teacher BIG --student SMALL compares any generators"
        )


def report_at_exit(opt: Namespace) -> None:
    """Write the report when the program exits without an error, if ``--kd_report`` was given."""
    if getattr(opt, _OPTION, False):
        atexit.register(_report, opt)


def _report(opt: Namespace) -> None:
    if getattr(sys, "last_exc", None) or getattr(sys, "last_value", None):
        return
    folder = Path(opt.checkpoints_dir, opt.name)
    results = Path(getattr(opt, "results_dir", "results"), opt.name, f"{opt.phase}_{opt.epoch}", "report")
    single = getattr(opt, "dataset_mode", "") == "single"
    data = Path(opt.dataroot)
    folders = dict.fromkeys(("images", "dataroot", "truth", "pairs", "real"))
    try:
        record = StudentRecord.read(folder, network_options())
        assert record is not None  # checked when the option was added
        student = find_experiment(folder, "student", str(opt.epoch))
        settings = Settings(
            experiments=(_teacher_of(record, student), student),
            preprocessing=Preprocessing(opt.preprocess, opt.load_size, opt.crop_size),
            sections=SECTIONS,
            load=load_file,
            mode="eval" if getattr(opt, "eval", False) else "train",
            device=_device(opt),
            sizes=(opt.crop_size,),
            limit=getattr(opt, "num_test", None),
            command=" ".join(["kd run", *sys.argv]),
        )
        direction = opt.direction if len(student.files) == 1 else None
        write_report(settings, {**folders, "images" if single else "dataroot": data}, opt.phase, direction, results)
    except KDError as error:
        say(f"note: no report: {error}")


def _device(opt: Namespace) -> torch.device:
    if getattr(opt, "device", None) is not None:  # hosts since 2025
        return torch.device(opt.device)
    gpus = getattr(opt, "gpu_ids", [])
    return torch.device("cuda", gpus[0]) if gpus else torch.device("cpu")


def _teacher_of(record: StudentRecord, student: Experiment) -> Experiment:
    """Return the recorded teacher, with the files of the directions that the student's generators translate."""
    files = {}
    for direction, file in student.files.items():
        net = file.stem.partition("_net_")[2]
        if net in record.teachers:
            teacher = Path(str(record.teachers[net].get("file", "")))
            if not teacher.is_file():
                raise KDError(f"the teacher {teacher}, which {RECORD_NAME} names, is not there")
            files[direction] = teacher
    path = next(iter(files.values())).parent
    return Experiment(path, "teacher", path.resolve().name, files)
