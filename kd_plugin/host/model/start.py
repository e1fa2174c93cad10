"""Initialise the student and its discriminator from the teacher's networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import ArgumentError, OptionError
from ...metrics.cost import count_parameters
from ...networks.checkpoint import read_state_dict
from ...networks.discriminator import find_discriminator
from ...networks.taps import unwrap
from ...processes import say
from ...students import inherit_weights
from ...training.networks import find_network
from ..options.student import StudentOptions
from ..repository.family import Pair
from ..repository.usual_options import usual_options

_FULL_NDF = 64  # the family's default: 2.77 M parameters


def start_from_teacher(
    model: Any, pair: Pair, student: nn.Module, teacher: nn.Module, file: Path, options: StudentOptions
) -> None:
    """Copy the teacher's weights to a student and its discriminator, as requested by the options.

    Call this after the host has initialised its networks, at construction or in ``setup``, and not in a continued
    run. The student may be wrapped; ``file`` is the checkpoint of the teacher.

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
        _start_discriminators(model, pair, file)


def note_large_discriminator(model: Any, pair: Pair, student: nn.Module) -> None:
    """Print a note if a discriminator of full width is larger than the student."""
    if getattr(usual_options(model.opt), "ndf", 0) < _FULL_NDF:
        return
    for name, discriminator in list(_discriminators(model, pair).items())[:1]:
        small, large = (count_parameters(network) / 1e6 for network in (student, discriminator))
        if large <= small:
            return
        say(
            f"note: net{name} has {large:.2f} M parameters, its generator {small:.2f} M; a "
            f"discriminator of 0.69 M gave the best results in the wavelet paper: --student_ndf 32"
        )


def _discriminators(model: Any, pair: Pair) -> dict[str, nn.Module]:
    """Return the discriminators of a pair by name: ``D_A`` of ``G_A``, or several, named after what they judge.

    Those of joliGEN are called ``D_B_basic``, ``D_B_projected_d``: of the images B, which ``G_A`` makes.
    """
    judged = f"D_{'A' if pair.swaps else 'B'}_"
    others = (name for name in getattr(model, "model_names", ()) if name.startswith(judged))
    exact = find_network(model, pair.discriminator) is not None
    found = {name: find_network(model, name) for name in ([pair.discriminator] if exact else others)}
    return {name: network for name, network in found.items() if network is not None}


def _start_discriminators(model: Any, pair: Pair, teacher: Path) -> None:
    found = _discriminators(model, pair)
    if not found:
        raise OptionError(f"--discriminator_init teacher: this model has no net{pair.discriminator}")
    for name, discriminator in found.items():
        file = find_discriminator(teacher)
        if file is not None and name != pair.discriminator:
            file = file.with_name(f"{file.name.partition('_net_')[0]}_net_{name}.pth")
        _start_discriminator(f"net{name}", discriminator, teacher, file)


def _start_discriminator(name: str, discriminator: nn.Module, teacher: Path, file: Path | None) -> None:
    if file is None or not file.is_file():
        raise OptionError(
            f"--discriminator_init teacher: there is no {file.name if file else '*_net_D*.pth'} next to "
            f"{teacher}: put the teacher's discriminator there, or remove the option"
        )
    target, state = unwrap(discriminator).state_dict(), read_state_dict(file)
    matching = [key for key, tensor in target.items() if key in state and state[key].shape == tensor.shape]
    if not any(target[key].ndim > 1 for key in matching):
        key = next(iter(target))
        found = f"{tuple(state[key].shape)} there" if key in state else "missing there"
        raise OptionError(
            f"--discriminator_init teacher: no convolution of {name} matches {file} ({key} is "
            f"{tuple(target[key].shape)} here and {found}): set --student_ndf and --student_netD as the teacher's"
        )
    with torch.no_grad():
        for key in matching:
            target[key].copy_(state[key])
    say(f"{name} starts from {len(matching)} of {len(target)} tensors of {file}")
