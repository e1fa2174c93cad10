"""Find the widest student that keeps within a budget."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import ROUND_FLOOR, Context
from pathlib import Path

from ..errors import ArgumentError
from ..metrics.cost import Cost, generator_cost
from ..metrics.limits import Budget, amount
from ..networks.generator import GeneratorSpec, get_architecture
from .device import DeviceTimes

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
    takes 39 % more time in PyTorch on a CPU than one of 24 (``docs/benchmarks.md``).

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


def check_latency(budget: Budget) -> None:
    """Raise an :class:`ArgumentError` for a limit on the latency that names no file of a device's times."""
    limit = budget.get("latency")
    if limit and not limit.device:
        raise ArgumentError(
            f"latency {limit.text}: the time depends on the machine: name the file of the times on one, "
            f"latency={limit.text}@device.json"
        )


def student_within(budget: Budget, like: GeneratorSpec, teacher: GeneratorSpec, size: int) -> GeneratorSpec:
    """Return the widest student within a budget, in blocks of channels, with the depth and convolutions of ``like``.

    A width is narrowed to a multiple of 8 channels, which run better, if that is at most a tenth less. With a limit
    on the latency, it is the widest of those that were measured on the device: times of other widths are not known,
    and not interpolated.

    Args:
        budget: limits; that of the latency names the file of the times on a device.
        like: description of the student; its width is ignored.
        teacher: reference for amounts such as ``7x``, and the maximum width.
        size: side of a square image in pixels.

    Raises:
        ArgumentError: If not even the narrowest fits, where the message gives its cost, or the file of the times is
            missing, not valid, or of another teacher, size or kind of student.
    """
    check_latency(budget)
    large = generator_cost(teacher, size)
    if "latency" in budget:
        return _measured_within(budget, like, teacher, size, large)
    most = most_width(teacher)
    found = widest(like, most, lambda spec: not exceeded(generator_cost(spec, size), budget, large))
    if found is None:
        least = narrowest(like, most)
        raise ArgumentError(nothing_fits(budget, {least: generator_cost(least, size)}, large))
    return replace(found, ngf=in_blocks(found.ngf))


def _measured_within(
    budget: Budget, like: GeneratorSpec, teacher: GeneratorSpec, size: int, large: Cost
) -> GeneratorSpec:
    """Return the widest student of a device's times within a budget; arguments as :func:`student_within`'s."""
    try:
        file = Path(budget["latency"].device).expanduser()
    except RuntimeError as error:  # of an unknown user
        raise ArgumentError(f"{budget['latency'].device}: {str(error).rstrip('.').lower()}") from error
    times = DeviceTimes.read(file)
    if (times.width, times.height) != (size, size):
        raise ArgumentError(
            f"{file}: has the times for images of {times.width}x{times.height} pixels, and the training's are "
            f"{size}x{size}: measure at that size"
        )
    times.check_teacher(teacher, file)
    found = times.alike(like)
    if not found:
        kinds = dict.fromkeys(_kind(student.spec) for student in times.students)
        raise ArgumentError(f"{file}: has no time of a {_kind(like)}; measured are {'; '.join(kinds)}")
    costs = {
        replace(like, ngf=student.spec.ngf, widths=None): replace(
            generator_cost(student.spec, size), latency=student.seconds
        )
        for student in found
    }
    large = replace(large, latency=times.teacher.seconds)
    fitting = [spec for spec, cost in costs.items() if not exceeded(cost, budget, large)]
    if not fitting:
        raise ArgumentError(nothing_fits(budget, costs, large))
    return max(fitting, key=lambda spec: spec.ngf)


def _kind(spec: GeneratorSpec) -> str:
    return f"{spec.netG}{', separable' if spec.conv == 'separable' else ''}"


def nothing_fits(budget: Budget, smallest: Mapping[GeneratorSpec, Cost], teacher: Cost) -> str:
    """Return the message for a budget that even the smallest students exceed, with their cost."""
    missed: list[str] = []
    reached: list[str] = []
    for measure, limit in budget.items():
        taken = {spec: value for spec, f in smallest.items() if (value := getattr(f, measure)) is not None}
        reference = getattr(teacher, measure)
        if not taken or reference is None:
            continue
        spec = min(taken, key=lambda spec: taken[spec])
        least, allowed = taken[spec], limit.absolute(reference)
        name = f"{spec.netG} of ngf {spec.ngf}{', separable,' if spec.conv == 'separable' else ''}"
        text = (
            f"{measure} {limit.text} allows {amount(measure, allowed)}, a {name} takes "
            f"{amount(measure, least, round_up=True)} ({_ROUND_DOWN.create_decimal(reference / least):f}x less than "
            f"the teacher)"
        )
        (reached if least <= allowed else missed).append(text)
    # If each limit alone is kept by some student, that of the times need not be the narrowest, all are the reason.
    return f"no student is small enough: {'; '.join(missed or reached)}; increase the budget, or choose fewer blocks"
