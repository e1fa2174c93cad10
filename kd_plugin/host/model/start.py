"""Where the weights of a distillation start from: the teacher's generator, and its discriminator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import ArgumentError, OptionError
from ...metrics.cost import count_parameters
from ...networks.checkpoint import read_state_dict
from ...networks.discriminator import discriminator_beside
from ...networks.taps import unwrap
from ...processes import say
from ...students import inherit_weights
from ..options.student import StudentOptions
from .pair import Pair

__all__ = ["note_large_discriminator", "start_from_teacher"]

_FULL_NDF = 64  # the family's default: 2.77 M parameters


def start_from_teacher(
    model: Any, pair: Pair, student: nn.Module, teacher: nn.Module, file: Path, options: StudentOptions
) -> None:
    """Give a student, and its discriminator, the weights that the options say they start from.

    To be called when the host has initialised its networks, which some do when they are built and some in ``setup``,
    and only in a run that does not continue another.

    Args:
        model: the host's model.
        pair: the generator.
        student, teacher: the networks; the student may be wrapped.
        file: the teacher's checkpoint.
        options: which of them start from the teacher.

    Raises:
        OptionError: the weights do not fit.
    """
    if options.student_init == "teacher":
        try:
            inherit_weights(student, teacher, options.student_keep)
        except ArgumentError as error:
            raise OptionError(f"--student_init teacher: {error}") from error
        say(f"{pair.net} starts from the channels of {file}")
    if options.discriminator_init == "teacher":
        _start_discriminator(model, pair, file)


def note_large_discriminator(model: Any, pair: Pair, student: nn.Module) -> None:
    """Say so if a discriminator of full size judges a student that is smaller than itself."""
    judge = getattr(model, f"netD{pair.suffix}", None)
    if not isinstance(judge, nn.Module) or getattr(model.opt, "ndf", 0) < _FULL_NDF:
        return
    if count_parameters(judge) <= count_parameters(student):
        return
    own, large = (count_parameters(network) / 1e6 for network in (student, judge))
    say(
        f"note: netD{pair.suffix} has {large:.2f} M parameters, the student it judges {own:.2f} M; the wavelet paper "
        f"did best with a discriminator of 0.69 M: --student_ndf 32"
    )


def _start_discriminator(model: Any, pair: Pair, teacher: Path) -> None:
    name = f"netD{pair.suffix}"
    judge = getattr(model, name, None)
    if not isinstance(judge, nn.Module):
        raise OptionError(f"--discriminator_init teacher: this model has no {name}")
    file = discriminator_beside(teacher)
    if file is None or not file.is_file():
        raise OptionError(
            f"--discriminator_init teacher: there is no {file.name if file else '*_net_D*.pth'} beside "
            f"{teacher}: put the teacher's discriminator there, or leave the option out"
        )
    own, state = unwrap(judge).state_dict(), read_state_dict(file)
    agreeing = [key for key, tensor in own.items() if key in state and state[key].shape == tensor.shape]
    if not any(own[key].ndim > 1 for key in agreeing):
        key = next(iter(own))
        found = f"{tuple(state[key].shape)} there" if key in state else "missing there"
        raise OptionError(
            f"--discriminator_init teacher: no convolution of {name} fits {file} ({key} is {tuple(own[key].shape)} "
            f"here and {found}): give --student_ndf and --student_netD as the teacher's"
        )
    with torch.no_grad():
        for key in agreeing:
            own[key].copy_(state[key])
    say(f"{name} starts from {len(agreeing)} of {len(own)} tensors of {file}")
