r"""Start a student from the most important channels of its teacher.

A channel's importance is the L1 norm of the filters that write it (Li et al., Pruning Filters for Efficient
ConvNets, ICLR 2017), summed over all convolutions that write its group: the residual stream of a ResNet is written by
every block. What is kept is kept everywhere: in the filters, their biases, the norms, and in whatever reads the
group, across residual and skip connections. Kept channels stay in their order, so a student as wide as its teacher
*is* the teacher.

A student with fewer residual blocks gets teacher blocks evenly spaced over the depth; a U-Net with fewer halvings
the teacher's outer levels. A separable convolution gets the closest one to the teacher's filters: for each input
channel *c* the best approximation :math:`W_{oc} \approx p_{oc} d_c` in the sense of least squares, which is the
largest singular value's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import nn

from ..errors import ArgumentError, CheckpointError, unknown_name
from ..networks.architecture import INPUT, OUTPUT, Layer
from ..networks.checkpoint import inspect_state_dict
from ..networks.generator import GeneratorSpec, get_architecture
from ..networks.taps import unwrap

__all__ = ["Keep", "inherit_weights"]

Keep = Literal["l1", "first"]
State = dict[str, torch.Tensor]
Kept = dict[str, torch.Tensor]  # by group of the teacher: the channels kept, ascending


def inherit_weights(student: nn.Module, teacher: nn.Module, keep: Keep = "l1") -> None:
    """Overwrite the weights of a student with those of its teacher's most important channels.

    Args:
        student: a generator of a registered architecture, built by anyone; may be wrapped (DataParallel, DDP).
        teacher: one of the same architecture, at least as wide at every stage and as deep.
        keep: ``"l1"`` for the channels with the largest filters, ``"first"`` for the first ones.

    Raises:
        ArgumentError: the two do not fit each other, or one is no generator of the family.
    """
    if keep not in get_args(Keep):
        raise ArgumentError(unknown_name("way to keep channels", str(keep), get_args(Keep)))
    state, teacher_state = unwrap(student).state_dict(), unwrap(teacher).state_dict()
    spec, teacher_spec = _spec(state, "student"), _spec(teacher_state, "teacher")
    _check(spec, teacher_spec)
    pairs, widths = _pair(spec, teacher_spec), _widths(teacher_spec, teacher_state)
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
            f"weights are inherited between generators of the family, the {role} is none: {error}"
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
            "a student of standard convolutions cannot inherit the weights of a teacher of separable ones: "
            "make its residual blocks separable too",
            argument="conv",
        )


def _listed(spec: GeneratorSpec) -> str:
    return ",".join(map(str, spec.stages))


def _pair(student: GeneratorSpec, teacher: GeneratorSpec) -> list[tuple[Layer, Layer]]:
    """Return every layer of the student with the teacher's it inherits from, its groups renamed to the teacher's."""
    architecture = get_architecture(teacher.architecture)
    sources = {layer.place: layer for layer in architecture.layers(teacher)}

    def renamed(name: str) -> str:
        return architecture.source(name, student.depth, teacher.depth)

    pairs = []
    for layer in architecture.layers(student):
        like = replace(layer, reads=tuple(map(renamed, layer.reads)), writes=renamed(layer.writes))
        pairs.append((like, sources[renamed(layer.place)]))
    return pairs


def _widths(spec: GeneratorSpec, state: State) -> dict[str, int]:
    """Return the channels of every group of a generator."""
    layers = get_architecture(spec.architecture).layers(spec)
    return {INPUT: spec.input_nc, **{layer.writes: len(_weight(layer, state)) for layer in layers}}


def _choose(
    pairs: list[tuple[Layer, Layer]], state: State, teacher: State, widths: dict[str, int], keep: Keep
) -> Kept:
    """Return the channels kept of every group of the teacher that the student has."""
    kept = {INPUT: torch.arange(widths[INPUT])}
    for group, width in {layer.writes: len(_weight(layer, state)) for layer, _ in pairs}.items():
        if keep == "first" or group == OUTPUT or width == widths[group]:
            kept[group] = torch.arange(width)
            continue
        norms = torch.stack(
            [_weight(source, teacher).flatten(1).abs().sum(1) for _, source in pairs if source.writes == group]
        )
        kept[group] = norms.sum(0).topk(width).indices.sort().values.cpu()
    return kept


def _weight(layer: Layer, state: State) -> torch.Tensor:
    """Return the weight of a layer, of its pointwise part if it is separable, output channels first."""
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
    """Return the tensors of a norm or depthwise convolution, with the channels kept."""
    found = {key: tensor for key, tensor in state.items() if key.startswith(f"{source}.")}
    return {name + key.removeprefix(source): t[index] if t.ndim else t for key, t in found.items()}


def _factor(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Split a weight (O, C, k, k) into the closest pointwise (O, C, 1, 1) and depthwise (C, 1, k, k) ones.

    The depthwise filters have norm 1, which keeps the variance of white noise: the norm layer between the two then
    scales nothing.
    """
    outputs, channels, *kernel = weight.shape
    left, scale, right = torch.linalg.svd(weight.flatten(2).permute(1, 0, 2).double(), full_matrices=False)
    pointwise = (left[..., 0] * scale[..., :1]).T.reshape(outputs, channels, 1, 1)
    return pointwise.to(weight.dtype), right[:, 0].reshape(channels, 1, *kernel).to(weight.dtype)
