"""The distillation terms by name: what a term is, and the strict registry of them.

A new term is one file with a functional core and a :class:`Term` subclass under ``@register``. Its options
table gives the command line its flags, the student record its settings and the shared test its cases.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import nn

from ..errors import ArgumentError, unknown_name

__all__ = ["Term", "TermOption", "WeightedTerm", "build_terms", "get_term", "register", "split_names", "term_names"]


@dataclass(frozen=True)
class TermOption:
    """One setting of a term: its flag (without dashes), the constructor argument it fills, and its help."""

    flag: str
    argument: str
    type: type
    default: Any
    help: str
    choices: tuple[Any, ...] | None = None


class Term(nn.Module):
    """One distillation loss: compares what the student made with what the teacher made.

    ``forward(student, teacher)`` takes two tensors (B, C, H, W) and returns a scalar mean, so that a weight
    means the same at any batch size and number of GPUs. A term that reads ``"output"`` is given the two images,
    one that reads ``"features"`` the two tapped feature maps.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reads: ClassVar[Literal["output", "features"]]
    default_weight: ClassVar[float]
    options: ClassVar[tuple[TermOption, ...]] = ()

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        raise TypeError(f"{type(self).__name__} does not define forward(student, teacher)")


@dataclass(frozen=True)
class WeightedTerm:
    """A term and the factor it is multiplied with before it joins the generator's loss."""

    term: Term
    weight: float


_TERMS: dict[str, type[Term]] = {}
T = TypeVar("T", bound=type[Term])


def register(cls: T) -> T:
    """Class decorator: make a term known by its name.

    Raises:
        TypeError: not a :class:`Term`, a class attribute is missing, or the options table does not agree
            with the constructor.
        ValueError: the name, or a flag, is taken.
    """
    if not (isinstance(cls, type) and issubclass(cls, Term)):
        raise TypeError(f"{cls!r} is not a subclass of Term")
    for attribute in ("name", "summary", "reads", "default_weight"):
        if not hasattr(cls, attribute):
            raise TypeError(f"{cls.__name__} lacks the class attribute '{attribute}'")
    if cls.reads not in ("output", "features"):
        raise TypeError(f"{cls.__name__}.reads is {cls.reads!r}, not 'output' or 'features'")
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
        if name not in ("args", "kwargs")
    }
    table = {option.argument: option.default for option in cls.options}
    if table != defaults:
        raise TypeError(f"{cls.__name__}: options table {table} and constructor {defaults} differ")
    taken = {option.flag for other in _TERMS.values() for option in other.options}
    if cls.name in _TERMS:
        raise ValueError(f"the term '{cls.name}' is registered already, as {_TERMS[cls.name].__name__}")
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
        ArgumentError: there is none of that name; the message suggests the nearest.
    """
    if name not in _TERMS:
        raise ArgumentError(unknown_name("term", name, _TERMS))
    return _TERMS[name]


def build_terms(
    terms: Mapping[str, float | None] | Iterable[str], options: Mapping[str, Any] | None = None
) -> dict[str, WeightedTerm]:
    """Construct terms from names, weights and option values.

    Args:
        terms: names, or names with weights; ``None`` stands for the term's own default weight.
        options: values by flag, e.g. ``{"wavelet_levels": 3}``. Flags of terms that are not asked for are
            refused.

    Raises:
        ArgumentError: unknown term or option, an option of a term that is not asked for, a weight that is
            negative or not finite.
    """
    if isinstance(terms, str):  # as on the command line; letters would be a strange list
        terms = split_names(terms)
    weights = dict(terms) if isinstance(terms, Mapping) else dict.fromkeys(terms)
    if not weights:
        raise ArgumentError(f"no distillation term given (known: {', '.join(sorted(_TERMS))})")
    classes = {name: get_term(name) for name in weights}
    values = dict(options or {})
    known = {option.flag for cls in classes.values() for option in cls.options}
    for flag in values:
        if flag not in known:
            raise ArgumentError(unknown_name("option", flag, known))
    built = {}
    for name, cls in classes.items():
        given = weights[name]
        weight = cls.default_weight if given is None else given
        if not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
            raise ArgumentError(f"lambda_{name} is {weight!r}: give a finite weight of 0 or more")
        arguments = {o.argument: values[o.flag] for o in cls.options if o.flag in values}
        built[name] = WeightedTerm(cls(**arguments), float(weight))
    return built


def split_names(text: str) -> list[str]:
    """Read a list of names, separated by commas or spaces.

    >>> split_names("wavelet, srp pixel,")
    ['wavelet', 'srp', 'pixel']
    """
    return text.replace(",", " ").split()
