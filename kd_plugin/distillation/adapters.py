"""Learnt 1x1 convolutions from the student's channels to the teacher's, for terms that compare channel by channel."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils import skip_init

from ..errors import ArgumentError, first_line
from ..networks.taps import Recorder, Tap, unwrap

# Of the images that find the channels, on the meta device, where nothing is computed: deep U-Nets need large ones.
_SIDES = (256, 512, 1024, 2048, 4096)


def make_adapters(student: nn.Module, teacher: nn.Module, taps: Sequence[Tap]) -> list[nn.Conv2d]:
    """Return an adapter for every tap, (B, C_s, H, W) -> (B, C_t, H, W), on the student's device.

    The initial weights are the identity on the common channels and zero elsewhere (Dirac): for a student equal to its
    teacher the loss starts at zero, and no random numbers are drawn.

    Raises:
        ArgumentError: If a tapped module returns no feature map, or a network does not run on the meta device.
    """
    channels = _channels(student, [tap.student for tap in taps], "student")
    channels_t = _channels(teacher, [tap.teacher for tap in taps], "teacher")
    like = next(student.parameters())
    adapters = []
    for tap in taps:
        sizes = channels[tap.student], channels_t[tap.teacher], 1
        adapter = skip_init(nn.Conv2d, *sizes, device=like.device, dtype=like.dtype)  # type: ignore[no-untyped-call]
        nn.init.dirac_(adapter.weight)
        nn.init.zeros_(adapter.bias)
        adapters.append(adapter)
    return adapters


def _channels(network: nn.Module, names: Sequence[str], role: str) -> dict[str, int]:
    network = unwrap(network)
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        raise ArgumentError(f"the {role} has no convolution, so there are no features to adapt")
    tensors = (*network.parameters(), *network.buffers())
    try:
        # Copies the modules, not their tensors, which the memo replaces with meta tensors.
        shadow = copy.deepcopy(network, {id(t): torch.nn.Parameter(t.to("meta"), False) for t in tensors})
        features = _features(shadow, names, first.in_channels, first.weight.dtype)
    except ArgumentError:
        raise
    except Exception as error:  # the user's network may raise anything
        raise ArgumentError(
            f"cannot find the channels of the {role}, which did not run on a {_SIDES[0]}x{_SIDES[0]} image with "
            f"{first.in_channels} channels ({first_line(error, 120)}): remove terms with adapters"
        ) from error
    for name in names:
        if not isinstance(features[name], torch.Tensor) or features[name].ndim != 4:
            raise ArgumentError(f"module '{name}' of the {role} returns no feature map (B, C, H, W): tap another")
    return {name: features[name].shape[1] for name in names}


def _features(network: nn.Module, names: Sequence[str], channels: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the features of a network on the meta device for the smallest image it accepts."""
    errors = []
    for side in _SIDES:
        try:
            with torch.no_grad(), Recorder(network, names) as recorder:
                network(torch.empty(1, channels, side, side, device="meta", dtype=dtype))
            return recorder.calls[-1].features
        except ArgumentError:
            raise
        except Exception as error:
            errors.append(error)
    raise errors[0]
