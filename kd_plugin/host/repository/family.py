"""The table of host families.

Each row gives the files that identify a family and the names of its models and options. Register your own family
before its host is inspected::

    register_family(HostFamily("stain translation", {"stain": HostModel((Pair("Translator", "fake"),))}))
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ArgumentError
from .option_names import NameAndBlocks, Opposite, OptionName


class Pair(NamedTuple):
    """A distilled generator: its name in ``model_names`` and the attribute that holds its output.

    The attribute may be an element of a list, ``fake_B[0]``; "" if it is found by watching a forward pass.
    """

    net: str
    output: str = ""

    @property
    def suffix(self) -> str:
        """Suffix of the pair's losses: "" for ``G``, "_A" for ``G_A``, "_S0" for ``GS0``, "Net" for ``Net``."""
        rest = self.net.removeprefix("G")
        return rest if rest in ("", self.net) or rest.startswith("_") else f"_{rest}"

    @property
    def discriminator(self) -> str:
        """Name of the discriminator of its output: ``D`` for ``G``, ``D_A`` for ``G_A``, ``DS0`` for ``GS0``."""
        return f"D{self.net.removeprefix('G')}"

    @property
    def swaps(self) -> bool:
        """Whether the generator translates B to A in a model trained from A to B."""
        return re.search(r"(_B|^GB(_\d+)?)$", self.net) is not None


class HostModel(NamedTuple):
    """A model of a host: its distilled generators, if they are known, and its ``--dataset_mode``, "" if unknown."""

    pairs: tuple[Pair, ...]
    dataset_mode: str = ""


@dataclass(frozen=True)
class HostFamily:
    """A family of hosts.

    Options that build networks are given with the types of their values. The options of all families are looked up
    in every host, so a family lists only its additional ones.

    Attributes:
        name: name shown by ``kd doctor``.
        models: models by name, that of the file ``models/NAME_model.py``; any one of them identifies the family.
        patch: name of the family's file in ``patches/`` without ``.patch``; "" if there is none.
        generator_options: options that determine the parameters of the generators.
        discriminator_options: options that determine the parameters of the discriminators.
        test_options: further options that a test takes from the training.
        option_names: names of this family for options that the plugin reads or sets, by their usual name.
        identified_by: models that identify it; any of ``models`` if empty.
        initialises_apart: whether a batch from which networks are created is drawn apart from those of the epochs.
        test_words: arguments of its ``test.py``, with ``{folder}`` and ``{gpu_ids}``; "" for the usual ones.

    An option may hold a list of names, one per network; its type is ``str``, the names separated by commas.
    """

    name: str
    models: Mapping[str, HostModel]
    patch: str = ""
    generator_options: Mapping[str, type] = field(default_factory=dict)
    discriminator_options: Mapping[str, type] = field(default_factory=dict)
    test_options: tuple[str, ...] = ()
    option_names: Mapping[str, str | OptionName] = field(default_factory=dict)
    identified_by: tuple[str, ...] = ()
    initialises_apart: bool = False
    test_words: str = ""

    def is_in(self, models: Path) -> bool:
        """Return whether a ``models/`` folder holds a model of this family."""
        return any((models / f"{name}_model.py").is_file() for name in self.identified_by or self.models)

    @property
    def other_names(self) -> dict[str, OptionName]:
        """Its names of options by usual name."""
        return {
            usual: OptionName(name) if isinstance(name, str) else name for usual, name in self.option_names.items()
        }

    def has_options(self, opt: Any) -> bool:
        """Return whether a host's options have the names of this family."""
        return all(hasattr(opt, each) for name in self.other_names.values() for each in name.names)


class Construction(NamedTuple):
    """How hosts of some years, in any family, initialise their networks."""

    years: str
    function: str  # calls init_net
    initialised: str
    parallel: str  # class for several GPUs


CONSTRUCTIONS = (
    Construction("as of 2025 (torchrun)", "setup", "in setup()", "DistributedDataParallel"),
    Construction("as before 2025 (--gpu_ids)", "define_G", "when they are built", "DataParallel"),
)
_GENERATOR = re.compile(r"G([A-Z]?\d*|_\w+|[A-Z]_\d+)")
PICTURE_OPTIONS = ("load_size", "crop_size", "preprocess")
PICTURE_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp")

