"""Call a function that the user gives on the command line, as ``package.module:function``."""

from __future__ import annotations

import importlib
import re
import traceback
from collections.abc import Callable
from typing import Any

from torch import nn

from .errors import ArgumentError, in_one_line

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_function(source: str) -> bool:
    """Return whether a text has the form ``package.module:function``."""
    return _FUNCTION.fullmatch(source) is not None


def place_of(defined: Callable[..., object]) -> str:
    """Return where a function or class is defined, as ``package.module:name``; the same after a second import."""
    return f"{defined.__module__}:{defined.__qualname__}"


def import_function(option: str, source: str) -> Callable[..., object]:
    """Import a function by name.

    Args:
        option: its name in an error message.
        source: ``package.module:function``.

    Raises:
        ArgumentError: If the text has another form, or the function cannot be imported.
    """
    if not is_function(source):
        raise ArgumentError(f"{option} is '{source}': name a function as package.module:function")
    try:
        function = _import(source)
    except Exception as error:  # the user's code may raise anything
        raise ArgumentError(f"{option} cannot be imported: {_reason(error)}") from error
    if not callable(function):
        raise ArgumentError(f"{option} {source} is a {type(function).__name__}: name a function")
    return function  # type: ignore[no-any-return]


def build_network(option: str, source: str | Callable[..., object], *arguments: Any) -> nn.Module:
    """Call a function, or import ``package.module:function`` and call it, and return the network it builds.

    Raises:
        ArgumentError: If it cannot be imported, fails, or returns no network; the message begins with ``option``.
    """
    if isinstance(source, str) and not is_function(source):
        raise ArgumentError(f"{option}: name a function as package.module:function")
    try:
        function = _import(source) if isinstance(source, str) else source
        network = function(*arguments)
    except Exception as error:  # the user's code may raise anything
        raise ArgumentError(f"{option} cannot be built: {_reason(error)}") from error
    if not isinstance(network, nn.Module):
        raise ArgumentError(f"{option}: returned a {type(network).__name__}, expected a network")
    return network


def _import(source: str) -> Any:
    module, _, function = source.partition(":")
    return getattr(importlib.import_module(module), function)


def _reason(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {in_one_line(error)} ({last.filename}, line {last.lineno})"
