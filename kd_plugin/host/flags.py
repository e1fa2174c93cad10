"""Command line options declared as fields of a dataclass: one source for name, default, help and choices."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import HostError, OptionError, unknown_name

__all__ = ["Flag", "add_flags", "check_value", "flags_of", "option"]


@dataclass(frozen=True)
class Flag:
    """One command line option; ``term`` is the term it belongs to, if any."""

    name: str
    default: Any
    help: str
    type: type = str
    choices: tuple[Any, ...] | None = None
    term: str | None = None


def option(default: Any, help: str, **more: Any) -> Any:
    """A dataclass field that is an option of the same name."""
    return field(default=default, metadata={"help": help, **more})


def flags_of(cls: Any) -> list[Flag]:
    """Return the options that a dataclass declares."""
    return [Flag(f.name, f.default, **f.metadata) for f in fields(cls) if f.metadata]


def add_flags(parser: ArgumentParser, title: str, description: str, flags: Iterable[Flag]) -> None:
    """Add options to a host's parser, in a group of their own; once only.

    Raises:
        HostError: the host has an option of the same name.
    """
    if any(group.title == title for group in parser._action_groups):
        return
    group = parser.add_argument_group(title, description)
    for flag in flags:
        try:
            # Choices are checked with everything else: argparse would print all of the host's usage before its line.
            metavar = f"{{{','.join(flag.choices)}}}" if flag.choices else None
            group.add_argument(
                f"--{flag.name}", type=_or_text(flag.type), default=flag.default, metavar=metavar, help=flag.help
            )
        except argparse.ArgumentError as error:
            raise HostError(f"this host has an option --{flag.name} of its own, which the plugin needs") from error


def check_value(flag: Flag, value: Any) -> None:
    """Check that a value is of the kind and among the choices of its option.

    Raises:
        OptionError: it is not.
    """
    if flag.type in (int, float) and isinstance(value, str):
        kind = "a whole number" if flag.type is int else "a number"
        raise OptionError(f"--{flag.name} {value}: give {kind}")
    if flag.choices and not flag.term and value not in (*flag.choices, flag.default):  # a term checks its own
        raise OptionError(unknown_name(f"--{flag.name}", value, flag.choices))


def _or_text(kind: type) -> Callable[[str], Any]:
    """Return a converter that leaves what it cannot read as text, for :func:`check_value` to refuse.

    argparse would print all of the host's usage before its line.
    """

    def convert(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            return text

    return convert
