"""Add the command-line option to errors of the lower layers, which name arguments only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import ArgumentError, OptionError

_OPTIONS = {
    "taps": "--distill_taps; --srp_layers for srp",
    "half": "--amp",
    "compile": "--teacher_compile",
    "widths": "--student_ngf, --student_widths",
    "conv": "--student_conv",
}


@contextmanager
def naming_options() -> Iterator[None]:
    """Context manager that turns an :class:`ArgumentError` that names its argument into an :class:`OptionError`."""
    try:
        yield
    except ArgumentError as error:
        if error.argument in _OPTIONS:
            raise OptionError(f"{error} ({_OPTIONS[error.argument]})") from error
        raise
