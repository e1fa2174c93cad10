"""The terms of the students: those of all, or a student's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ArgumentError
from ..losses import WeightedTerm, build_terms, get_term
from ..losses.registry import option_flags
from ..processes import say
from .settings import DEFAULT_TERMS, CompressSettings
from .teachers import Teacher
from .wishes import Wish

# Terms that do not see the overall colours of images.
_BLIND = {"srp", "attention", "similarity", "kernel_alignment", "gram", "tv"}


def terms_of_students(
    settings: CompressSettings, teacher: Teacher, wishes: Mapping[str, Wish]
) -> dict[str, dict[str, WeightedTerm]]:
    """Return the terms of each student; students with the same terms share them.

    Raises:
        ArgumentError: If a term or an option is unknown, or a term reads features that the teacher does not have.
    """
    common: Mapping[str, Any] = {}
    if any(wish.terms is None for wish in wishes.values()):
        common = _common(settings, teacher)
    names = {name: common if wish.terms is None else wish.terms for name, wish in wishes.items()}
    every = option_flags(set().union(*names.values()))
    built: dict[tuple[Any, ...], dict[str, WeightedTerm]] = {}
    for own in names.values():
        key = tuple(own.items())
        if key not in built:
            others = every - option_flags(own)
            options = {flag: value for flag, value in settings.term_options.items() if flag not in others}
            built[key] = _build(own, options, settings, teacher)
    return {name: built[tuple(own.items())] for name, own in names.items()}


def blind_note(settings: CompressSettings, terms: Mapping[str, WeightedTerm]) -> str:
    """Return a warning if no loss compares the overall colours, which would then drift."""
    high = settings.term_options.get("wavelet_bands", "high") == "high"
    blind = _BLIND | ({"wavelet"} if high else set())
    if set(terms) - blind or settings.real or (settings.pairs and settings.lambda_L1):
        return ""
    return f"{' and '.join(terms)} cannot see the overall colours of an image, which may drift: add the term pixel"


def _common(settings: CompressSettings, teacher: Teacher) -> Mapping[str, Any]:
    """Return the names of the terms of all students, with weights."""
    if settings.terms is not None:
        return settings.terms
    readable = teacher.readable or settings.taps
    found = {name: weight for name, weight in DEFAULT_TERMS.items() if readable or get_term(name).reads != "features"}
    if len(found) < len(DEFAULT_TERMS):
        say(f"note: no features of the teacher are known, so the terms are {', '.join(found)}")
    return found


def _build(
    names: Mapping[str, Any], options: Mapping[str, Any], settings: CompressSettings, teacher: Teacher
) -> dict[str, WeightedTerm]:
    for name in names:
        if get_term(name).reads == "features" and not (teacher.readable or settings.taps):
            raise ArgumentError(
                f"the term {name} reads features, and the teacher {teacher.experiment.path} has none that are known: "
                "remove the term, or name modules to tap"
            )
    for file in teacher.experiment.files.values():
        for name in names:
            options = {**get_term(name).implied_options(file), **options}
    return build_terms(names, options)
