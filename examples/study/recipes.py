"""The recipes that the study compares: what trains a student, and with which options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["paired", "unpaired"]


@dataclass(frozen=True)
class Host:
    """A training in the host, ``kd run train.py`` with these options: the host's losses and discriminator.

    Attributes:
        options: of the plugin; ``{half_ndf}`` stands for half of the width of the teacher's discriminator, and
            ``{epochs}`` and ``{all_but_one}`` for numbers of epochs.
        teacher: whether there is one.
        times: number of epochs, as a multiple of that of the other recipes.
    """

    options: str
    teacher: bool = True
    times: int = 1


@dataclass(frozen=True)
class Compress:
    """A training by ``kd compress`` with these options: no discriminator, and no ground truth.

    Attributes:
        options: of ``kd compress``.
        real: whether it gets what the host gets: the ground truth of pairs, or else real images and a discriminator
            that starts from the teacher's.
        times: number of epochs, as a multiple of that of the other recipes.
    """

    options: str = ""
    real: bool = False
    times: int = 1


@dataclass(frozen=True)
class Recipe:
    """A way to train a student.

    Attributes:
        title: for tables; the short title precedes its first bracket or comma.
        note: what it is, and how it differs from what was published.
        paired, unpaired: the training of a pix2pix and of a CycleGAN.
    """

    title: str
    note: str
    paired: Host | Compress
    unpaired: Host | Compress

    @property
    def short(self) -> str:
        """The title without remarks."""
        return re.split(r"[(,]", self.title)[0].strip()

    def run(self, kind: Kind) -> Host | Compress:
        """Return the training for a kind of task."""
        return self.paired if kind == "paired" else self.unpaired


def _both(title: str, note: str, run: Host | Compress) -> Recipe:
    return Recipe(title, note, run, run)


_INHERITED = "--student_init teacher"
_OMGD = "--distill ssim,feature,gram,tv"
_DETAILS = "--distill wavelet,srp,pixel"
_INHERITED_BOTH = "--student_init teacher --discriminator_init teacher"

RECIPES: Mapping[str, Recipe] = {
    "alone": _both("student alone", "the host's losses, no teacher", Host("--distill none", teacher=False)),
    "wkd": _both(
        "WKD (CVPR 2022)",
        "wavelet details of the outputs, of both generators; a discriminator of half the width",
        Host("--distill wavelet --student_ndf {half_ndf}"),
    ),
    "srp": _both(
        "SRP (ECCV 2020)",
        "the outputs, and the relations of the encoder's pixels",
        Host("--distill pixel,srp"),
    ),
    "gan_compression": Recipe(
        "GAN Compression (CVPR 2020), no search",
        "inherited channels and discriminator, features; of a CycleGAN one direction, L1 to the teacher",
        Host(f"--distill feature {_INHERITED_BOTH}"),
        Compress("--distill pixel,feature --init teacher", real=True),
    ),
    "cat": Recipe(
        "CAT (CVPR 2021), no search",
        "as GAN Compression, with kernel alignment of the features",
        Host(f"--distill kernel_alignment {_INHERITED_BOTH}"),
        Compress("--distill pixel,kernel_alignment --init teacher", real=True),
    ),
    "omgd": _both(
        "OMGD (ICCV 2021), finished teacher",
        "SSIM, features, Gram matrices and total variation, no discriminator; features of the generators, not of VGG",
        Compress(f"{_OMGD} --init scratch"),
    ),
    "compress_real": _both(
        "kd compress with wavelet + srp + pixel and real (truth, or real images)",
        "inherited channels, a low learning rate, and the ground truth, or real images of the target domain and a "
        "discriminator",
        Compress(_DETAILS, real=True),
    ),
    "ours_wavelet10": _both(
        "kd compress (its defaults, inputs only)",
        "OMGD's losses and wavelet at a tenth of its default weight, inherited channels, a learning rate of 0.002",
        Compress(f"{_OMGD},wavelet --lambda-wavelet 10 --lr 0.002"),
    ),
    "compress_lr2": _both(
        "kd compress with wavelet + srp + pixel (inputs only)",
        "inherited channels, a learning rate of 0.002",
        Compress(f"{_DETAILS} --lr 0.002"),
    ),
    "host": _both(
        "WKD + SRP in the host, inherited channels",
        "both papers' terms beside the host's losses and its discriminator",
        Host(f"--distill wavelet,srp {_INHERITED}"),
    ),
    "ours": _both(
        "kd compress with OMGD's losses (inputs only)",
        "from inherited channels, at a learning rate of 0.001",
        Compress(f"{_OMGD} --lr 0.001"),
    ),
    "ours_lr4": _both(
        "kd compress with OMGD's losses at a rate of 0.004", "inputs only", Compress(f"{_OMGD} --lr 0.004")
    ),
    "ours_host": _both(
        "OMGD's losses in the host, inherited channels",
        "beside the host's losses and its discriminator",
        Host(f"{_OMGD} {_INHERITED}"),
    ),
    # Ablations: one change each.
    "alone_lr": _both(
        "alone: learning rate of 0.001",
        "instead of 0.0004 (paired) or 0.0002",
        Host("--distill none --lr 0.001", teacher=False),
    ),
    "alone_decay": _both(
        "alone: decay from the second epoch",
        "as the host's learning rate changes once an epoch, and that of kd compress with every step",
        Host("--distill none --n_epochs 1 --n_epochs_decay {all_but_one}", teacher=False),
    ),
    "alone_long": _both(
        "alone: as many epochs as the teacher",
        "three times as many as the others, for paired images",
        Host("--distill none", teacher=False, times=3),
    ),
    "compress": _both(
        "kd compress with wavelet + srp + pixel: a low learning rate",
        "that of the recipes in the host; inputs only",
        Compress(_DETAILS),
    ),
    "compress_lr": _both(
        "kd compress with wavelet + srp + pixel: learning rate of 0.001", "", Compress(f"{_DETAILS} --lr 0.001")
    ),
    "compress_lr4": _both(
        "kd compress with wavelet + srp + pixel: learning rate of 0.004", "", Compress(f"{_DETAILS} --lr 0.004")
    ),
    "compress_long": _both(
        "kd compress with wavelet + srp + pixel: learning rate of 0.001, three times as long",
        "",
        Compress(f"{_DETAILS} --lr 0.001", times=3),
    ),
    "compress_lr4_long": _both(
        "kd compress with wavelet + srp + pixel: learning rate of 0.004, three times as long",
        "",
        Compress(f"{_DETAILS} --lr 0.004", times=3),
    ),
    "wkd_lr": _both(
        "WKD: learning rate of 0.001",
        "instead of 0.0004 (paired) or 0.0002",
        Host("--distill wavelet --student_ndf {half_ndf} --lr 0.001"),
    ),
    "omgd_lr": _both("OMGD: learning rate of 0.001", "", Compress(f"{_OMGD} --init scratch --lr 0.001")),
    "wavelet": _both("wavelet", "the host's discriminator", Host("--distill wavelet")),
    "wavelet_low": _both("wavelet, low band", "the coarsest band", Host("--distill wavelet --wavelet_bands low")),
    "wavelet_all": _both("wavelet, all bands", "", Host("--distill wavelet --wavelet_bands all")),
    "wavelet_db4": _both("wavelet, db4", "another basis", Host("--distill wavelet --wavelet_basis db4")),
    "wavelet_2": _both("wavelet, two levels", "", Host("--distill wavelet --wavelet_levels 2")),
    "pixel": _both("pixel", "the outputs alone", Host("--distill pixel")),
    "inherit": _both(
        "inherited channels",
        "no term: the teacher's channels only",
        Host(f"--distill wavelet {_INHERITED} --lambda_wavelet 0"),
    ),
    "alone_half_d": _both(
        "alone, small discriminator",
        "the host's losses, a discriminator of half the width",
        Host("--distill none --student_ndf {half_ndf}", teacher=False),
    ),
    "scratch": _both("WKD + SRP: random weights", "without inherited channels", Host("--distill wavelet,srp")),
    "host_d": _both("WKD + SRP: inherited discriminator too", "", Host(f"--distill wavelet,srp {_INHERITED_BOTH}")),
    "host_falling": _both(
        "WKD + SRP: falling weights",
        "weights that fall to a fifth in the last epoch",
        Host(
            f"--distill wavelet,srp {_INHERITED} "
            "--lambda_wavelet 100@1,20@{epochs} --lambda_srp 1000@1,200@{epochs}"
        ),
    ),
    "host_share": _both(
        "WKD + SRP: shares of the gradient",
        "30 % and 10 % of the generator's gradient instead of fixed weights",
        Host(f"--distill wavelet,srp {_INHERITED} --distill_share wavelet=30%,srp=10%"),
    ),
    "omgd_inherited": _both("OMGD: inherited channels", "", Compress(f"{_OMGD} --init teacher")),
    "compress_omgd": _both(
        "kd compress + real: WKD and OMGD",
        "inherited channels, the ground truth, wavelet details and OMGD's losses",
        Compress("--distill wavelet,ssim,feature,gram", real=True),
    ),
    "ours_lr": _both("kd compress with OMGD's losses: learning rate of 0.002", "", Compress(f"{_OMGD} --lr 0.002")),
    "ours_lr8": _both("kd compress with OMGD's losses: learning rate of 0.008", "", Compress(f"{_OMGD} --lr 0.008")),
    "ours_wavelet": _both(
        "kd compress with OMGD's losses and a fifth of wavelet",
        "at a learning rate of 0.002; a weight of 20, where kd compress has 10 by default",
        Compress(f"{_OMGD},wavelet --lambda-wavelet 20 --lr 0.002"),
    ),
    "ours_wavelet_lr1": _both(
        "kd compress with OMGD's losses and a fifth of wavelet: learning rate of 0.001",
        "",
        Compress(f"{_OMGD},wavelet --lambda-wavelet 20 --lr 0.001"),
    ),
    "ours_wavelet_lr4": _both(
        "kd compress with OMGD's losses and a fifth of wavelet: learning rate of 0.004",
        "",
        Compress(f"{_OMGD},wavelet --lambda-wavelet 20 --lr 0.004"),
    ),
    "ours_beta": _both(
        "kd compress with OMGD's losses: beta1 of 0.9", "instead of 0.5", Compress(f"{_OMGD} --lr 0.001 --beta1 0.9")
    ),
    "ours_pixel": _both("kd compress with OMGD's losses and pixel", "", Compress(f"{_OMGD},pixel --lr 0.001")),
    "ours_ssim": _both("kd compress with ssim", "at a learning rate of 0.001", Compress("--distill ssim --lr 0.001")),
    "compress_ssim": _both(
        "kd compress with wavelet + srp + ssim",
        "at a learning rate of 0.002",
        Compress("--distill wavelet,srp,ssim --lr 0.002"),
    ),
    "compress_no_srp": _both(
        "kd compress with wavelet + ssim",
        "at a learning rate of 0.002",
        Compress("--distill wavelet,ssim --lr 0.002"),
    ),
    "ssim_wavelet": _both(
        "kd compress with ssim and a fifth of wavelet",
        "much as for a teacher whose features are not known; at a learning rate of 0.002",
        Compress("--distill ssim,wavelet --lambda-wavelet 20 --lr 0.002"),
    ),
    "ours_srp": _both(
        "kd compress with ssim + srp",
        "at a learning rate of 0.002",
        Compress("--distill ssim,srp --lr 0.002"),
    ),
}

PUBLISHED = ("wkd", "srp", "gan_compression", "cat", "omgd")
DEFAULT = "ours_wavelet10"  # of kd compress
MAIN = ("alone", *PUBLISHED, "host", "compress_real", DEFAULT, "compress_lr2", "ours_host", "ours")
BEST = "ours"  # on the validation images of edges2emoji: "minus the best" in the tables
SMALL = (DEFAULT, "compress_lr2", "ours_lr4")  # by which students smaller than 7x are trained as well
SHOWN = tuple(name for name in RECIPES if name in (*MAIN, *SMALL))
ABLATIONS = tuple(name for name in RECIPES if name not in SHOWN)
# Of the ablations, those tried in search of the best recipe: no preset repeats them.
TRIED = (
    "compress_long",
    "compress_lr4_long",
    "compress_omgd",
    "compress_ssim",
    "ours_lr8",
    "ours_wavelet",
    "ours_wavelet_lr1",
    "ours_wavelet_lr4",
    "ssim_wavelet",
    "ours_beta",
    "ours_pixel",
    "ours_srp",
)
