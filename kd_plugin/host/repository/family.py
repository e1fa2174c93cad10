"""What is known of each kind of host: one table, read wherever kinds of hosts differ.

A row states what to look for in a host's files, and the names that its models and options have. A kind of your own
joins the table before its host is looked at::

    register_family(HostFamily("stain translation", {"stain": HostModel((Pair("Translator", "fake"),))}))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...errors import ArgumentError

__all__ = [
    "CONSTRUCTIONS",
    "PICTURE_OPTIONS",
    "Construction",
    "HostFamily",
    "HostModel",
    "Pair",
    "families",
    "find_family",
    "generator_names",
    "generator_options",
    "known_pairs",
    "network_options",
    "register_family",
]


class Pair(NamedTuple):
    """A generator that is distilled: its name in ``model_names`` and the attribute that holds its images."""

    net: str
    output: str

    @property
    def suffix(self) -> str:
        """What tells the pair's losses from another's: "" for ``G``, "_A" for ``G_A``."""
        return self.net.removeprefix("G")

    @property
    def swaps(self) -> bool:
        """Whether it translates B to A in a model that goes from A to B."""
        return self.net.endswith("_B")


class HostModel(NamedTuple):
    """A model of a host: what is distilled, and the ``--dataset_mode`` of its data, "" if it is not known."""

    pairs: tuple[Pair, ...]
    dataset_mode: str = ""


@dataclass(frozen=True)
class HostFamily:
    """A kind of host.

    Options that build networks are named with the types of their values. Those of all rows are looked for in every
    host, so that a row names only what the others do not.

    Attributes:
        name: what ``kd doctor`` calls it.
        models: by name, which is that of the file ``models/NAME_model.py``; one of them tells the kind of a host.
        patch: the file in ``patches/`` that serves it, without ``.patch``; "" if there is none.
        generator_options: the host's options that decide which tensors its generators have.
        discriminator_options: the same of its discriminators.
        test_options: further options that a test of the host takes as the training had them.
    """

    name: str
    models: Mapping[str, HostModel]
    patch: str = ""
    generator_options: Mapping[str, type] = field(default_factory=dict)
    discriminator_options: Mapping[str, type] = field(default_factory=dict)
    test_options: tuple[str, ...] = ()

    def is_in(self, models: Path) -> bool:
        """Return whether a host's ``models/`` folder has a model of this kind."""
        return any((models / f"{name}_model.py").is_file() for name in self.models)


class Construction(NamedTuple):
    """How the hosts of some years, of any family, make their networks ready."""

    years: str
    function: str  # that calls init_net
    initialised: str
    parallel: str  # the class that uses several GPUs


CONSTRUCTIONS = (
    Construction("as of 2025 (torchrun)", "setup", "in setup()", "DistributedDataParallel"),
    Construction("as before 2025 (--gpu_ids)", "define_G", "when they are built", "DataParallel"),
)
PICTURE_OPTIONS = ("load_size", "crop_size", "preprocess")  # how a host brings pictures to the networks

_SINGLE = HostModel((Pair("G", "fake_B"),), "aligned")
_CYCLE = HostModel((Pair("G_A", "fake_B"), Pair("G_B", "fake_A")), "unaligned")
_FAMILIES = [  # the most particular last, as forks keep the models of what they fork
    HostFamily(
        "pix2pix and CycleGAN",
        {"pix2pix": _SINGLE, "cycle_gan": _CYCLE},
        "pytorch-CycleGAN-and-pix2pix",
        {"input_nc": int, "output_nc": int, "ngf": int, "netG": str, "norm": str, "no_dropout": bool},
        {"ndf": int, "netD": str, "n_layers_D": int},
    ),
    HostFamily(
        "contrastive-unpaired-translation",
        {"cut": _SINGLE._replace(dataset_mode="unaligned")},
        "contrastive-unpaired-translation",
        {"normG": str, "no_antialias": bool, "no_antialias_up": bool},
        {"normD": str},
        ("CUT_mode",),
    ),
]


def register_family(family: HostFamily) -> None:
    """Add a row to the table; what it names is preferred to what the rows before it do.

    Raises:
        ArgumentError: the row names no model, or there is another row of its name.
    """
    if not family.models:
        raise ArgumentError(f"the family '{family.name}' names no models, by which its hosts are found")
    if any(known.name == family.name for known in _FAMILIES if known != family):
        raise ArgumentError(f"there is a family '{family.name}' already")
    if family not in _FAMILIES:  # else its module was imported again
        _FAMILIES.append(family)


def families() -> list[HostFamily]:
    """Return all rows, the most particular first."""
    return _FAMILIES[::-1]


def find_family(models: Path) -> HostFamily | None:
    """Return the row of a host, given its ``models/`` folder; None if it has models of its own alone."""
    return next((family for family in families() if family.is_in(models)), None)


def known_pairs() -> list[tuple[Pair, ...]]:
    """Return what the models of all rows distil, each once, those of more generators first."""
    found = dict.fromkeys(model.pairs for family in families() for model in family.models.values())
    return sorted(found, key=len, reverse=True)


def generator_names() -> str:
    """Return the names of these generators in words: "G, or G_A and G_B"."""
    return ", or ".join(dict.fromkeys(" and ".join(p.net for p in pairs) for pairs in known_pairs()[::-1]))


def generator_options() -> dict[str, type]:
    """Return the options that decide which tensors a generator has, with the types of their values."""
    return {name: kind for family in _FAMILIES for name, kind in family.generator_options.items()}


def network_options() -> dict[str, type]:
    """Return the same of generators and discriminators."""
    discriminators = {name: kind for family in _FAMILIES for name, kind in family.discriminator_options.items()}
    return {**generator_options(), **discriminators}
