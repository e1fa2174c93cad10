"""``kd inspect FILE``: what is in a generator's checkpoint."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoint_files import is_safetensors
from ..errors import CheckpointError
from .shared import add_json, add_size, check_size

if TYPE_CHECKING:
    from ..networks import GeneratorSpec
    from ..report.cost import Cost

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to those of ``kd``."""
    parser = commands.add_parser(
        "inspect",
        help="print the architecture, parameters and operations of a generator checkpoint",
        description="Read a generator's architecture off its checkpoint, and count its parameters and the "
        "multiply-accumulates (MACs) of its convolutions for one image.",
    )
    parser.add_argument("file", metavar="FILE", help="a checkpoint such as checkpoints/NAME/latest_net_G.pth")
    add_size(parser)
    add_json(parser)
    parser.set_defaults(action=_inspect)


def _inspect(options: argparse.Namespace) -> int:
    file, size = Path(options.file), options.size
    if file.is_dir():
        there = ", ".join(sorted(f.name for f in file.glob("*_net_G*.pth"))[:6])
        raise CheckpointError(f"{file}: is a folder, give one file of it ({there or 'it holds no *_net_G*.pth'})")
    is_safetensors(file)  # refuses what is no checkpoint, before PyTorch is imported

    from ..checkpoint import inspect_checkpoint
    from ..report.cost import generator_cost

    spec = inspect_checkpoint(file)
    check_size(size, spec)
    cost = generator_cost(spec, size, size)
    if options.json:
        print(json.dumps({"file": str(file), **spec.to_dict(), **asdict(cost)}, indent=2))
    else:
        print("\n".join(f"{name:>12}  {value}" for name, value in _rows(spec, cost).items()))
    return 0


def _rows(spec: GeneratorSpec, cost: Cost) -> dict[str, str]:
    dropout = {True: "yes", False: "no", None: "not in the file"}[spec.dropout]
    widths = {"widths": ",".join(map(str, spec.widths))} if spec.widths else {}
    conv = {"convolutions": "separable"} if spec.conv == "separable" else {}
    return {
        "generator": spec.netG,
        "ngf": str(spec.ngf),
        **widths,
        **conv,
        "channels": f"{spec.input_nc} -> {spec.output_nc}",
        "norm": spec.norm,
        "dropout": dropout,
        "parameters": f"{cost.parameters / 1e6:.3f} M",
        "MACs": f"{cost.macs / 1e9:.3f} G at {cost.width}x{cost.height}",
    }
