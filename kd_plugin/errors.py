"""The exceptions of the plugin.

Every condition a user can cause raises a :class:`KDError` whose message is one line: the problem, the value, and the
remedy. The command line prints it and exits with status 2; any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 12  # maximum number of names in a message


class KDError(Exception):
    """Base class of the errors that the plugin raises."""

    def __str__(self) -> str:
        """Return the message in one line, whatever the names and values in it contain."""
        return " ".join(super().__str__().splitlines())


class ArgumentError(KDError, ValueError):
    """An argument of a function is not valid.

    Args:
        message: one line.
        argument: the argument to change, such as ``"taps"``, for callers with another name for it: the host layer
            adds its command line option.
    """

    def __init__(self, message: str, *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


class OptionError(KDError):
    """A command line option is not valid, or contradicts another."""


class CheckpointError(KDError):
    """A file is not a readable checkpoint."""


class UnknownNetworkError(CheckpointError):
    """A file contains a network outside the family."""


class HostError(KDError):
    """The host repository does not meet the requirements of the plugin."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name, which suggests the nearest known one.

    >>> unknown_name("term", "wavlet", ["wavelet", "srp"])
    "unknown term 'wavlet': did you mean 'wavelet'? (known: srp, wavelet)"
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f": did you mean '{nearest[0]}'?" if nearest else ""
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    return f"unknown {kind} '{name}'{hint} (known: {listed})"


def first_line(error: BaseException, limit: int) -> str:
    """Return the first line of an exception's message, or its type without one, truncated to ``limit`` characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:limit]


def in_one_line(error: BaseException, limit: int = 200) -> str:
    """Return an exception's message with its lines joined, truncated to ``limit`` characters."""
    return " ".join(str(error).split())[:limit]
