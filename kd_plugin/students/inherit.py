r"""Initialise a student from the most important channels of its teacher.

The importance of a channel is the L1 norm of the filters that write it (Li et al., Pruning Filters for Efficient
ConvNets, ICLR 2017), summed over all convolutions that write its group: every block writes the residual stream of a
ResNet. The same channels are kept in the filters, their biases, the norms, and all layers that read the group, across
residual and skip connections. Kept channels stay in order, so a student as wide as its teacher is equal to it.

A student with fewer residual blocks gets teacher blocks evenly spaced over the depth; a shallower U-Net the teacher's
outer levels. A separable convolution gets the closest approximation of the teacher's filters: for each input channel
*c* the least-squares solution :math:`W_{oc} \approx p_{oc} d_c`, from the largest singular value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import nn

from ..errors import ArgumentError, CheckpointError, unknown_name
from ..networks.architecture import INPUT, OUTPUT, Layer
from ..networks.checkpoint import inspect_state_dict
from ..networks.divided import family_keys
from ..networks.generator import GeneratorSpec, get_architecture
from ..networks.taps import unwrap

Keep = Literal["l1", "first"]
State = dict[str, torch.Tensor]
Kept = dict[str, torch.Tensor]  # by group of the teacher: the kept channels, ascending


def inherit_weights(student: nn.Module, teacher: nn.Module, keep: Keep = "l1") -> None:
    """Overwrite the weights of a student with those of its teacher's most important channels.

    Args:
        student: a generator of a registered architecture, from any code; may be wrapped (DataParallel, DDP).
        teacher: a generator of the same architecture, at least as wide at every stage and as deep.
        keep: ``"l1"`` for the channels with the largest filters, ``"first"`` for the first ones.

    Raises:
        ArgumentError: If the two are not compatible, or one is not a generator of the family.
    """
    if keep not in get_args(Keep):
        raise ArgumentError(unknown_name("way to keep channels", str(keep), get_args(Keep)))
    state, teacher_state = (dict(family_keys(unwrap(network).state_dict())) for network in (student, teacher))
    spec, teacher_spec = _spec(state, "student"), _spec(teacher_state, "teacher")
    _check(spec, teacher_spec)
    pairs = _pair(spec, teacher_spec)
    layers = get_architecture(teacher_spec.architecture).layers(teacher_spec)
    widths = {INPUT: teacher_spec.input_nc, **_widths(layers, teacher_state)}
    kept = _choose(pairs, state, teacher_state, widths, keep)
    with torch.no_grad():
        for layer, source in pairs:
            for key, tensor in _inherited(layer, source, kept, widths, teacher_state).items():
                if key in state:  # the two may differ in norm and bias
                    state[key].copy_(tensor)


def _spec(state: State, role: str) -> GeneratorSpec:
    try:
        return inspect_state_dict(state)
    except CheckpointError as error:
        raise ArgumentError(
            f"weights are inherited between generators of the family, but the {role} is not one: {error}"
        ) from None


def _check(student: GeneratorSpec, teacher: GeneratorSpec) -> None:
    if student.architecture != teacher.architecture:
        raise ArgumentError(f"a {student.netG} cannot inherit the weights of a {teacher.netG}")
    for name in ("input_nc", "output_nc"):
        if getattr(student, name) != getattr(teacher, name):
            raise ArgumentError(
                f"a student with {name} {getattr(student, name)} cannot inherit the weights of a teacher with "
                f"{getattr(teacher, name)}"
            )
    if student.depth > teacher.depth:
        raise ArgumentError(
            f"a {student.netG} cannot inherit the weights of a shallower {teacher.netG}: take {teacher.netG} or less"
        )
    if any(width > most for width, most in zip(student.stages, teacher.stages, strict=False)):
        raise ArgumentError(
            f"a student of widths {_listed(student)} cannot inherit the weights of a narrower teacher, "
            f"{_listed(teacher)}: make it no wider than these",
            argument="widths",
        )
    if teacher.conv == "separable" and student.conv != "separable":
        raise ArgumentError(
            "a student with standard convolutions cannot inherit the weights of a teacher with separable ones: "
            "use separable residual blocks too",
            argument="conv",
        )


def _listed(spec: GeneratorSpec) -> str:
    return ",".join(map(str, spec.stages))


def _pair(student: GeneratorSpec, teacher: GeneratorSpec) -> list[tuple[Layer, Layer]]:
    """Return every layer of the student with its source in the teacher, its groups renamed to the teacher's."""
    architecture = get_architecture(teacher.architecture)
    sources = {layer.place: layer for layer in architecture.layers(teacher)}

    def renamed(name: str) -> str:
        return architecture.source(name, student.depth, teacher.depth)

    pairs = []
    for layer in architecture.layers(student):
        like = replace(layer, reads=tuple(map(renamed, layer.reads)), writes=renamed(layer.writes))
        pairs.append((like, sources[renamed(layer.place)]))
    return pairs


