"""The one error family of the plugin.

Every condition a user can cause raises a :class:`KDError` whose message is one line: what is wrong, the
value, and what to do instead. The command line prints that line and exits with status 2; anything else that
escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ArgumentError",
    "CheckpointError",
    "HostError",
    "KDError",
    "OptionError",
    "UnknownNetworkError",
    "first_line",
    "in_one_line",
    "unknown_name",
]


_LISTED = 12  # names an error lists at most


class KDError(Exception):
    """Base of every error the plugin raises on purpose."""

    def __str__(self) -> str:
        """Return the message in one line, whatever the names and values in it contain."""
        return " ".join(super().__str__().splitlines())


class ArgumentError(KDError, ValueError):
    """A function was called with a value it cannot work with.

    Args:
        message: one line.
        argument: which argument the user should change, such as ``"taps"``, for callers that know it by another name:
            the host layer adds its command line option.
    """

    def __init__(self, message: str, *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


class OptionError(KDError):
    """The command line options do not make sense together."""


class CheckpointError(KDError):
    """A file is not a generator checkpoint that can be read."""


class UnknownNetworkError(CheckpointError):
    """A file holds a network that is not one of the family."""


class HostError(KDError):
    """The repository the plugin runs in does not follow the host contract."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is not among the known ones, with the nearest as a suggestion.

    >>> unknown_name("term", "wavlet", ["wavelet", "srp"])
    "unknown term 'wavlet': did you mean 'wavelet'? (known: srp, wavelet)"
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f": did you mean '{nearest[0]}'?" if nearest else ""
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    return f"unknown {kind} '{name}'{hint} (known: {listed})"


def first_line(error: BaseException, limit: int) -> str:
    """Return the first line of an exception's message, or its type if it has none, cut to ``limit`` characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:limit]


def in_one_line(error: BaseException, limit: int = 200) -> str:
    """Return an exception's message with its lines joined, cut to ``limit`` characters."""
    return " ".join(str(error).split())[:limit]
