"""``kd plan``: which students there are for a teacher, what each costs on this machine, and how to train it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..checkpoint_files import generator_files, is_safetensors
from ..errors import OptionError
from ..limits import Limit, parse_limit
from .shared import add_json, add_size

__all__ = ["add_parser"]

_LIMITS = {"params": "params", "macs": "macs", "size": "size-mb", "latency": "latency"}


def add_parser(commands: Any) -> None:
    """Add the command to those of ``kd``."""
    parser = commands.add_parser(
        "plan",
        help="list the students for a teacher, or a budget, with their latency on this machine",
        description="List students of a teacher by width, depth and convolutions, with parameters, "
        "multiply-accumulates (MACs) and latency for one image, and the size of the checkpoint; the fastest first. "
        "A limit is an amount, or so many times less than the teacher, such as 7x.",
    )
    parser.add_argument("--teacher", metavar="F", help="checkpoint of the teacher, or its folder checkpoints/NAME")
    add_size(parser)
    parser.add_argument("--params", metavar="N", help="most parameters, e.g. 1.6M or 7x")
    parser.add_argument("--macs", metavar="N", help="most multiply-accumulates for one image, e.g. 8G or 7x")
    parser.add_argument("--latency", metavar="T", help="longest time for one image on this machine, e.g. 50ms or 3x")
    parser.add_argument("--size-mb", metavar="N", help="largest checkpoint file in MB, e.g. 4 or 7x")
    parser.add_argument("--device", default="cpu", help="where to measure: cpu or cuda (default: cpu)")
    parser.add_argument("--paper", action="store_true", help="show the two papers' students on this machine instead")
    add_json(parser)
    parser.set_defaults(action=_plan)


def _plan(options: argparse.Namespace) -> int:
    budget = _budget(options)
    file = _teacher_file(options)

    from .plan_page import papers_page, plan_page

    page = plan_page(options, file, budget) if file else papers_page(options)
    print(page)
    return 0


def _budget(options: argparse.Namespace) -> dict[str, Limit]:
    given = {m: getattr(options, flag.replace("-", "_")) for m, flag in _LIMITS.items()}
    budget = {m: parse_limit(m, text, f"--{_LIMITS[m]}") for m, text in given.items() if text is not None}
    if options.paper and budget:
        raise OptionError(
            f"--paper shows the papers' students, whatever they take: leave out --{_LIMITS[next(iter(budget))]}"
        )
    return budget


def _teacher_file(options: argparse.Namespace) -> Path | None:
    """Return the teacher's checkpoint; None if the papers' students are asked for."""
    if options.paper:
        if options.teacher:
            raise OptionError(f"--paper shows the papers' own teachers: leave out --teacher {options.teacher}")
        if options.size % 256:
            raise OptionError(f"--size {options.size}: the papers' U-Nets take multiples of 256")
        return None
    if not options.teacher:
        raise OptionError(
            "kd plan needs a teacher: add --teacher checkpoints/NAME, or --paper for the papers' students"
        )
    file = Path(options.teacher).expanduser()
    if file.is_dir():
        file = generator_files(file, "latest", "*")[0]
    is_safetensors(file)  # refuses what is no checkpoint, before PyTorch is imported
    return file
