"""``kd inspect CHECKPOINT``: describe a generator checkpoint, or those in a folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from ..networks.checkpoint_files import generator_files, is_safetensors
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
        is_safetensors(file)  # raises for a file that is not a checkpoint, before PyTorch is imported

    from ..metrics.cost import generator_cost
    from ..networks.checkpoint import inspect_checkpoint

    specs = [inspect_checkpoint(file) for file in files]
    for spec in specs:
        check_size(options.size, spec)
    size = options.size
    found = [(file, spec, generator_cost(spec, size)) for file, spec in zip(files, specs, strict=True)]
    if options.json:
        read = [{"file": str(file), **spec.to_dict(), **_counted(cost, size)} for file, spec, cost in found]
        print(json.dumps(read if given.is_dir() else read[0], indent=2))
    else:
        print("\n\n".join(_page(file if given.is_dir() else None, spec, cost, size) for file, spec, cost in found))
    return 0


def _counted(cost: Cost, size: int) -> dict[str, float]:
    return {"parameters": cost.params, "macs": cost.macs, "height": size, "width": size}


def _page(file: Path | None, spec: GeneratorSpec, cost: Cost, size: int) -> str:
    lines = [f"{name:>12}  {value}" for name, value in _rows(spec, cost, size).items()]
    return "\n".join([str(file), *lines] if file else lines)


def _rows(spec: GeneratorSpec, cost: Cost, size: int) -> dict[str, str]:
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
        "parameters": f"{cost.params / 1e6:.3f} M",
        "MACs": f"{cost.macs / 1e9:.3f} G at {size}x{size}",
    }
