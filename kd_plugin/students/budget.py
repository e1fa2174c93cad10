"""Find the widest student that keeps within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import ROUND_FLOOR, Context

from ..errors import ArgumentError
from ..metrics.cost import Cost, generator_cost
from ..metrics.limits import Budget, amount
from ..networks.generator import GeneratorSpec, get_architecture

__all__ = ["exceeded", "most_width", "narrowest", "nothing_fits", "student_within", "widest"]

_LEAST_WIDTH = 4  # of a student that is searched for: narrower ones are no generators any more
_ROUND_DOWN = Context(prec=3, rounding=ROUND_FLOOR)  # so that a budget of the ratio printed allows it


def most_width(teacher: GeneratorSpec) -> int:
    """Return the ``ngf`` at which a generator of the usual widths is as wide as a teacher at its widest stage."""
    unit = get_architecture(teacher.architecture).stages(1, teacher.depth)
    return max(-(-width // each) for width, each in zip(teacher.stages, unit, strict=True))


def narrowest(like: GeneratorSpec, limit: int) -> GeneratorSpec:
    """Return the narrowest generator that is searched for, at most ``limit`` wide and else like the one given."""
    return replace(like, ngf=min(_LEAST_WIDTH, limit), widths=None)


def exceeded(cost: Cost, budget: Budget, teacher: Cost) -> list[str]:
    """Return the measures of a budget that a generator exceeds."""
    found = []
    for measure, limit in budget.items():
        value, large = getattr(cost, measure), getattr(teacher, measure)
        if value is not None and large is not None and value > limit.absolute(large):
            found.append(measure)
    return found


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
    large = generator_cost(teacher, size)
    most = most_width(teacher)
    found = widest(like, most, lambda spec: not exceeded(generator_cost(spec, size), budget, large))
    if found is None:
        least = narrowest(like, most)
        raise ArgumentError(nothing_fits(budget, {least: generator_cost(least, size)}, large))
    return found


def nothing_fits(budget: Budget, smallest: Mapping[GeneratorSpec, Cost], teacher: Cost) -> str:
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
            f"{amount(measure, least, round_up=True)} ({_ROUND_DOWN.create_decimal(other / least):f}x less than the "
            f"teacher)"
        )
    return f"no student is small enough: {'; '.join(parts)}; allow that much"
