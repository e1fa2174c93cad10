"""``kd inspect CHECKPOINT``: describe a generator checkpoint, or those in a folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from ..networks.checkpoint_files import checkpoint_format, generator_files
from .shared import add_json, add_size, check_size

if TYPE_CHECKING:
    from ..metrics.cost import Cost
    from ..networks.generator import GeneratorSpec


def add_parser(commands: Any) -> None:
    """Add the command to the parser of ``kd``."""
    parser = commands.add_parser(
        "inspect",
        help="print the architecture, parameters and operations of generator checkpoints",
        description="Infer a generator's architecture from its checkpoint, and count its parameters and the "
        "multiply-accumulates (MACs) of its convolutions for one image.",
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a folder checkpoints/NAME, or one file such as its latest_net_G.pth"
    )
    parser.add_argument("--epoch", help="epoch to read from a folder (default: latest)")
    add_size(parser)
    add_json(parser)
    parser.set_defaults(action=_inspect)


def _inspect(options: argparse.Namespace) -> int:
    given = Path(options.checkpoint).expanduser()
    if given.is_dir():
        files = generator_files(given, options.epoch or "latest")
    elif options.epoch:
        raise OptionError(f"--epoch {options.epoch} requires a folder, and {given} is not one: remove --epoch")
    else:
        files = [given]
    for file in files:
        checkpoint_format(file)  # raises for a file that is not a checkpoint, before PyTorch is imported

    from ..metrics.cost import generator_cost
    from ..networks.checkpoint import inspect_checkpoint

    size = options.size
    specs = {file: inspect_checkpoint(file) for file in files}
    for spec in specs.values():
        check_size(size, spec)
    costs = {file: generator_cost(spec, size) for file, spec in specs.items()}
    if options.json:
        sides = {"height": size, "width": size}
        read = [
            {"file": str(file), **spec.to_dict(), "parameters": costs[file].params, "macs": costs[file].macs, **sides}
            for file, spec in specs.items()
        ]
        print(json.dumps(read if given.is_dir() else read[0], indent=2))
    else:
        pages = [(f"{file}\n" if given.is_dir() else "") + _page(specs[file], costs[file], size) for file in files]
        print("\n\n".join(pages))
    return 0


def _page(spec: GeneratorSpec, cost: Cost, size: int) -> str:
    rows = {
        "generator": spec.netG,
        "ngf": spec.ngf,
        "widths": ",".join(map(str, spec.widths or ())),
        "convolutions": spec.conv if spec.conv == "separable" else "",
        "padding": spec.padding if spec.padding == "zero" else "",
        "channels": f"{spec.input_nc} -> {spec.output_nc}",
        "norm": spec.norm,
        "dropout": {True: "yes", False: "no", None: "not in the file"}[spec.dropout],
        "parameters": f"{cost.params / 1e6:.3f} M",
        "MACs": f"{cost.macs / 1e9:.3f} G at {size}x{size}",
    }
    return "\n".join(f"{name:>12}  {value}" for name, value in rows.items() if value != "")
