"""``kd doctor [HOST]``: report the host and the environment, for bug reports."""

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
from ..host.repository.installed import InstalledHost, console_script, host_of_module, host_of_script
from ..host.repository.survey import Survey, survey
from ..version import __version__
from .shared import add_host, add_json

_PACKAGES = ("torch", "torchvision", "numpy", "PyWavelets", "pillow", "dominate")
_EXTRAS = {"visdom": "visdom", "skimage": "metrics", "safetensors": "safetensors"}


def add_parser(commands: Any) -> None:
    """Add the command to the parser of ``kd``."""
    parser = commands.add_parser(
        "doctor",
        help="report the kind of host, the environment, and whether the host's scripts can start",
        description="Report the kind of host, its capabilities and where they were found, the models that can be "
        "distilled, and the versions of PyTorch, GPUs and packages. Then run the imports of train.py and test.py in "
        "a separate process. HOST may be an installed package or its console script, whose imports are not run. "
        "Include the output in bug reports. The exit status is 1 if the host lacks a required "
        "capability or an import fails.",
    )
    add_host(parser)
    add_json(parser)
    parser.set_defaults(action=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    installed = _installed(options.host)
    found = survey(installed.folder if installed else Path(options.host), installed)
    here = _here()
    # Run nothing from a folder that is not a host.
    failed = [] if found.missing or installed else failed_imports(Path(options.host), found.scripts)
    if options.json:
        content = {"here": here, "host": asdict(found), "missing": found.missing, "failed_imports": failed}
        print(json.dumps(content, indent=2))
    else:
        sections = {"Here": here, **_host_sections(found)}
        parts = [_section(title, rows) for title, rows in sections.items() if rows]
        if found.missing:
            parts.append(f"kd run does not work here, missing: {', '.join(found.missing)}")
        if failed:
            parts.append("\n".join(failed))
        print("\n\n".join(parts))
    return int(bool(found.missing or failed))


def _installed(name: str) -> InstalledHost | None:
    """Return the installed host of a console script or package; None for a folder, or if there is neither."""
    if Path(name).exists() or Path(name).name != name:
        return None
    if found := host_of_module(name):
        return found
    entry = console_script(name)
    return host_of_script(entry) if entry else None


def _here() -> dict[str, str]:
    """Return the versions and devices of this environment."""
    import torch

    here = {"kd_plugin": __version__, "Python": f"{platform.python_version()} on {platform.system()}"}
    for package in _PACKAGES:
        try:
            here[package] = version(package)
        except PackageNotFoundError:
            here[package] = "none"
    cuda = torch.cuda.is_available()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []
    none = "none visible to PyTorch" if torch.version.cuda else "none, PyTorch is a CPU build"
    here["GPUs"] = ", ".join(gpus) or none
    here["threads"] = str(torch.get_num_threads())
    missing = [extra for module, extra in _EXTRAS.items() if not importlib.util.find_spec(module)]
    here["extras not installed"] = ", ".join(missing) or "none"
    return here


def _host_sections(found: Survey) -> dict[str, dict[str, str]]:
    from ..losses import get_term, term_names

    unknown = f"its file names no networks; declare distill_pairs in its class unless they are {generator_names()}"
    of_features = [name for name in term_names() if get_term(name).reads == "features"]
    of_images = [name for name in term_names() if name not in of_features]
    built = next((f.found for f in found.findings if f.what == "generators built by"), "")
    builds = built == "define_G" or " ngf," in built  # by arguments of the usual names
    students = "any width, depth, stage widths, separable, factories" if builds else "those of the host's options"
    return {
        f"{found.folder}: {found.kind}": {
            f.what: f"{f.found or 'NOT FOUND'}{f'  ({f.where})' if f.where else ''}" for f in found.findings
        },
        "Models, and the generators to distil": {name: pairs or unknown for name, pairs in found.models.items()},
        "Files of kd patch": found.patches,
        "Terms (--distill)": {"from images": ", ".join(of_images), "from features": ", ".join(of_features)},
        "Students": {"can be": students},
    }


def _section(title: str, rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join([title, *(f"  {name.ljust(width)}  {value}" for name, value in rows.items())])
