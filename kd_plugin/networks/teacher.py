"""Load a frozen teacher from a checkpoint."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import nn

from ..errors import ArgumentError, unknown_name
from .checkpoint import fill_network, inspect_state_dict, read_state_dict
from .generator import Generator, build_generator

TeacherMode = Literal["eval", "train", "batch"]


def load_teacher(
    path: str | os.PathLike[str],
    mode: TeacherMode = "eval",
    device: torch.device | str = "cpu",
    dropout: bool = True,
) -> Generator:
    """Load a teacher generator from a checkpoint; its architecture is read from the file.

    The network is frozen: no parameter requires grad, and its running statistics never change. Loading draws no
    random numbers, so runs with and without a teacher initialise the student identically.

    Args:
        path: a ``.pth`` file as written by the hosts.
        mode: ``"eval"``, or ``"train"`` for batch statistics and active dropout, as in hosts that test without
            ``--eval``, or ``"batch"`` for batch statistics without dropout, as DeepLIIF tests.
        device: the device of the network.
        dropout: whether a U-Net has dropout layers, which its file does not show; only relevant in ``"train"`` mode.

    Returns:
        The generator, (B, C, H, W) images in [-1, 1] in and out, in float32; its attribute ``spec`` is the
        :class:`~kd_plugin.GeneratorSpec`.

    Raises:
        CheckpointError: If the file is not a generator of the family.
        ArgumentError: If the mode is unknown.
    """
    if mode not in get_args(TeacherMode):
        raise ArgumentError(unknown_name("teacher mode", str(mode), get_args(TeacherMode)))
    state = read_state_dict(path)
    spec = inspect_state_dict(state, str(path))
    if spec.dropout is None:
        spec = replace(spec, dropout=dropout)
    with torch.device("meta"):  # draws no random numbers
        network = build_generator(spec)
    fill_network(network, state)
    freeze(network, mode)
    return network.to(device)


def freeze(network: nn.Module, mode: TeacherMode) -> None:
    """Freeze a network: no gradients, and constant running statistics."""
    network.requires_grad_(False).train(mode == "train")
    for module in network.modules():
        running = getattr(module, "running_mean", None) is not None
        if running and isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.InstanceNorm2d)):
            module.momentum = 0.0  # train mode would update the running statistics
            module.train(mode != "eval")
