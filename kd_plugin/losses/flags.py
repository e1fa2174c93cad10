"""The command line options of the registered terms."""

from __future__ import annotations

from ..flags import Flag
from .registry import get_term, term_names


def term_flags() -> list[Flag]:
    """Return the weight and the settings of each term as options, in order of registration.

    A weight is a string, as it may be a schedule.
    """
    listed = []
    for name in term_names():
        term = get_term(name)
        listed.append(
            Flag(f"lambda_{name}", f"{term.default_weight:g}", f"weight of {name}: {term.summary}", term=name)
        )
        listed += [Flag(o.flag, o.default, o.help, o.type, o.choices, name) for o in term.options]
    return listed
