"""The base class of distillation terms, and their registry.

A new term is one file with a functional core and a :class:`Term` subclass under ``@register``. Its options
table defines the command line flags, the settings in the student's record and the cases of the shared test.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args

from torch import nn

from ..errors import ArgumentError, unknown_name
from ..networks.architecture import Place
from .schedule import Schedule

NO_TERMS = "none"  # the value of --distill for training without a teacher
Reads = Literal["output", "features", "translation"]


@dataclass(frozen=True)
class TermOption:
    """One setting of a term: its flag (without dashes), the constructor argument it sets, and its help."""

    flag: str
    argument: str
    type: type
    default: Any
    help: str
    choices: tuple[Any, ...] | None = None


class Term(nn.Module):
    """Base class of the distillation losses, which compare the student's output or features with the teacher's.

    ``forward(student, teacher)`` takes two tensors (B, C, H, W) and returns a scalar mean, so that a weight
    means the same at any batch size and number of GPUs.

    Attributes:
        name: its name in ``--distill``.
        summary: one line for ``--help``.
        reads: the inputs of forward: the two ``"output"`` images, two tapped ``"features"``, or, for
            ``"translation"``, the two images and the input they were generated from.
        default_weight: the weight without ``--lambda_<name>``.
        options: its settings, one for every argument of the constructor.
        adapts: for features, whether a learnt 1x1 convolution maps the student's to the teacher's channels.
        places: for features, where they are read by default: ``"encoder"``, ``"middle"``, ``"decoder"``.
        compares: False for a prior on the student's output that does not depend on the teacher's.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reads: ClassVar[Reads]
    default_weight: ClassVar[float]
    options: ClassVar[tuple[TermOption, ...]] = ()
    adapts: ClassVar[bool] = False
    places: ClassVar[tuple[Place, ...]] = get_args(Place)
    compares: ClassVar[bool] = True

    @classmethod
    def implied_options(cls, teacher: Path) -> dict[str, str]:
        """Return the settings, by flag, that a teacher's checkpoint file implies: defaults for those not given."""
        return {}

    def load(self) -> None:
        """Load what the term needs besides its settings, such as a network; called before training.

        Raises:
            KDError: If it is missing or does not fit.
        """

    def drawn(self) -> nn.Module | None:
        """Return the network that :meth:`load` initialised at random, saved to resume training, or None."""
        return None


@dataclass(frozen=True)
class WeightedTerm:
    """A term and its weight in the generator's loss, per epoch."""

    term: Term
    weight: Schedule


_TERMS: dict[str, type[Term]] = {}
T = TypeVar("T", bound=type[Term])


def register(cls: T) -> T:
    """Class decorator: register a term under its name.

    Raises:
        TypeError: If it is not a :class:`Term`, a class attribute is missing, or the options table does not
            match the constructor.
        ValueError: If the name or a flag is taken.
    """
    if not (isinstance(cls, type) and issubclass(cls, Term)):
        raise TypeError(f"{cls!r} is not a subclass of Term")
    for attribute in ("name", "summary", "reads", "default_weight"):
        if not hasattr(cls, attribute):
            raise TypeError(f"{cls.__name__} lacks the class attribute '{attribute}'")
    if cls.forward is nn.Module.forward:
        raise TypeError(f"{cls.__name__} does not define forward(student, teacher)")
    if cls.reads not in get_args(Reads):
        raise TypeError(f"{cls.__name__}.reads is {cls.reads!r}, not one of {', '.join(get_args(Reads))}")
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
        if name not in ("args", "kwargs")
    }
    table = {option.argument: option.default for option in cls.options}
    if table != defaults:
        raise TypeError(f"{cls.__name__}: options table {table} and constructor {defaults} differ")
    taken = {option.flag for term in _TERMS.values() for option in term.options}
    if cls.name == NO_TERMS:
        raise ValueError(f"{cls.__name__}: a term cannot be called '{NO_TERMS}', which means no terms")
    if cls.name in _TERMS:
        raise ValueError(f"the term '{cls.name}' is already registered, as {_TERMS[cls.name].__name__}")
    if clash := taken & {option.flag for option in cls.options}:
        raise ValueError(f"{cls.__name__}: the option '{clash.pop()}' belongs to another term")
    _TERMS[cls.name] = cls
    return cls


def term_names() -> list[str]:
    """Return the names of all registered terms, in order of registration."""
    return list(_TERMS)


def get_term(name: str) -> type[Term]:
    """Return the class of a term.

    Raises:
        ArgumentError: If the name is unknown; the message suggests the nearest.
    """
    if name not in _TERMS:
        raise ArgumentError(unknown_name("term", name, _TERMS))
    return _TERMS[name]


def option_flags(names: Iterable[str]) -> set[str]:
    """Return the flags of the options of terms.

    Raises:
        ArgumentError: If a name is unknown.
    """
    return {option.flag for name in names for option in get_term(name).options}


def build_terms(
    terms: Mapping[str, str | float | Schedule | None] | Iterable[str], options: Mapping[str, Any] | None = None
) -> dict[str, WeightedTerm]:
    """Construct terms from names, weights and option values.

    Args:
        terms: names, or names with weights: a number, a schedule such as ``"0@1,100@10"``, or ``None`` for the
            term's default.
        options: values by flag, e.g. ``{"wavelet_levels": 3}``.

    Raises:
        ArgumentError: If a term or option is unknown, an option belongs to a term that is not selected, or a
            weight is negative or not finite.
    """
    if isinstance(terms, str):  # as on the command line, not an iterable of letters
        terms = split_names(terms)
    weights = dict(terms) if isinstance(terms, Mapping) else dict.fromkeys(terms)
    if not weights:
        raise ArgumentError(f"no distillation term is given (known: {', '.join(sorted(_TERMS))})")
    classes = {name: get_term(name) for name in weights}
    values = dict(options or {})
    known = option_flags(weights)
    for flag in values:
        if flag not in known:
            raise ArgumentError(unknown_name("option", flag, known))
    built = {}
    for name, cls in classes.items():
        given = weights[name]
        weight = Schedule.parse(cls.default_weight if given is None else given, f"lambda_{name}")
        arguments = {o.argument: _checked(o, values[o.flag]) for o in cls.options if o.flag in values}
        built[name] = WeightedTerm(cls(**arguments), weight)
    return built


def _checked(option: TermOption, value: Any) -> Any:
    """Return the value of an option, a path as text; what is no text is refused here, all else by the term."""
    if option.type is not str or value == option.default:
        return value
    if not isinstance(value, (str, os.PathLike)):
        raise ArgumentError(f"{option.flag} is {value!r}: give text")
    return os.fspath(value)


def split_names(text: str) -> list[str]:
    """Split a list of names, separated by commas or spaces.

    >>> split_names("wavelet, srp pixel,")
    ['wavelet', 'srp', 'pixel']
    """
    return text.replace(",", " ").split()
