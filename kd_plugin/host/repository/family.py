"""What is known of each kind of host: one table, read wherever kinds of hosts differ.

A row states what to look for in a host's files, and the names that its models and options have. Register a row for a
kind of your own before the host is looked at::

    register_family(
        HostFamily("stain translation", {"stain": HostModel((Pair("Translator", "fake"),))})
    )
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...errors import ArgumentError

__all__ = [
    "CONSTRUCTIONS",
    "Construction",
    "HostFamily",
    "HostModel",
    "Pair",
    "families",
    "find_family",
    "generator_names",
    "generator_options",
    "network_options",
    "options_of_tests",
    "pair_groups",
    "picture_options",
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


@dataclass(frozen=True)
class HostModel:
    """A model of a host, ``models/NAME_model.py``.

    Attributes:
        pairs: the generators that are distilled.
        dataset_mode: the ``--dataset_mode`` of its data, "aligned" or "unaligned"; "" if it is not known.
    """

    pairs: tuple[Pair, ...]
    dataset_mode: str = ""


@dataclass(frozen=True)
class HostFamily:
    """A kind of host. Options are given beside those of the other rows, which are looked for in every host.

    Attributes:
        name: what ``kd doctor`` calls it.
        models: models by name; a host that has one of them is of this kind.
        patch: the file in ``patches/`` that serves it, without ``.patch``; "" if there is none.
        generator_options: the host's options that decide which tensors its generators have, with the types of their
            values: ``str``, ``bool`` or ``int``.
        discriminator_options: the same of its discriminators.
        picture_options: options that say how pictures are resized and cropped.
        test_options: further options that a test needs if the training had them.
    """

    name: str
    models: Mapping[str, HostModel]
    patch: str = ""
    generator_options: Mapping[str, type] = field(default_factory=dict)
    discriminator_options: Mapping[str, type] = field(default_factory=dict)
    picture_options: tuple[str, ...] = ()
    test_options: tuple[str, ...] = ()

    def is_in(self, models: Path) -> bool:
        """Return whether a host's ``models/`` folder has a model of this kind."""
        return any((models / f"{name}_model.py").is_file() for name in self.models)


@dataclass(frozen=True)
class Construction:
    """How the hosts of some years, of any family, build networks.

    Attributes:
        years: in words.
        file: the file with the function that calls ``init_net``.
        function: that function.
        initialised: when that is.
        parallel: what several GPUs are used by.
    """

    years: str
    file: str
    function: str
    initialised: str
    parallel: str


CONSTRUCTIONS = (
    Construction("as of 2025 (torchrun)", "models/base_model.py", "setup", "in setup()", "DistributedDataParallel"),
    Construction(
        "as before 2025 (--gpu_ids)", "models/networks.py", "define_G", "when they are built", "DataParallel"
    ),
)

_SINGLE = (Pair("G", "fake_B"),)
_CYCLE = (Pair("G_A", "fake_B"), Pair("G_B", "fake_A"))
_FAMILIES = {
    family.name: family
    for family in (
        HostFamily(
            "pix2pix and CycleGAN",
            {"pix2pix": HostModel(_SINGLE, "aligned"), "cycle_gan": HostModel(_CYCLE, "unaligned")},
            patch="pytorch-CycleGAN-and-pix2pix",
            generator_options={
                "input_nc": int, "output_nc": int, "ngf": int, "netG": str, "norm": str, "no_dropout": bool,
            },
            discriminator_options={"ndf": int, "netD": str, "n_layers_D": int},
            picture_options=("load_size", "crop_size", "preprocess"),
        ),
        HostFamily(
            "contrastive-unpaired-translation",
            {"cut": HostModel(_SINGLE, "unaligned")},
            patch="contrastive-unpaired-translation",
            generator_options={"normG": str, "no_antialias": bool, "no_antialias_up": bool},
            discriminator_options={"normD": str},
            test_options=("CUT_mode",),
        ),
    )
}  # fmt: skip


def register_family(family: HostFamily) -> None:
    """Add a row to the table. It is preferred to those before it, as a fork keeps the models of what it forks.

    Raises:
        ArgumentError: the row names no model, a type is none of the three, or there is another row of its name.
    """
    if not family.models:
        raise ArgumentError(f"the family '{family.name}' names no models, by which its hosts are found")
    for option, kind in {**family.generator_options, **family.discriminator_options}.items():
        if kind not in (str, bool, int):
            raise ArgumentError(f"the family '{family.name}': the option {option} is a {kind}, not str, bool or int")
    if _FAMILIES.get(family.name, family) != family:
        raise ArgumentError(f"there is a family '{family.name}' already")
    _FAMILIES[family.name] = family


def families() -> list[HostFamily]:
    """Return all rows, the most particular first."""
    return list(reversed(_FAMILIES.values()))


def find_family(models: Path) -> HostFamily | None:
    """Return the row of a host, given its ``models/`` folder; None if it has models of its own alone."""
    return next((family for family in families() if family.is_in(models)), None)


def pair_groups() -> list[tuple[Pair, ...]]:
    """Return the generators that models distil, those of more generators first."""
    groups = dict.fromkeys(model.pairs for family in families() for model in family.models.values())
    return sorted(groups, key=len, reverse=True)


def generator_names() -> str:
    """Return the names of these generators in words: "G, or G_A and G_B"."""
    return ", or ".join(dict.fromkeys(" and ".join(p.net for p in pairs) for pairs in reversed(pair_groups())))


def generator_options() -> dict[str, type]:
    """Return the options that decide which tensors a generator has, with the types of their values."""
    return {name: kind for family in _FAMILIES.values() for name, kind in family.generator_options.items()}


def network_options() -> dict[str, type]:
    """Return the same of generators and discriminators."""
    options = generator_options()
    for family in _FAMILIES.values():
        options.update(family.discriminator_options)
    return options


def picture_options() -> list[str]:
    """Return the options that say how pictures are resized and cropped."""
    return [name for family in _FAMILIES.values() for name in family.picture_options]


def options_of_tests() -> list[str]:
    """Return the further options that a test needs."""
    return [name for family in _FAMILIES.values() for name in family.test_options]
