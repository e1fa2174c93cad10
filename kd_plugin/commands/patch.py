"""``kd patch HOST``: add the plugin's model files to a host, for ``python train.py --model distill_...``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import HostError
from ..host.repository.family import families
from ..host.repository.folder import find_host
from ..host.repository.model_files import find_patch, install, patches, remove, status
from .shared import add_host


def add_parser(commands: Any) -> None:
    """Add the command to the parser of ``kd``."""
    parser = commands.add_parser(
        "patch",
        help="add model files to a host, so that plain python train.py --model distill_... works",
        description="Add model files to a host's models/ folder, as git apply patches/FAMILY.patch does. No file of "
        "the host is changed, and no file that differs is overwritten. Afterwards python train.py --model "
        "distill_pix2pix --distill wavelet,srp --teacher ... works without kd run.",
    )
    add_host(parser)
    names = [family.patch for family in families() if family.patch]
    parser.add_argument("--family", metavar="NAME", default="", help=f"{' or '.join(names)} (default: detected)")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 unless all files are installed"
    )
    ways.add_argument("--revert", action="store_true", help="remove the files")
    parser.set_defaults(action=_patch)


def _patch(options: argparse.Namespace) -> int:
    host = Path(options.host)
    if not host.is_dir():
        raise HostError(f"{host}: no such folder")
    inside = find_host(host)
    if inside and (inside / "__init__.py").is_file():  # the package that contains models/
        host = inside
    files = patches()[find_patch(host, options.family)]
    if options.check:
        found = status(host, files)
        for path, how in found.items():
            print(f"{how:<9}  {host / path}")
        return int(any(how != "installed" for how in found.values()))
    if options.revert:
        removed = [f"removed {host / path}" for path in remove(host, files)]
        print("\n".join(removed or ["nothing to remove: the files are not installed"]))
        return 0
    added = [f"added {host / path}" for path in install(host, files)]
    print("\n".join(added or ["nothing to do: the files are installed"]))
    models = " or ".join(Path(path).name.removesuffix("_model.py") for path in files)
    print(f"train with: python train.py --model {models} --distill wavelet,srp --teacher checkpoints/NAME ...")
    return 0
