"""What is run: tasks, sizes, recipes and seeds, and how long, by preset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from recipes import ABLATIONS, BEST, DEFAULT, MAIN, SMALL, TRIED, Kind

from kd_plugin.errors import KDError, unknown_name

TEACHER = "teacher"


@dataclass(frozen=True)
class Size:
    """A student: its width as a fraction of the teacher's, and the convolutions of its residual blocks."""

    width: Fraction
    conv: str = "standard"


SIZES: Mapping[str, Size] = {
    "7x": Size(Fraction(3, 8)),
    "16x": Size(Fraction(1, 4)),
    "40x": Size(Fraction(1, 4), "separable"),
}


@dataclass(frozen=True, order=True)
class Cell:
    """A training and its measures.

    Attributes:
        task: name of the task.
        recipe: name of the recipe, or ``"teacher"``.
        size: of the student; empty for a teacher.
        seed: of the training.
    """

    task: str
    recipe: str
    size: str
    seed: int

    @property
    def key(self) -> str:
        """Its name, of files and folders."""
        return "-".join(filter(None, (self.task, self.recipe, self.size, f"s{self.seed}")))

    @classmethod
    def from_key(cls, key: str) -> Cell:
        """Return the cell of a key."""
        *names, seed = key.split("-")
        task, recipe, size = (*names, "")[:3]
        return cls(task, recipe, size, int(seed.removeprefix("s")))

    @property
    def teacher(self) -> Cell | None:
        """The cell that must be run before, if any."""
        return None if self.recipe == TEACHER else Cell(self.task, TEACHER, "", 0)


@dataclass(frozen=True)
class Lengths:
    """Epochs and batch size of a kind of task.

    Attributes:
        teacher, student: epochs; the learning rate falls to zero over the second half.
        batch_size: of both.
        lr: learning rate.
    """

    teacher: int
    student: int
    batch_size: int
    lr: float


@dataclass(frozen=True)
class Group:
    """The cells of all combinations."""

    tasks: tuple[str, ...]
    recipes: tuple[str, ...]
    sizes: tuple[str, ...]
    seeds: int

    def cells(self) -> list[Cell]:
        """Return the cells, all of one seed before the next, so that a part of the study is balanced."""
        return [
            Cell(task, recipe, size, seed)
            for seed in range(self.seeds)
            for task in self.tasks
            for size in self.sizes
            for recipe in self.recipes
        ]


@dataclass(frozen=True)
class Preset:
    """A study of a certain extent.

    Attributes:
        side: of the images, in pixels.
        netG: architecture of all generators.
        ngf, ndf: widths of the teacher and of its discriminator.
        lengths: by kind of task.
        groups: what is run, in this order.
        images: number of images of each phase at most; all if None.
        device: ``"cpu"`` or ``"cuda"``.
        workers: cells that run at a time, with one thread each on a CPU.
    """

    side: int
    netG: str
    ngf: int
    ndf: int
    lengths: Mapping[Kind, Lengths]
    groups: tuple[Group, ...]
    images: int | None = None
    device: str = "cpu"
    workers: int = 2

    def cells(self) -> list[Cell]:
        """Return all cells without the teachers, each once."""
        return list(dict.fromkeys(cell for group in self.groups for cell in group.cells()))

    def student_ngf(self, size: str) -> int:
        """Return the width of a student, at least 1."""
        return max(1, round(self.ngf * SIZES[size].width))


EMOJI = ("edges2emoji", "flat2fluent")
_HEADLINE = ("alone", "wkd", BEST)
_MAIN = Group(EMOJI, MAIN, ("7x",), 3)
_PHOTOGRAPHS = Group(("photographs",), (*_HEADLINE, "host", DEFAULT, "compress_lr2"), ("7x",), 3)
_ABLATIONS = (
    Group(("edges2emoji",), tuple(name for name in ABLATIONS if name not in TRIED), ("7x",), 3),
    Group(("flat2fluent",), ("compress", "omgd_inherited", "ours_lr"), ("7x",), 3),
    Group(("flat2fluent", "photographs"), ("compress_lr", "compress_lr4", "compress_no_srp"), ("7x",), 3),
)

_CPU = Preset(
    side=64,
    netG="resnet_6blocks",
    ngf=24,
    ndf=24,
    lengths={"paired": Lengths(12, 4, 4, 0.0004), "unpaired": Lengths(8, 2, 1, 0.0002)},
    groups=(_MAIN, Group(EMOJI, (*_HEADLINE, *SMALL), ("16x", "40x"), 3), _PHOTOGRAPHS),
)

_GPU = Preset(
    side=128,
    netG="resnet_9blocks",
    ngf=64,
    ndf=64,
    lengths={"paired": Lengths(60, 30, 4, 0.0004), "unpaired": Lengths(40, 20, 1, 0.0002)},
    groups=(
        replace(_MAIN, seeds=5),
        Group((*EMOJI, "photographs"), (*MAIN, *SMALL), ("16x", "40x"), 3),
        Group(("photographs",), MAIN, ("7x",), 3),
        *_ABLATIONS,
    ),
    device="cuda",
    workers=4,
)

PRESETS: Mapping[str, Preset] = {
    "smoke": replace(
        _CPU,
        ngf=8,
        ndf=8,
        images=8,
        lengths={"paired": Lengths(1, 1, 4, 0.0004), "unpaired": Lengths(1, 1, 4, 0.0002)},
        groups=(Group(EMOJI, ("alone", "host", "compress_real"), ("7x",), 2),),
    ),
    "cpu": _CPU,
    "cpu-more": replace(
        _CPU,
        groups=(
            *_CPU.groups,
            Group(EMOJI, ("alone", DEFAULT, "compress_lr2", BEST), ("7x",), 5),
            Group(
                (*EMOJI, "photographs"),
                ("alone", DEFAULT, "compress_lr", "compress_lr2", "compress_lr4"),
                ("40x",),
                3,
            ),
            *_ABLATIONS,
        ),
    ),
    "gpu": _GPU,
    # The size of the papers, at which a step takes four times as long.
    "gpu-256": replace(_GPU, side=256, workers=2),
}


def find_preset(name: str, dataroots: Mapping[str, Path]) -> Preset:
    """Return a preset; with data sets that are not of its tasks, its main cells on these instead.

    Raises:
        KDError: there is none of this name.
    """
    if name not in PRESETS:
        raise KDError(unknown_name("preset", name, PRESETS))
    preset = PRESETS[name]
    others = tuple(task for task in dataroots if all(task not in group.tasks for group in preset.groups))
    return replace(preset, groups=(replace(preset.groups[0], tasks=others),)) if others else preset


def select(cells: Sequence[Cell], patterns: Sequence[str]) -> list[Cell]:
    """Return the cells whose keys have all words of one of the patterns, such as ``edges2emoji-wkd-7x``.

    Raises:
        KDError: a pattern selects none.
    """
    if not patterns:
        return list(cells)
    chosen = []
    for pattern in patterns:
        words = set(pattern.split("-"))
        found = [cell for cell in cells if words <= set(cell.key.split("-"))]
        if not found:
            raise KDError(f"--cells {pattern}: no cell of the preset has these words; --list shows them")
        chosen += found
    return [cell for cell in cells if cell in set(chosen)]
