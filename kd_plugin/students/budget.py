"""Find the widest student that keeps within a budget."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import ROUND_FLOOR, Context

from ..errors import ArgumentError
from ..metrics.cost import Cost, generator_cost
from ..metrics.limits import Budget, amount
from ..networks.generator import GeneratorSpec, get_architecture

_LEAST_WIDTH = 4  # minimum width in the search: narrower generators are not useful
_BLOCK = 8  # channels that processors and runtimes compute together: of 25, most of them compute 32
_NARROWER = 0.9  # the least fraction of the width to give up for whole blocks
_ROUND_DOWN = Context(prec=3, rounding=ROUND_FLOOR)  # so that a budget of the ratio printed allows it


def most_width(teacher: GeneratorSpec) -> int:
    """Return the ``ngf`` at which the default widths are at least the teacher's at every stage."""
    unit = get_architecture(teacher.architecture).stages(1, teacher.depth)
    return max(-(-width // each) for width, each in zip(teacher.stages, unit, strict=True))


def narrowest(like: GeneratorSpec, limit: int) -> GeneratorSpec:
    """Return ``like`` with the minimum width of the search, at most ``limit``."""
    return replace(like, ngf=min(_LEAST_WIDTH, limit), widths=None)


def in_blocks(ngf: int) -> int:
    """Return the width, or the multiple of 8 channels below it if that is at most a tenth narrower.

    The last channels of a width that is just above such a multiple cost as much as a block of 8: a ResNet-9 of 25
    takes a third more time in PyTorch on a CPU than one of 24 (``docs/benchmarks.md``).

    >>> in_blocks(25), in_blocks(26), in_blocks(27), in_blocks(23)
    (24, 24, 27, 23)
    """
    blocks = ngf // _BLOCK * _BLOCK
    return blocks if blocks >= _NARROWER * ngf else ngf


def exceeded(cost: Cost, budget: Budget, teacher: Cost) -> bool:
    """Return whether a generator exceeds a limit on a measure that is known."""
    measures = ((limit, getattr(cost, name), getattr(teacher, name)) for name, limit in budget.items())
    return any(None not in (value, large) and value > limit.absolute(large) for limit, value, large in measures)


def widest(like: GeneratorSpec, limit: int, fits: Callable[[GeneratorSpec], bool]) -> GeneratorSpec | None:
    """Return ``like`` with the largest width that fits, up to ``limit``, or None.

    If ``fits`` holds for a generator, it must hold for all narrower ones.
    """
    least = narrowest(like, limit).ngf
    widths = range(least, limit + 1)
    fitting = bisect.bisect_left(widths, True, key=lambda ngf: not fits(replace(like, ngf=ngf, widths=None)))
    return replace(like, ngf=widths[fitting - 1], widths=None) if fitting else None


def student_within(budget: Budget, like: GeneratorSpec, teacher: GeneratorSpec, size: int) -> GeneratorSpec:
    """Return the widest student within a budget :func:`in_blocks`, with the depth and convolutions of ``like``.

    Args:
        budget: limits; that of the latency is ignored.
        like: description of the student; its width is ignored.
        teacher: reference for amounts such as ``7x``, and the maximum width.
        size: side of a square image in pixels.

    Raises:
        ArgumentError: If not even the narrowest fits; the message gives its cost.
    """
    large = generator_cost(teacher, size)
    most = most_width(teacher)
    found = widest(like, most, lambda spec: not exceeded(generator_cost(spec, size), budget, large))
    if found is None:
        least = narrowest(like, most)
        raise ArgumentError(nothing_fits(budget, {least: generator_cost(least, size)}, large))
    return replace(found, ngf=in_blocks(found.ngf))


def nothing_fits(budget: Budget, smallest: Mapping[GeneratorSpec, Cost], teacher: Cost) -> str:
    """Return the message for a budget that even the smallest students exceed, with their cost."""
    parts = []
    for measure, limit in budget.items():
        taken = {spec: value for spec, f in smallest.items() if (value := getattr(f, measure)) is not None}
        reference = getattr(teacher, measure)
        if not taken or reference is None:
            continue
        spec = min(taken, key=lambda spec: taken[spec])
        least, allowed = taken[spec], limit.absolute(reference)
        if least <= allowed and len(budget) > 1:
            continue
        name = f"{spec.netG} of ngf {spec.ngf}{', separable,' if spec.conv == 'separable' else ''}"
        parts.append(
            f"{measure} {limit.text} allows {amount(measure, allowed)}, a {name} takes "
            f"{amount(measure, least, round_up=True)} ({_ROUND_DOWN.create_decimal(reference / least):f}x less than "
            f"the teacher)"
        )
    return f"no student is small enough: {'; '.join(parts)}; increase the budget, or choose fewer blocks"
