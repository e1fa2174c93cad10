"""Name the command line option in errors of the layers below, which know arguments alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import ArgumentError, OptionError

__all__ = ["naming_options"]

_OPTIONS = {
    "taps": "--distill_taps; --srp_layers for srp",
    "half": "--amp",
    "compile": "--teacher_compile",
    "widths": "--student_ngf, --student_widths",
    "conv": "--student_conv",
}


@contextmanager
def naming_options() -> Iterator[None]:
    """Within the context, an :class:`ArgumentError` that names its argument becomes an error that names the option.

    Raises:
        OptionError: the message of the other, with the option.
    """
    try:
        yield
    except ArgumentError as error:
        if error.argument in _OPTIONS:
            raise OptionError(f"{error} ({_OPTIONS[error.argument]})") from error
        raise
