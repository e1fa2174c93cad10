"""What the user names: checkpoints, folders of experiments, exported files, folders of finished images."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import CheckpointError
from ..networks.checkpoint_files import checkpoint_format, generator_files
from ..networks.generator import GeneratorSpec
from ..networks.translator import Mode
from ..pictures import EXTENSIONS
from .results import Role

DIRECTIONS = ("AtoB", "BtoA")
_NET = re.compile(r"_net_(G\w*)\.\w+$")
_OPTION = re.compile(r"^\s*(\w+): (\S+)", re.MULTILINE)
_EXPORTED = (".onnx", ".pt2")


@dataclass(frozen=True)
class Experiment:
    """A source of images for one or both directions.

    Attributes:
        path: as the user gave it.
        role: teacher or student.
        label: name for the reader.
        files: file of the generator by direction; "" if the file does not show a direction.
        images: folder of finished images, if it is one.
        whole: whether these were made of whole inputs, so that they are resized and cropped as the inputs.
        mode: of the generators, if it differs from that of the others.
    """

    path: Path
    role: Role
    label: str
    files: dict[str, Path]
    images: Path | None = None
    whole: bool = False
    mode: Mode | None = None

    def file(self, direction: str) -> Path | None:
        """Return the generator of a direction."""
        return self.files.get(direction) or self.files.get("")


def find_experiment(path: Path, role: Role, epoch: str = "latest") -> Experiment:
    """Return what a path names.

    Raises:
        CheckpointError: If it is neither a generator, nor a folder of generators or images.
    """
    path = path.expanduser()
    if not path.is_dir():
        if path.suffix not in _EXPORTED:
            checkpoint_format(path)  # raises for a file that is not a checkpoint
        elif not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        return Experiment(path, role, _label(path), {_direction_of(path): path})
    if any(fnmatchcase(file.name, "*_net_G*.pth") for file in path.iterdir()):
        files = generator_files(path, epoch)
        return Experiment(path, role, path.resolve().name, {_direction_of(file): file for file in files})
    images = path / "images" if (path / "images").is_dir() else path  # a folder of results of a host's test
    if _has_images(images):
        return Experiment(path, role, _label(path), {}, images)
    raise CheckpointError(
        f"{path}: neither a folder of checkpoints ({epoch}_net_G*.pth) nor of images: give checkpoints/NAME, a "
        f"checkpoint, an exported file or a folder of translated images"
    )


def dropout_of(file: Path) -> bool:
    """Return whether a U-Net of a host has dropout, which its file does not show, from the options next to it."""
    return options_of(file).get("no_dropout") != "True"


def pads_by_replication(file: Path, spec: GeneratorSpec) -> bool:
    """Return whether a ResNet pads by replication, which its file does not show, from the options next to it.

    These are DeepLIIF's ``padding`` and joliGEN's ``G_padding_type``. Generators of the plugin do not.
    """
    options = options_of(file)
    return spec.architecture == "resnet" and "replicate" in (options.get("padding"), options.get("G_padding_type"))


def _direction_of(file: Path) -> str:
    """Return the direction that a generator translates, from its name and the options of its training; or ""."""
    found = _NET.search(file.name)
    if not found:
        return ""
    trained = options_of(file).get("direction")
    if not trained and not found[1].startswith("G_"):
        return ""
    swapped = found[1].endswith("_B")
    return DIRECTIONS[swapped ^ (trained == "BtoA")]


def options_of(file: Path) -> dict[str, str]:
    """Return the options of a generator's training by name, as text, from ``train_opt.txt`` or its record."""
    options, record = file.parent / "train_opt.txt", file.parent / "student.json"
    if options.is_file():
        return dict(_OPTION.findall(options.read_text(encoding="utf-8", errors="replace")))
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        named = {"direction": content["direction"], **content.get("pictures", {}), **content["host_options"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name: str(value) for name, value in named.items() if value is not None}


def _label(path: Path) -> str:
    """Return a short name: of the experiment for a file in its folder or a test's results, else of the file."""
    path = path.resolve()
    if _NET.search(path.name):
        epoch = path.name.partition("_net_")[0]
        return path.parent.name if epoch == "latest" else f"{path.parent.name}, {epoch}"
    if path.name.startswith("test_"):
        return path.parent.name
    return path.name if path.is_dir() else path.stem


def _has_images(folder: Path) -> bool:
    return any(file.suffix.lower() in EXTENSIONS for file in folder.iterdir())


def distinct(labels: list[str]) -> list[str]:
    """Return the labels with a number after those that occur before."""
    return [
        label if label not in labels[:i] else f"{label} ({labels[:i].count(label) + 1})"
        for i, label in enumerate(labels)
    ]
