"""The terms of ``kd compress``, their weights, settings and taps, from its options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..compression.settings import DEFAULT_TERMS
from ..compression.wishes import Wish
from ..errors import OptionError
from ..flags import Flag
from ..losses import get_term, split_names
from ..losses.flags import term_flags
from ..networks.taps import parse_taps


def losses_of(options: argparse.Namespace, students: Sequence[Wish]) -> dict[str, Any]:
    """Return what the options say of the losses of students: terms, their settings and taps.

    They are named as in :class:`~kd_plugin.compression.settings.CompressSettings`.

    Raises:
        OptionError: If an option has no effect on any of them.
        ArgumentError: If a term is unknown, or taps are not valid.
    """
    for why in without_effect(options, students).values():
        raise OptionError(why)
    given = _given(options)
    weights = {flag.term: value for flag, value in given.items() if _is_weight(flag)}
    settings = {flag.name: value for flag, value in given.items() if not _is_weight(flag)}
    texts = dict.fromkeys(_reading_features(_names(options, students)), options.distill_taps)
    if "srp" in texts and options.srp_layers:
        texts["srp"] = options.srp_layers
    return {
        "terms": {name: weights.get(name) for name in split_names(options.distill)} if options.distill else None,
        "term_options": settings,
        "taps": {name: parse_taps(text) for name, text in texts.items() if text},
    }


def without_effect(options: argparse.Namespace, students: Sequence[Wish]) -> dict[str, str]:
    """Return the options of losses that are given, but have no effect on any of the students, and why.

    Raises:
        ArgumentError: If a term is unknown.
    """
    names = _names(options, students)
    common = any(student.terms is None for student in students)
    listed = split_names(options.distill or "")
    found = {}
    if listed and not common:
        found["distill"] = f"--distill {options.distill} has no effect: each student has its own terms"
    for flag in _given(options):
        if any(flag.term in (student.terms or ()) for student in students) and not _is_weight(flag):
            continue  # the weight of a student's own term is next to its name
        if not common:
            found[flag.name] = f"--{flag.name} has no effect: each student has its own terms"
        elif not listed:
            found[flag.name] = f"--{flag.name}: name the terms as well, such as {_default_options(flag)}"
        elif flag.term not in listed:
            found[flag.name] = f"--{flag.name} has no effect: {flag.term} is not in --distill {options.distill}"
    terms = f"the terms ({', '.join(names)})"
    if options.srp_layers and "srp" not in names:
        found["srp_layers"] = f"--srp-layers {options.srp_layers} has no effect: srp is not among {terms}"
    if options.distill_taps and not _reading_features(names):
        found["distill_taps"] = f"--distill-taps {options.distill_taps} has no effect: none of {terms} reads features"
    return found


def _names(options: argparse.Namespace, students: Sequence[Wish]) -> list[str]:
    """Return the names of the terms of all students, each once."""
    common = split_names(options.distill) if options.distill else DEFAULT_TERMS
    return list(dict.fromkeys(name for student in students for name in student.terms or common))


def _default_options(given: Flag) -> str:
    """Return the options that name the default terms with their weights, without one that is given."""
    weights = {f"lambda_{name}": weight for name, weight in DEFAULT_TERMS.items() if weight is not None}
    others = (f"--{name} {weight}" for name, weight in weights.items() if name != given.name)
    return " ".join([f"--distill {','.join(DEFAULT_TERMS)}", *others])


def _reading_features(names: Sequence[str]) -> list[str]:
    return [name for name in names if get_term(name).reads == "features"]


def _given(options: argparse.Namespace) -> dict[Flag, Any]:
    """Return the values of the terms' options that are given."""
    values = {flag: getattr(options, flag.name, None) for flag in term_flags()}
    return {flag: value for flag, value in values.items() if value is not None}


def _is_weight(flag: Flag) -> bool:
    return flag.name == f"lambda_{flag.term}"