_SINGLE = HostModel((Pair("G", "fake_B"),), "aligned")
_CYCLE = HostModel((Pair("G_A", "fake_B"), Pair("G_B", "fake_A")), "unaligned")
_FAMILIES = [  # most specific last, as forks keep the models of their origin
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
    HostFamily(  # its command line is click's; the options of tests come from train_opt.txt
        "DeepLIIF",
        {name: HostModel(()) for name in ("DeepLIIF", "DeepLIIFExt", "DeepLIIFKD", "SDG")},
        generator_options={"net_gs": str, "padding": str, "upsample": str},
        option_names={"isTrain": "is_train"},
    ),
    HostFamily(
        "joliGEN",
        {"cut": HostModel((Pair("G_A", "fake_B"),), "unaligned"), "cycle_gan": _CYCLE},
        generator_options={
            "model_input_nc": int,
            "model_output_nc": int,
            "G_ngf": int,
            "G_netG": str,
            "G_nblocks": int,
            "G_norm": str,
            "G_dropout": bool,
            "G_spectral": bool,
            "G_padding_type": str,
        },
        discriminator_options={"D_ndf": int, "D_netDs": str, "D_n_layers": int, "D_norm": str},
        option_names={
            "model": "model_type",
            "input_nc": "model_input_nc",
            "output_nc": "model_output_nc",
            "netG": NameAndBlocks("G_netG", "G_nblocks"),
            "ngf": "G_ngf",
            "norm": "G_norm",
            "no_dropout": Opposite("G_dropout"),
            "netD": "D_netDs",
            "ndf": "D_ndf",
            "dataset_mode": "data_dataset_mode",
            "direction": "data_direction",
            "load_size": "data_load_size",
            "crop_size": "data_crop_size",
            "preprocess": "data_preprocess",
            "num_threads": "data_num_threads",
            "batch_size": "train_batch_size",
            "continue_train": "train_continue",
            "epoch": "train_epoch",
            "load_iter": "train_load_iter",
            "epoch_count": "train_epoch_count",
            "n_epochs": "train_n_epochs",
            "n_epochs_decay": "train_n_epochs_decay",
            "save_epoch_freq": "train_save_epoch_freq",
            "iter_size": "train_iter_size",  # batches whose mean gradient is one step
        },
        identified_by=("palette", "b2b"),
        initialises_apart=True,
        test_words="--test_model_dir {folder} --gpu_ids {gpu_ids}",
    ),
]


def register_family(family: HostFamily) -> None:
    """Register a family; it takes precedence over those registered before it.

    Raises:
        ArgumentError: the family has no models, or another family has its name.
    """
    if not family.models:
        raise ArgumentError(f"the family '{family.name}' has no models: its hosts are identified by them")
    if any(known.name == family.name for known in _FAMILIES if known != family):
        raise ArgumentError(f"a family '{family.name}' is already registered")
    if family not in _FAMILIES:  # a module may be imported again
        _FAMILIES.append(family)


def families() -> list[HostFamily]:
    """Return all families, the most specific first."""
    return _FAMILIES[::-1]


def find_family(models: Path) -> HostFamily | None:
    """Return the family of a host given its ``models/`` folder; None if no family matches."""
    return next((family for family in families() if family.is_in(models)), None)


def is_generator(name: str) -> bool:
    """Return whether a network is named like a generator: G, G1, GS0, G_A, GB_1."""
    return _GENERATOR.fullmatch(name) is not None


def known_pairs() -> list[tuple[Pair, ...]]:
    """Return the distinct pairs of the models of all families, those with more generators first.

    A family that is identified by other models gives the names of its models another meaning, which only holds there.
    """
    models = (model for family in families() if not family.identified_by for model in family.models.values())
    found = dict.fromkeys(model.pairs for model in models if model.pairs)
    return sorted(found, key=len, reverse=True)


def family_of(opt: Any) -> HostFamily | None:
    """Return the family whose names a host's options have; None if they have the usual names."""
    return next((each for each in families() if each.option_names and each.has_options(opt)), None)


def pairs_of(opt: Any) -> tuple[Pair, ...]:
    """Return the pairs of the model that a host's options name, if they have the names of a family; else empty."""
    family = family_of(opt)
    model = family.models.get(str(host_option(opt, "model"))) if family else None
    return model.pairs if model else ()


def generator_names() -> str:
    """Return the names of the known generators: "G, or G_A and G_B"."""
    return ", or ".join(dict.fromkeys(" and ".join(p.net for p in pairs) for pairs in known_pairs()[::-1]))


def generator_options() -> dict[str, type]:
    """Return the options that determine the parameters of a generator, with their types."""
    return {name: kind for family in _FAMILIES for name, kind in family.generator_options.items()}


def network_options() -> dict[str, type]:
    """Return the options that determine the parameters of generators and discriminators, with their types."""
    discriminators = {name: kind for family in _FAMILIES for name, kind in family.discriminator_options.items()}
    return {**generator_options(), **discriminators}


def host_option(opt: Any, name: str, default: Any = None) -> Any:
    """Return an option of a host, given by its usual name; some families have another name for it."""
    if hasattr(opt, name):
        return getattr(opt, name)
    found = (family.other_names[name] for family in families() if name in family.option_names)
    other = next((each for each in found if all(hasattr(opt, part) for part in each.names)), None)
    return other.join([getattr(opt, part) for part in other.names]) if other else default


def is_training(opt: Any) -> bool:
    """Return whether the options are those of a training, not a test."""
    return bool(host_option(opt, "isTrain", False))
