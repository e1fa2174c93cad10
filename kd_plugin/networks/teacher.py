"""Turn a checkpoint into a frozen teacher network."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import nn

from ..errors import ArgumentError, unknown_name
from .checkpoint import fill_network, inspect_state_dict, read_state_dict
from .generator import Generator, GeneratorSpec, build_generator

__all__ = ["TeacherMode", "freeze", "load_teacher"]

TeacherMode = Literal["eval", "train"]


def load_teacher(
    path: str | os.PathLike[str],
    mode: TeacherMode = "eval",
    device: torch.device | str = "cpu",
    dropout: bool = True,
) -> Generator:
    """Load a teacher generator from a checkpoint; its architecture is read from the file.

    The network is frozen: no parameter requires grad, and its running statistics never change. Loading draws no
    random numbers, so a run with a teacher initialises its student as the same run without one does.

    Args:
        path: a ``.pth`` file as the hosts write it.
        mode: ``"eval"``, or ``"train"`` to use the statistics of the batch and active dropout, as hosts do
            that test without ``--eval``.
        device: where the network goes.
        dropout: whether a U-Net has dropout layers, which its file does not show; matters in ``"train"`` mode
            alone.

    Returns:
        The generator, (B, C, H, W) images in [-1, 1] in and out, in float32; its attribute ``spec`` is the
        :class:`~kd_plugin.GeneratorSpec`.

    Raises:
        CheckpointError: the file is not a generator of the family.
        ArgumentError: unknown mode.
    """
    if mode not in get_args(TeacherMode):
        raise ArgumentError(unknown_name("teacher mode", str(mode), get_args(TeacherMode)))
    state = read_state_dict(path)
    spec = inspect_state_dict(state, str(path))
    if spec.dropout is None:
        spec = replace(spec, dropout=dropout)
    network = _assemble(spec, state)
    freeze(network, mode)
    return network.to(device)


def _assemble(spec: GeneratorSpec, state: dict[str, torch.Tensor]) -> Generator:
    with torch.device("meta"):  # allocates nothing and, above all, draws no random numbers
        network = build_generator(spec)
    fill_network(network, state)
    return network


def freeze(network: nn.Module, mode: TeacherMode) -> None:
    """Make a network a teacher: no gradients, and running statistics that never change."""
    network.requires_grad_(False).train(mode == "train")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # in train mode, the running statistics would follow the student's data
