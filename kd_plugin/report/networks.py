"""Open the generators that a report compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..files import sha256
from ..networks.generator import GeneratorSpec
from ..networks.translator import Mode, ModuleTranslator, Translator


@dataclass(frozen=True)
class LoadedFile:
    """A generator as a loader returns it.

    Attributes:
        module: the network.
        spec: its description, if it is of the family.
        digest: identifies the network; "" for the digest of the file.
    """

    module: nn.Module
    spec: GeneratorSpec | None
    digest: str = ""


Loader = Callable[[Path], LoadedFile]


def open_translator(file: Path, load: Loader, mode: Mode, device: torch.device) -> Translator:
    """Return the translator of a file: a checkpoint, an ONNX file, or an exported program (``.pt2``).

    Args:
        file: the file.
        load: loads a checkpoint; handed in, as networks outside the family need their record.
        mode: of checkpoints; other files have theirs built in.
        device: of networks in PyTorch.

    Raises:
        KDError: If it cannot be loaded.
    """
    if file.suffix == ".onnx":
        from ..export.exported import OnnxTranslator

        return OnnxTranslator(file)
    if file.suffix == ".pt2":
        from ..export.exported import load_program

        return load_program(file, device)
    loaded = load(file)
    spec = loaded.spec
    kind = type(loaded.module).__name__ if spec is None else f"{spec.netG}, ngf {spec.ngf}"
    if spec is not None and spec.conv != "standard":
        kind += f", {spec.conv}"
    channels, multiple = (spec.input_nc, spec.multiple) if spec else (3, 4)
    digest = loaded.digest or sha256(file)
    return ModuleTranslator(loaded.module, kind, digest, channels, multiple, mode, device)
