"""Find the widest student that keeps within a budget."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from ..errors import ArgumentError
from ..metrics.cost import generator_cost
from ..metrics.limits import MEASURES, Budget, Limit, amount, parse_budget, parse_limit
from ..networks.generator import GeneratorSpec, build_generator

__all__ = [
    "LEAST_WIDTH",
    "MEASURES",
    "Budget",
    "Footprint",
    "Limit",
    "amount",
    "exceeded",
    "footprint",
    "is_smaller",
    "most_width",
    "narrowest",
    "nothing_fits",
    "parse_budget",
    "parse_limit",
    "student_within",
    "widest",
]

LEAST_WIDTH = 4  # of a student that is searched for: narrower ones are no generators any more


@dataclass(frozen=True)
class Footprint:
    """What a generator costs to ship.

    Attributes:
        params: number of parameters.
        macs: multiply-accumulates for one image.
        file_size: bytes of the checkpoint file.
        latency: seconds for one image, or None where it was not measured.
    """

    params: float
    macs: float
    file_size: float
    latency: float | None = None


def most_width(teacher: GeneratorSpec) -> int:
    """Return the ``ngf`` at which a generator of the family's widths is as wide as a teacher at its widest stage."""
    equals: list[int] = [-(-width // min(2**stage, 8)) for stage, width in enumerate(teacher.stages)]
    return max(equals)


def narrowest(like: GeneratorSpec, limit: int) -> GeneratorSpec:
    """Return the narrowest generator that is searched for, at most ``limit`` wide and else like the one given."""
    return replace(like, ngf=min(LEAST_WIDTH, limit), widths=None)


def is_smaller(student: Footprint, teacher: Footprint) -> bool:
    """Return whether a student has fewer parameters and operations than its teacher."""
    return student.params < teacher.params and student.macs < teacher.macs


def exceeded(footprint: Footprint, budget: Budget, teacher: Footprint) -> list[str]:
    """Return the measures of a budget that a generator exceeds."""
    found = []
    for measure, limit in budget.items():
        own, other = getattr(footprint, measure), getattr(teacher, measure)
        if own is not None and other is not None and own > limit.absolute(other):
            found.append(measure)
    return found


@lru_cache(maxsize=1024)
def footprint(spec: GeneratorSpec, size: int) -> Footprint:
    """Return what a generator costs for an image of size x size pixels, its latency aside; computes nothing."""
    cost = generator_cost(spec, size, size)
    return Footprint(cost.parameters, cost.macs, _file_size(spec))


def _file_size(spec: GeneratorSpec) -> int:
    """Return the size of the file that ``torch.save`` makes of the state dict, in bytes, to 128 bytes a tensor.

    Found without the tensors: a file of as many small ones, and how much larger they are.
    """
    with torch.device("meta"):
        state = build_generator(spec).state_dict()
    file = io.BytesIO()
    torch.save({key: torch.zeros(1, dtype=tensor.dtype) for key, tensor in state.items()}, file)
    left_out: int = sum((tensor.numel() - 1) * tensor.element_size() for tensor in state.values())
    return file.tell() + left_out


def widest(like: GeneratorSpec, limit: int, fits: Callable[[GeneratorSpec], bool]) -> GeneratorSpec | None:
    """Return the widest generator that fits, at most ``limit`` wide and else like the one given; None if none does.

    Args:
        like: architecture, depth, convolutions, norm and channels; its width is what is searched for.
        limit: the most ``ngf``.
        fits: whether a generator fits; true of all that are narrower than one it is true of.
    """
    least = narrowest(like, limit).ngf
    low, high = least - 1, limit  # fits at low (or low is below the least), not above high
    while low < high:
        middle = (low + high + 1) // 2
        if fits(replace(like, ngf=middle, widths=None)):
            low = middle
        else:
            high = middle - 1
    return replace(like, ngf=low, widths=None) if low >= least else None


def student_within(budget: Budget, like: GeneratorSpec, teacher: GeneratorSpec, size: int) -> GeneratorSpec:
    """Return the widest student within a budget, of the depth and convolutions of ``like``.

    Args:
        budget: limits; the latency is not looked at.
        like: what the student is to be, its width aside.
        teacher: what amounts such as ``7x`` are less than, and the widest a student may be.
        size: side of a square image in pixels.

    Raises:
        ArgumentError: not even the narrowest fits; the message says what that takes.
    """
    large = footprint(teacher, size)
    most = most_width(teacher)
    found = widest(like, most, lambda spec: not exceeded(footprint(spec, size), budget, large))
    if found is None:
        least = narrowest(like, most)
        raise ArgumentError(nothing_fits(budget, {least: footprint(least, size)}, large))
    return found


def nothing_fits(budget: Budget, smallest: Mapping[GeneratorSpec, Footprint], teacher: Footprint) -> str:
    """Return the message for a budget that none of the smallest students keeps within: what would fit."""
    parts = []
    for measure, limit in budget.items():
        taken = {spec: value for spec, f in smallest.items() if (value := getattr(f, measure)) is not None}
        other = getattr(teacher, measure)
        if not taken or other is None:
            continue
        spec = min(taken, key=lambda spec: taken[spec])
        least, allowed = taken[spec], limit.absolute(other)
        if least <= allowed and len(budget) > 1:
            continue
        name = f"{spec.netG} of ngf {spec.ngf}{', separable,' if spec.conv == 'separable' else ''}"
        parts.append(
            f"{measure} {limit.text} allows {amount(measure, allowed)}, a {name} takes "
            f"{amount(measure, least)} ({other / least:.3g}x less than the teacher)"
        )
    return f"no student is small enough: {'; '.join(parts)}; allow that much"
