"""``kd plan``: list the students for a teacher, their costs on this machine, and the options that train them."""

from __future__ import annotations

import argparse
import functools
import re
from pathlib import Path
from typing import Any

from ..errors import OptionError
from ..metrics.limits import Limit, parse_limit
from ..networks.checkpoint_files import checkpoint_format, generator_files
from .page import add_page, bound_server, serve
from .shared import SIZE, add_json, add_size

_HERE = {"latency": None, "runtime": "pytorch", "device": "cpu", "paper": False, "json": False}  # with idle values
_LIMITS = {"params": "--params", "macs": "--macs", "file_size": "--file-size", "latency": "--latency"}


def add_parser(commands: Any) -> None:
    """Add the command to the parser of ``kd``."""
    parser = commands.add_parser(
        "plan",
        help="list the students for a teacher, or a budget, with their latency on this machine",
        description="List students of a teacher by width, depth and convolutions, with parameters, "
        "multiply-accumulates (MACs) and latency for one image, and the size of the checkpoint, the fastest first, "
        "followed by recommendations. Students that are slower than the teacher on this machine are omitted. "
        "A limit is an amount, or a factor such as 7x: at most a seventh of the teacher's.",
    )
    parser.add_argument(
        "teacher", metavar="TEACHER", nargs="?", help="checkpoint of the teacher, or its folder checkpoints/NAME"
    )
    parser.add_argument("--teacher", metavar="F", dest="named", help="the same, as an option")
    add_size(parser)
    parser.add_argument("--params", metavar="N", help="maximum number of parameters, e.g. 1.6M or 7x")
    parser.add_argument("--macs", metavar="N", help="maximum multiply-accumulates for one image, e.g. 8G or 7x")
    parser.add_argument("--latency", metavar="T", help="maximum time for one image on this machine, e.g. 50ms or 3x")
    parser.add_argument("--file-size", metavar="N", help="maximum size of the checkpoint file, e.g. 4MB or 7x")
    parser.add_argument("--size-mb", dest="file_size", type=_megabytes, help=argparse.SUPPRESS)  # deprecated name
    parser.add_argument("--device", default="cpu", help="device to measure on: cpu or cuda (default: cpu)")
    parser.add_argument(
        "--runtime",
        choices=("pytorch", "onnx", "openvino"),
        default="pytorch",
        help="runtime to measure in, of what kd export writes (default: pytorch)",
    )
    parser.add_argument("--paper", action="store_true", help="measure the students of the two papers instead")
    add_json(parser)
    page = parser.add_argument_group("page")
    add_page(
        page,
        "write a page that times the students on the device that visits it, instead of here, for --student_budget "
        "latency=30ms@device.json",
    )
    page.add_argument("--force", action="store_true", help="replace an existing page; its device.json is kept")
    parser.set_defaults(action=_plan)


def _megabytes(text: str) -> str:
    return f"{text}MB" if re.fullmatch(r"[\d.]+", text) else text


def _plan(options: argparse.Namespace) -> int:
    budget = _budget(options)
    _check_page(options)
    if options.runtime != "pytorch" and (options.paper or options.device != "cpu"):
        other = "--paper" if options.paper else f"--device {options.device}"
        raise OptionError(
            f"--runtime {options.runtime} measures the students of a teacher on the CPU: remove {other}"
        )
    if options.web and options.serve and not (options.teacher or options.named):
        return _serve_existing(options)
    given = _teacher(options)
    if not given:
        from .plan_output import papers_output

        print(papers_output(options))
        return 0
    file = Path(given).expanduser()
    if file.is_dir():
        file = generator_files(file, "latest", "*")[0]
    checkpoint_format(file)  # raises for a file that is not a checkpoint, before PyTorch is imported
    if options.web:
        serving = _bound(options) if options.serve else None  # before the work

        from .plan_page import write_page

        write_page(options, file, budget)
        return serve(options, serving) if serving else 0

    from .plan_output import plan_output

    print(plan_output(options, given, file, budget))
    return 0


def _check_page(options: argparse.Namespace) -> None:
    """Raise an :class:`OptionError` for options that have no effect with a page, or without one."""
    if options.web:
        for name, idle in _HERE.items():
            if getattr(options, name) != idle:
                raise OptionError(f"--web times the students on the device that visits it: remove --{name}")
    elif given := next((name for name in ("serve", "ort", "force") if getattr(options, name)), ""):
        raise OptionError(f"--{given} is for the page of --web FOLDER: name it")


def _serve_existing(options: argparse.Namespace) -> int:
    from ..export.web.plan import is_plan

    idle = {"size": SIZE, **dict.fromkeys(_LIMITS), "ort": None, "force": False}
    if given := next((name for name, value in idle.items() if getattr(options, name) != value), ""):
        raise OptionError(f"--{given.replace('_', '-')} is for writing a page: name a teacher as well")
    if not is_plan(Path(options.web).expanduser()):
        raise OptionError(f"--web {options.web}: has no page of kd plan yet: name a teacher as well")
    return serve(options, _bound(options))


def _bound(options: argparse.Namespace) -> Any:
    from .plan_page import receive

    return bound_server(options, functools.partial(receive, Path(options.web).expanduser()))


def _budget(options: argparse.Namespace) -> dict[str, Limit]:
    given = {measure: getattr(options, measure) for measure in _LIMITS}
    budget = {
        measure: parse_limit(measure, text, _LIMITS[measure]) for measure, text in given.items() if text is not None
    }
    if "latency" in budget and budget["latency"].device:
        raise OptionError(
            f"--latency {options.latency}: kd plan measures here: give {options.latency.partition('@')[0]}, or give "
            f"--student_budget latency={options.latency} to the training"
        )
    if options.paper and budget:
        raise OptionError(
            f"--paper measures the papers' students without limits: remove {_LIMITS[next(iter(budget))]}"
        )
    return budget


def _teacher(options: argparse.Namespace) -> str:
    """Return the teacher as given; "" with ``--paper``."""
    if options.teacher and options.named:
        raise OptionError(f"kd plan takes one teacher, not both {options.teacher} and {options.named}")
    given: str = options.teacher or options.named or ""
    if options.paper:
        if given:
            raise OptionError(f"--paper uses the papers' teachers: remove {given}")
        if options.size % 256:
            raise OptionError(f"--size {options.size}: the papers' U-Nets take multiples of 256")
    elif not given:
        raise OptionError("kd plan needs a teacher: kd plan checkpoints/NAME, or --paper for the papers' students")
    return given
