"""The command ``kd``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from . import __version__
from .checkpoint import inspect_checkpoint
from .errors import CheckpointError, KDError, OptionError
from .host.runner import run_script
from .networks import GeneratorSpec
from .report.cost import Cost, generator_cost

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for an error the user can mend)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["run"] and given[1:] and given[1] not in ("-h", "--help"):
            return run_script(given[1:])  # the rest is the script's own, our parser must not touch it
        options = _parser().parse_args(given)
        if options.command == "inspect":
            return _inspect(Path(options.file), options.size, options.json)
        raise OptionError("kd run needs a script: kd run train.py --distill wavelet ...")
    except KDError as error:
        print(f"kd: error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kd", description="Knowledge distillation for image-to-image GANs.")
    parser.add_argument("--version", action="version", version=f"kd_plugin {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "run",
        usage="kd run SCRIPT [ARGUMENTS ...]",
        help="run a host's train.py or test.py with the distillation options",
        description="Run a script of the host repository, in its folder: kd run train.py --dataroot D --name small "
        "--model pix2pix --distill wavelet --teacher checkpoints/big --student_ngf 24. All arguments are the "
        "script's; kd run train.py --help lists them, the plugin's in a group of their own.",
    )
    inspect = commands.add_parser(
        "inspect",
        help="print the architecture, parameters and operations of a generator checkpoint",
        description="Read a generator's architecture off its checkpoint, and count its parameters and the "
        "multiply-accumulates (MACs) of its convolutions for one image.",
    )
    inspect.add_argument("file", metavar="FILE", help="a checkpoint such as checkpoints/NAME/latest_net_G.pth")
    inspect.add_argument("--size", type=int, default=256, help="side of a square image in pixels (default: 256)")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _inspect(file: Path, size: int, as_json: bool) -> int:
    if file.is_dir():
        there = ", ".join(sorted(f.name for f in file.glob("*_net_G*.pth"))[:6])
        raise CheckpointError(f"{file}: is a folder, give one file of it ({there or 'it holds no *_net_G*.pth'})")
    spec = inspect_checkpoint(file)
    if size < 1 or size % spec.multiple:
        raise OptionError(f"--size {size}: a {spec.netG} takes multiples of {spec.multiple}")
    cost = generator_cost(spec, size, size)
    if as_json:
        print(json.dumps({"file": str(file), **spec.to_dict(), **asdict(cost)}, indent=2))
    else:
        print("\n".join(f"{name:>12}  {value}" for name, value in _rows(spec, cost).items()))
    return 0


def _rows(spec: GeneratorSpec, cost: Cost) -> dict[str, str]:
    dropout = {True: "yes", False: "no", None: "not in the file"}[spec.dropout]
    return {
        "generator": spec.netG,
        "ngf": str(spec.ngf),
        "channels": f"{spec.input_nc} -> {spec.output_nc}",
        "norm": spec.norm,
        "dropout": dropout,
        "parameters": f"{cost.parameters / 1e6:.3f} M",
        "MACs": f"{cost.macs / 1e9:.3f} G at {cost.width}x{cost.height}",
    }
