"""The students that a user asks for, by options or in a text such as ``7x+conv=separable``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..errors import ArgumentError, unknown_name
from ..losses import Schedule, get_term
from ..metrics.limits import Budget, Limit, parse_limit
from ..networks.architecture import Conv
from ..students import Keep
from ..students.budget import check_latency

Init = Literal["auto", "teacher", "scratch"]

_LIMITS = ("macs", "params", "file_size", "latency")
_WIDTHS = ("ngf", "widths", *_LIMITS)
_WEIGHT = "lambda_"  # begins the name of a term's weight


@dataclass(frozen=True)
class Wish:
    """A student that the user asks for; None and "" leave the choice to the defaults.

    Attributes:
        name: of its folder and in messages.
        limits: maximum cost by measure: ``macs``, ``params``, ``file_size``, ``latency`` on a device.
        ngf, netG, widths, conv, dropout, factory: as in :class:`~kd_plugin.students.StudentRequest`.
        init: initial weights: ``"teacher"`` for its most important channels, ``"scratch"`` for random ones,
            ``"auto"`` for the teacher's if they fit.
        keep: channels that are kept.
        lr: learning rate; None for that of all students.
        terms: of its distillation, with weights as in :class:`~kd_plugin.compression.settings.CompressSettings`; None
            for those of all students.
    """

    name: str = ""
    limits: Budget | None = None
    ngf: int | None = None
    netG: str = ""
    widths: tuple[int, ...] | None = None
    conv: Conv = "standard"
    dropout: bool = False
    factory: str = ""
    init: Init = "auto"
    keep: Keep = "l1"
    lr: float | None = None
    terms: Mapping[str, str | None] | None = None


def parse_wish(text: str, common: Mapping[str, str] | None = None) -> Wish:
    """Return the student that a text asks for: ``7x``, ``ngf=24+conv=separable``, ``7x+distill=ssim/gram+lr=0.001``.

    Args:
        text: settings ``NAME=VALUE`` joined by ``+``; a factor alone is that of the MACs.
        common: settings of all students, which the text may override.

    Raises:
        ArgumentError: If a setting is unknown, or its value is not valid.
    """
    own: dict[str, str] = {}
    weights: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split("+"))):
        name, equals, value = part.partition("=")
        if not equals:
            name, value = "macs", part
        name = {"netg": "netG"}.get(name.lower().replace("-", "_"), name.replace("-", "_"))
        if name.startswith(_WEIGHT):
            weights[name.removeprefix(_WEIGHT)] = value
            continue
        if name not in _PARSERS:
            raise ArgumentError(f"{_called(text)}: {unknown_name('setting', name, _PARSERS)}")
        own[name] = value
    settings = dict(common or {})
    if any(name in own for name in (*_WIDTHS, "factory")):  # its own size replaces the common one
        settings = {name: value for name, value in settings.items() if name not in _WIDTHS}
    settings |= own
    sizes = [name for name in settings if name in ("ngf", "widths")]
    limits = [name for name in settings if name in _LIMITS]
    if len(sizes) + bool(limits) > 1:
        raise ArgumentError(f"{_called(text)}: {' and '.join([*sizes, *limits])} all set its width: give one")
    if "factory" in settings and (sizes or limits):
        raise ArgumentError(f"{_called(text)}: {[*sizes, *limits][0]} has no effect with a factory: remove it")
    values: dict[str, Any] = {}
    budget = {}
    for name, value in settings.items():
        try:
            parsed = _PARSERS[name](value)
        except ValueError as error:
            named = "" if name in _LIMITS else f"{name} {value}: "  # a limit's error names it
            raise ArgumentError(f"{_called(text)}: {named}{error}") from None
        if name in _LIMITS:
            budget[name] = parsed
        else:
            values[name] = parsed
    try:
        terms = _weighted(values.pop("distill", None), weights)
    except ArgumentError as error:
        raise ArgumentError(f"{_called(text)}: {error}") from None
    return Wish(_name_of(text), budget or None, terms=terms, **values)


def parse_wishes(texts: Sequence[str], common: Mapping[str, str] | None = None) -> list[Wish]:
    """Return the students that texts ask for.

    Args:
        texts: such as ``7x`` or ``ngf=24+conv=separable``; without any, one student of the defaults.
        common: settings of all students.

    Raises:
        ArgumentError: If a text is not valid, or two students have one name.
    """
    wishes = [parse_wish(text, common) for text in texts or [""]]
    names = [wish.name for wish in wishes]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ArgumentError(f"two students are named {twice}: give each once")
    return wishes


def _called(text: str) -> str:
    return f"the student '{text}'" if text else "the student"


def _name_of(text: str) -> str:
    """Return the name of a student's folder: ``7x``, ``ngf24_separable``, ``widths24-40-96``, ``latency30ms``."""
    parts = []
    for part in filter(None, text.replace(" ", "").split("+")):
        name, _, value = part.partition("@")[0].rpartition("=")
        parts.append(value if name in ("", "macs", "conv", "distill") else f"{name}{value}")
    return re.sub(r"[^\w.]+", "-", "_".join(parts))


def _limit(measure: str) -> Any:
    def parse(text: str) -> Limit:
        limit = parse_limit(measure, text, measure)
        check_latency({measure: limit})
        return limit

    return parse


def _width(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ValueError("give a width of 1 or more, e.g. 24")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise ValueError("give a number above 0, e.g. 0.002")
    return rate


def _widths(text: str) -> tuple[int, ...]:
    return tuple(_width(part.strip()) for part in re.split("[/,]", text))


def _names_of_terms(text: str) -> list[str]:
    names = [name.strip() for name in re.split("[/,]", text)]
    if not all(names):
        raise ValueError("give terms, e.g. ssim/feature/gram")
    for name in names:
        get_term(name)
    return names


def _weighted(names: Sequence[str] | None, weights: Mapping[str, str]) -> dict[str, str | None] | None:
    """Return the terms of a student with their weights."""
    for name, weight in weights.items():
        if names is None:
            raise ArgumentError(f"{_WEIGHT}{name}: name the terms as well, such as distill={name}")
        if name not in names:
            raise ArgumentError(f"{_WEIGHT}{name} has no effect: {name} is not in its distill")
        Schedule.parse(weight, f"{_WEIGHT}{name}")
    return None if names is None else {name: weights.get(name) for name in names}


def _one_of(choices: Sequence[str]) -> Any:
    def choose(text: str) -> str:
        if text not in choices:
            raise ValueError(f"choose from {', '.join(choices)}")
        return text

    return choose


def _yes(text: str) -> bool:
    return _one_of(("yes", "no"))(text) == "yes"  # type: ignore[no-any-return]


_PARSERS: dict[str, Any] = {
    **{name: _limit(name) for name in _LIMITS},
    "ngf": _width,
    "widths": _widths,
    "netG": str,
    "conv": _one_of(get_args(Conv)),
    "dropout": _yes,
    "factory": str,
    "init": _one_of(get_args(Init)),
    "keep": _one_of(get_args(Keep)),
    "lr": _rate,
    "distill": _names_of_terms,
}
