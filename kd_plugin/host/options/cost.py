"""The options that make a training cheaper and leave what it computes as it is, up to rounding."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from ...distillation.precision import DTYPES, HalfPrecision, PrecisionName, run_in
from ...distillation.teacher_cache import TeacherCache
from ...errors import ArgumentError, OptionError, first_line
from ...flags import flags_of, option
from ...networks.generator import GeneratorSpec, build_generator
from ...processes import say

__all__ = ["CostOptions"]

# What a precision is tried on.
_SIDE = 32
_SMALL = (
    GeneratorSpec("resnet", 1, 1, 1, 1, "instance", False, False),
    GeneratorSpec("unet", 1, 1, 1, 5, "batch", False, False),
)
_DRAWN = ("crop", "zoom", "patch", "trim")  # what hosts call ways to cut pictures at random


@dataclass(frozen=True)
class CostOptions:
    """How networks are run; a field is an option of the same name."""

    amp: PrecisionName | None = option(
        None,
        "mixed precision of all networks; losses, weights and checkpoints stay float32",
        choices=get_args(PrecisionName),
        yields=True,  # hosts that do it themselves call it so too
    )
    teacher_dtype: str | None = option(
        None, "precision of all of the teacher; that of --amp if not named", choices=tuple(DTYPES)
    )
    teacher_compile: bool = option(False, "run the teacher through torch.compile", type=bool)
    teacher_cache: str = option(
        "", "folder that keeps what the teacher gives for a picture; for training without random crops"
    )
    teacher_cache_size: float = option(10.0, "how large --teacher_cache may become, in GB", type=float)

    def check(self, opt: Namespace, teacher_mode: str) -> None:
        """Check what can be checked before anything is built.

        Args:
            opt: the host's options.
            teacher_mode: the teacher's, "eval" or "train".

        Raises:
            OptionError: one line that says what is wrong and what to do instead.
        """
        if not self.teacher_cache_size > 0:
            raise OptionError(f"--teacher_cache_size {self.teacher_cache_size:g}: give a size in GB above 0")
        if not self.teacher_cache:
            return
        if teacher_mode != "eval":
            raise OptionError(
                f"--teacher_cache {self.teacher_cache}: with --teacher_mode {teacher_mode} the teacher gives other "
                f"pictures every time, or for other batches: leave one of the two out"
            )
        load, crop = getattr(opt, "load_size", 0), getattr(opt, "crop_size", 0)
        preprocess = getattr(opt, "preprocess", "")
        drawn = any(word in preprocess for word in _DRAWN)
        if drawn and not (preprocess == "resize_and_crop" and load == crop):
            whole = "scale_width" if preprocess == "scale_width_and_crop" else "none"
            remedy = f"--load_size {crop}" if preprocess == "resize_and_crop" else f"--preprocess {whole}"
            raise OptionError(
                f"--teacher_cache {self.teacher_cache}: --preprocess {preprocess} makes another picture of every "
                f"picture each time, so nothing would be found again: add {remedy}, or leave it out"
            )

    def notes(self) -> list[str]:
        """Return what a user should know about the options that were set."""
        idle = self.teacher_cache_size != CostOptions.teacher_cache_size and not self.teacher_cache
        return ["--teacher_cache_size has no effect without --teacher_cache"] if idle else []

    def half(self, device: torch.device) -> HalfPrecision | None:
        """Return the mixed precision asked for, if any.

        Raises:
            OptionError: the device cannot compute in it.
        """
        try:
            half = HalfPrecision(self.amp, device) if self.amp else None
        except ArgumentError as error:
            raise OptionError(f"--amp {error}") from error
        if half:
            _try("amp", half.name, device, half.run)
            if half.name == "fp16" and device.type == "cpu":
                say("note: on CPUs, autocast keeps less in float32 than on GPUs, and fp16 is slow: try --amp bf16")
        return half

    def prepare_teacher(self, teacher: nn.Module, half: HalfPrecision | None) -> nn.Module:
        """Return a teacher, on its device, such that it runs as asked for.

        Raises:
            OptionError: the device cannot compute in the precision.
        """
        if self.teacher_dtype:
            name = self.teacher_dtype
            _try("teacher_dtype", name, next(teacher.parameters()).device, lambda network: run_in(network, name))
        prepared: Any = torch.compile(teacher) if self.teacher_compile else teacher
        if self.teacher_dtype:
            run_in(prepared, self.teacher_dtype)
        elif half:
            half.run(prepared)
        return prepared  # type: ignore[no-any-return]

    def cache(self) -> TeacherCache | None:
        """Return the cache asked for, if any.

        Raises:
            OptionError: its folder cannot be made.
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
            raise OptionError(f"--teacher_cache {self.teacher_cache}: no such home folder, give its path") from error

    def to_dict(self) -> Mapping[str, Any]:
        """Return the options that were set, for JSON."""
        return {flag.name: getattr(self, flag.name) for flag in flags_of(CostOptions)}


def _try(flag: str, name: str, device: torch.device, convert: Callable[[nn.Module], None]) -> None:
    """Check that generators work in a precision, with two small ones.

    Raises:
        OptionError: they do not.
    """
    try:
        for spec in _SMALL:
            with torch.random.fork_rng(devices=[]):  # a run with another precision draws the same numbers
                network = build_generator(spec).requires_grad_(False).eval().to(device)
            convert(network)
            network(torch.zeros(1, 1, _SIDE, _SIDE, device=device))
    except RuntimeError as error:
        raise OptionError(
            f"--{flag} {name}: PyTorch {torch.__version__} does not have it on {device.type} "
            f"({first_line(error, 80)}): leave it out, or try another"
        ) from error
