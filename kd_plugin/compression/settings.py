"""The settings of a compression, and what the options of the teacher's training add to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ..distillation.precision import PrecisionName
from ..errors import ArgumentError
from ..networks.translator import Mode
from ..pictures import Preprocess, Preprocessing
from ..training.objectives import GanMode
from .wishes import Wish

Direction = Literal["AtoB", "BtoA"]

_LOAD_SIZE, _CROP_SIZE = 286, 256  # the hosts' defaults
_CROPPING: dict[str, Preprocess] = {"none": "crop", "scale_width": "scale_width_and_crop"}
# With weights; None for a term's default. Of the recipes that docs/results.md compares in all tasks and sizes, the
# one whose worst result is the best. Of a teacher without features, those that read images only.
DEFAULT_TERMS: Mapping[str, str | None] = {"ssim": None, "feature": None, "gram": None, "tv": None, "wavelet": "10"}
_LR = 2e-3  # with these at least as good as half of it in all tasks of docs/results.md
_ADVERSARIAL_LR = 2e-4  # the hosts'
_EPOCHS = 200  # as in the hosts: half of them at a constant learning rate


@dataclass(frozen=True)
class CompressSettings:
    """What to compress, and how. None leaves a value to the options of the teacher's training, or the default.

    Attributes:
        output: folder of the results.
        teacher: a checkpoint, its folder, an ONNX file, or a program of ``torch.export``.
        teacher_function: ``package.module:function`` that returns the teacher, instead.
        teacher_weights: the function's weights.
        teacher_images: folder of the teacher's finished images with the names of the inputs, instead.
        teacher_epoch: of a folder of checkpoints.
        teacher_mode: ``"train"`` for batch statistics and dropout.
        images: folder of inputs.
        pairs: folder of pairs A|B as in the hosts' aligned data sets, instead: input and ground truth.
        real: folder of real images of the target domain, for an adversarial loss.
        direction: of the teacher; which half of a pair is the input.
        students: the students to train.
        student_mode: in which they are measured: ``"train"`` for the statistics of each image and dropout, as the
            hosts test, ``"eval"`` for running statistics.
        terms: names of the terms with weights (a number, a schedule, or None for the term's default); None for
            those of ``DEFAULT_TERMS`` that the teacher's features allow.
        term_options: settings of the terms by flag.
        taps: where terms read features, by term.
        preprocess, load_size, size, flip: as the hosts' ``--preprocess``, ``--load_size``, ``--crop_size``,
            ``--no_flip``.
        augment: whether crops are at random positions, and images flipped.
        validation: share of the images that is held out.
        epochs: length of the training in passes over the images; 200 by default.
        steps: length of the training in steps, instead.
        minutes: duration of the training, instead; with ``steps`` or ``epochs``, it stops after that time.
        batch: number of images of a step.
        lr, beta1: of Adam; without ``lr``, 0.002, and with ``real`` the hosts' 0.0002.
        lambda_L1: weight of the ground truth's loss.
        lambda_gan: weight of the adversarial loss.
        gan_mode: of the adversarial loss.
        seed: of crops, flips, dropout and random weights.
        amp: mixed precision of the networks.
        teacher_dtype: precision of the teacher.
        teacher_compile: whether the teacher runs through ``torch.compile``.
        teacher_cache: folder of a cache of the teacher's images; needs ``augment=False``.
        max_bad_steps: maximum number of consecutive steps that may be skipped.
        workers: number of processes that load images.
        device: such as ``"cpu"`` or ``"cuda"``.
        print_freq: number of images between two lines of the log.
        save_freq: number of images between two saves.
        fresh: whether to begin again where the folder has a training.
        command: the command, for the page.
    """

    output: Path
    teacher: Path | None = None
    teacher_function: str = ""
    teacher_weights: Path | None = None
    teacher_images: Path | None = None
    teacher_epoch: str = "latest"
    teacher_mode: Mode = "eval"
    images: Path | None = None
    pairs: Path | None = None
    real: Path | None = None
    direction: Direction | None = None
    students: Sequence[Wish] = (Wish(),)
    student_mode: Mode = "train"
    terms: Mapping[str, Any] | None = None
    term_options: Mapping[str, Any] = field(default_factory=dict)
    taps: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Preprocess | None = None
    load_size: int | None = None
    size: int | None = None
    flip: bool | None = None
    augment: bool = True
    validation: float = 0.1
    epochs: int | None = None
    steps: int | None = None
    minutes: float | None = None
    batch: int = 1
    lr: float | None = None
    beta1: float = 0.5
    lambda_L1: float = 100.0
    lambda_gan: float = 1.0
    gan_mode: GanMode | None = None
    seed: int = 0
    amp: PrecisionName | None = None
    teacher_dtype: str | None = None
    teacher_compile: bool = False
    teacher_cache: Path | None = None
    max_bad_steps: int = 10
    workers: int = 2
    device: str = "cpu"
    print_freq: int = 100
    save_freq: int = 5000
    fresh: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if bool(self.images) == bool(self.pairs):
            raise ArgumentError("name the inputs in one way: a folder of images, or of pairs")
        if self.teacher_images and self.pairs:
            raise ArgumentError(
                f"the teacher's images {self.teacher_images} belong to a folder of inputs, not to pairs"
            )
        if self.epochs is not None and self.steps is not None:
            raise ArgumentError("the length is given in epochs and in steps: give one")
        for name in ("epochs", "steps", "minutes", "batch", "print_freq", "save_freq", "lr"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ArgumentError(f"{name} {value:g}: give a number above 0")
        if self.seed < 0:
            raise ArgumentError(f"seed {self.seed}: give a whole number of 0 or more")
        if not 0 <= self.beta1 < 1:
            raise ArgumentError(f"beta1 {self.beta1:g}: give at least 0 and below 1")
        for name in ("workers", "max_bad_steps", "lambda_L1", "lambda_gan"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ArgumentError(f"{name} {value:g}: give 0 or more")
        if self.teacher_cache and (self.augment or self.teacher_mode != "eval" or self.teacher_images):
            raise ArgumentError(
                "a cache of the teacher's images needs images that come again, without augmentation, and a network "
                "in eval mode",
                argument="augment",
            )

    @property
    def learning_rate(self) -> float:
        """``lr``, or 0.002, or with real images the hosts' 0.0002, which suits a student and a discriminator."""
        return self.lr or (_ADVERSARIAL_LR if self.real else _LR)

    def preprocessing(self, trained: Mapping[str, str]) -> tuple[Preprocessing, list[str]]:
        """Return how images are resized and cropped, and notes on it.

        Args:
            trained: options of the teacher's training by name, as text.

        Raises:
            ArgumentError: If a value is not valid.
        """
        notes = []
        preprocess = self.preprocess or _known(trained, "preprocess", get_args(Preprocess)) or "resize_and_crop"
        if preprocess in _CROPPING:
            notes.append(f"{preprocess} does not crop: using {_CROPPING[preprocess]}")
            preprocess = _CROPPING[preprocess]
        size = self.size or _number(trained, "crop_size") or _CROP_SIZE
        load_size = self.load_size or _number(trained, "load_size")
        if load_size is None or (self.load_size is None and load_size < size):
            load_size = round(size * _LOAD_SIZE / _CROP_SIZE)
        return Preprocessing(preprocess, load_size, size), notes

    def flips(self, trained: Mapping[str, str]) -> bool:
        """Return whether images are flipped."""
        return self.augment and (trained.get("no_flip") != "True" if self.flip is None else self.flip)

    def gan(self, trained: Mapping[str, str]) -> GanMode:
        """Return the kind of the adversarial loss."""
        return self.gan_mode or _known(trained, "gan_mode", get_args(GanMode)) or "lsgan"

    def length(self, epoch: int) -> int | None:
        """Return the number of steps, given that of an epoch; None if the duration determines it."""
        if self.steps is not None:
            return self.steps
        if self.epochs is None and self.minutes is not None:
            return None
        return (self.epochs or _EPOCHS) * epoch


def _known(trained: Mapping[str, str], name: str, choices: Sequence[str]) -> Any:
    value = trained.get(name)
    return value if value in choices else None


def _number(trained: Mapping[str, str], name: str) -> int | None:
    value = trained.get(name, "")
    return int(value) if value.isdecimal() and int(value) else None