def _widths(layers: Iterable[Layer], state: State) -> dict[str, int]:
    """Return the number of channels of every group that the layers write."""
    return {layer.writes: len(_weight(layer, state)) for layer in layers}


def _choose(
    pairs: list[tuple[Layer, Layer]], state: State, teacher: State, widths: dict[str, int], keep: Keep
) -> Kept:
    """Return the kept channels of every group of the teacher that the student has."""
    kept = {INPUT: torch.arange(widths[INPUT])}
    for group, width in _widths((layer for layer, _ in pairs), state).items():
        if keep == "first" or group == OUTPUT or width == widths[group]:
            kept[group] = torch.arange(width)
            continue
        norms = torch.stack(
            [_weight(source, teacher).flatten(1).abs().sum(1) for _, source in pairs if source.writes == group]
        )
        kept[group] = norms.sum(0).topk(width).indices.sort().values.cpu()
    return kept


def _weight(layer: Layer, state: State) -> torch.Tensor:
    """Return the weight of a layer (the pointwise one if it is separable), output channels first."""
    weight = state[f"{layer.conv}.2.weight" if layer.separable else f"{layer.conv}.weight"]
    return weight.transpose(0, 1) if layer.transposed else weight


def _inherited(layer: Layer, source: Layer, kept: Kept, widths: dict[str, int], state: State) -> State:
    """Return the tensors of one layer of the student."""
    written, read = kept[layer.writes], _columns(layer, source, kept, widths)
    tensors = _module(source.norm, layer.norm, written, state) if source.norm and layer.norm else {}
    if source.separable:
        tensors |= _module(f"{source.conv}.0", f"{layer.conv}.0", read, state)
        tensors |= _module(f"{source.conv}.1", f"{layer.conv}.1", read, state)
    last_source, last = (f"{each.conv}.2" if each.separable else each.conv for each in (source, layer))
    weight = _weight(source, state)[written][:, read]
    if layer.separable and not source.separable:
        weight, tensors[f"{layer.conv}.0.weight"] = _factor(weight)
    tensors[f"{last}.weight"] = weight.transpose(0, 1) if layer.transposed else weight
    if f"{last_source}.bias" in state:
        tensors[f"{last}.bias"] = state[f"{last_source}.bias"][written]
    return tensors


def _columns(layer: Layer, source: Layer, kept: Kept, widths: dict[str, int]) -> torch.Tensor:
    """Return the input channels of the teacher's layer that the student's reads."""
    columns, offset = [], 0
    for group in source.reads:
        if group in layer.reads:
            columns.append(kept[group] + offset)
        offset += widths[group]
    return torch.cat(columns)


def _module(source: str, name: str, index: torch.Tensor, state: State) -> State:
    """Return the tensors of a norm or depthwise convolution, with the kept channels."""
    found = {key: tensor for key, tensor in state.items() if key.startswith(f"{source}.")}
    return {name + key.removeprefix(source): t[index] if t.ndim else t for key, t in found.items()}


def _factor(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor a weight (O, C, k, k) into the closest pointwise (O, C, 1, 1) and depthwise (C, 1, k, k) ones.

    The depthwise filters have norm 1, which keeps the variance of white noise, so the norm layer between the two does
    not rescale it.
    """
    outputs, channels, *kernel = weight.shape
    left, scale, right = torch.linalg.svd(weight.flatten(2).permute(1, 0, 2).double(), full_matrices=False)
    pointwise = (left[..., 0] * scale[..., :1]).T.reshape(outputs, channels, 1, 1)
    return pointwise.to(weight.dtype), right[:, 0].reshape(channels, 1, *kernel).to(weight.dtype)
