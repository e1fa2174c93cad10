"""``kd doctor [HOST]``: what there is here to work with; the first thing to add to a bug report."""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..host.repository.failed_imports import failed_imports
from ..host.repository.family import generator_names
from ..host.repository.survey import Survey, survey
from ..version import __version__
from .shared import add_host, add_json

__all__ = ["add_parser"]

_PACKAGES = ("torch", "torchvision", "numpy", "PyWavelets", "pillow", "dominate")
_EXTRAS = {"visdom": "visdom", "skimage": "metrics", "safetensors": "safetensors"}


def add_parser(commands: Any) -> None:
    """Add the command to those of ``kd``."""
    parser = commands.add_parser(
        "doctor",
        help="report what kind of host this is, what can be used here, and whether its scripts can start",
        description="Look a host over: what kind it is, what the plugin found and where, which models can be "
        "distilled; and PyTorch, GPUs and packages here. Then import, in a process of its own, what train.py and "
        "test.py import. Add it to a bug report. The exit status is 1 if the folder lacks something that the plugin "
        "needs, or if an import fails.",
    )
    add_host(parser)
    add_json(parser)
    parser.set_defaults(action=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    host = Path(options.host)
    found = survey(host)
    here = _here()
    # Nothing of a folder that is not a host is run.
    failed = [] if found.missing else failed_imports(host, found.scripts)
    if options.json:
        content = {"here": here, "host": asdict(found), "missing": found.missing, "failed_imports": failed}
        print(json.dumps(content, indent=2))
    else:
        print("\n".join([*_lines("Here", here), "", *_host_lines(found), *(["", *failed] if failed else [])]))
    return int(bool(found.missing or failed))


def _here() -> dict[str, str]:
    """Return what this machine and this Python have."""
    import torch

    here = {"kd_plugin": __version__, "Python": f"{platform.python_version()} on {platform.system()}"}
    for package in _PACKAGES:
        try:
            here[package] = version(package)
        except PackageNotFoundError:
            here[package] = "none"
    cuda = torch.cuda.is_available()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
    none = "none that PyTorch sees" if torch.version.cuda else "none, PyTorch is a CPU build"
    here["GPUs"] = ", ".join(gpus) or none
    here["threads"] = str(torch.get_num_threads())
    missing = [extra for module, extra in _EXTRAS.items() if not importlib.util.find_spec(module)]
    here["extras not installed"] = ", ".join(missing) or "none"
    return here


def _host_lines(found: Survey) -> list[str]:
    from ..losses import get_term, term_names

    findings = {f.what: f"{f.found or 'NOT FOUND'}{f'  ({f.where})' if f.where else ''}" for f in found.findings}
    unknown = f"its file names no networks; unless they are {generator_names()}, declare distill_pairs in its class"
    models = {name: pairs or unknown for name, pairs in found.models.items()}
    terms = {
        "from images": [name for name in term_names() if get_term(name).reads != "features"],
        "from features": [name for name in term_names() if get_term(name).reads == "features"],
    }
    lines = _lines(f"{found.folder}: {found.kind}", findings)
    if models:
        lines += ["", *_lines("Models, and the generators that are distilled", models)]
    if found.patches:
        lines += ["", *_lines("Files of kd patch", found.patches)]
    lines += ["", *_lines("Terms (--distill)", {name: ", ".join(listed) for name, listed in terms.items()})]
    builds = any(f.what == "generators built by" and f.found for f in found.findings)
    students = "any width, depth, stage widths, separable, factories" if builds else "those of the host's own options"
    lines += ["", *_lines("Students", {"can be": students})]
    if found.missing:
        lines += ["", f"kd run does not work here, for want of: {', '.join(found.missing)}"]
    return lines


def _lines(title: str, rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows), default=0)
    return [title, *(f"  {name.ljust(width)}  {value}" for name, value in rows.items())]
