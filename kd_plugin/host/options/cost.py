"""Options that reduce the cost of training without changing its results beyond rounding."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from ...distillation.precision import DTYPES, HalfPrecision, PrecisionName, checked_half, prepare_teacher
from ...distillation.teacher_cache import TeacherCache
from ...errors import ArgumentError, OptionError
from ...flags import option
from ...processes import say

_RANDOM_CROPS = ("crop", "zoom", "patch", "trim")  # in names of --preprocess modes


@dataclass(frozen=True)
class CostOptions:
    """How networks run; each field is an option of the same name."""

    amp: PrecisionName | None = option(
        None,
        "mixed precision of all networks; losses, weights and checkpoints stay float32",
        choices=get_args(PrecisionName),
        yields=True,  # some hosts have their own --amp
    )
    teacher_dtype: str | None = option(
        None, "precision of the whole teacher; that of --amp by default", choices=tuple(DTYPES)
    )
    teacher_compile: bool = option(False, "run the teacher through torch.compile", type=bool)
    teacher_cache: str = option(
        "", "folder in which the teacher's outputs are cached by image; for training without random crops"
    )
    teacher_cache_size: float = option(10.0, "maximum size of --teacher_cache in GB", type=float)

    def check(self, opt: Namespace, teacher_mode: str) -> None:
        """Raise an :class:`OptionError` for an invalid option, before anything is built."""
        if not self.teacher_cache_size > 0:
            raise OptionError(f"--teacher_cache_size {self.teacher_cache_size:g}: give a size in GB above 0")
        if not self.teacher_cache:
            return
        if teacher_mode != "eval":
            raise OptionError(
                f"--teacher_cache {self.teacher_cache}: with --teacher_mode {teacher_mode} the teacher's output "
                f"depends on dropout or on the batch and cannot be cached: remove one of the two options"
            )
        load, crop = getattr(opt, "load_size", 0), getattr(opt, "crop_size", 0)
        preprocess = getattr(opt, "preprocess", "") or ""
        random_crop = any(word in preprocess for word in _RANDOM_CROPS)
        if random_crop and not (preprocess == "resize_and_crop" and load == crop):
            whole = "scale_width" if preprocess == "scale_width_and_crop" else "none"
            remedy = f"--load_size {crop}" if preprocess == "resize_and_crop" else f"--preprocess {whole}"
            raise OptionError(
                f"--teacher_cache {self.teacher_cache}: --preprocess {preprocess} crops at random, so the cache "
                f"would never be hit: add {remedy}, or remove --teacher_cache"
            )

    def notes(self) -> list[str]:
        """Return notes on options that have no effect."""
        idle = self.teacher_cache_size != CostOptions.teacher_cache_size and not self.teacher_cache
        return ["--teacher_cache_size has no effect without --teacher_cache"] if idle else []

    def half(self, device: torch.device) -> HalfPrecision | None:
        """Return the requested mixed precision, or None.

        Raises:
            OptionError: the device does not support it.
        """
        try:
            half = checked_half(self.amp, device) if self.amp else None
        except ArgumentError as error:
            raise OptionError(f"--amp {error}") from error
        if half and half.name == "fp16" and device.type == "cpu":
            say("note: on CPUs, autocast keeps fewer operations in float32, and fp16 is slow: try --amp bf16")
        return half

    def prepare_teacher(self, teacher: nn.Module, half: HalfPrecision | None) -> nn.Module:
        """Return the teacher converted to the requested precision and compiled if requested.

        Raises:
            OptionError: the device does not support the precision.
        """
        try:
            return prepare_teacher(teacher, self.teacher_dtype, self.teacher_compile, half)
        except ArgumentError as error:
            raise OptionError(f"--teacher_dtype {error}") from error

    def cache(self) -> TeacherCache | None:
        """Return the requested teacher cache, or None.

        Raises:
            OptionError: its folder cannot be created.
        """
        if not self.teacher_cache:
            return None
        variant = self.teacher_dtype or self.amp or ""
        try:
            folder = Path(self.teacher_cache).expanduser()
            return TeacherCache(folder, self.teacher_cache_size * 1e9, variant, lambda line: say(f"note: {line}"))
        except ArgumentError as error:
            raise OptionError(f"--teacher_cache {error}") from error
        except RuntimeError as error:
            raise OptionError(f"--teacher_cache {self.teacher_cache}: no such home folder, give a path") from error
