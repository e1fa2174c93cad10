"""Command line options declared as fields of a dataclass: one source of name, default, help and choices."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from .errors import HostError, OptionError, unknown_name

_YIELDED = "kd_plugin_yields"  # option that lists the plugin's options which the host defines itself


@dataclass(frozen=True)
class Flag:
    """One command line option."""

    name: str  # without dashes
    default: Any
    help: str
    type: type = str  # a bool option takes no value and is true if given
    choices: tuple[Any, ...] | None = None
    term: str | None = None  # the term it belongs to, if any
    yields: bool = False  # whether it is omitted in a host that has an option of the same name


def option(default: Any, help: str, **more: Any) -> Any:
    """Return a dataclass field that declares an option of the same name."""
    return field(default=default, metadata={"help": help, **more})


def flags_of(cls: Any) -> list[Flag]:
    """Return the options that a dataclass declares."""
    return [Flag(f.name, f.default, **f.metadata) for f in fields(cls) if f.metadata]


def add_flags(parser: ArgumentParser, title: str, description: str, flags: Iterable[Flag]) -> None:
    """Add options to a host's parser, in an argument group, if they have not been added.

    Raises:
        HostError: If the host has an option of the same name.
    """
    if any(group.title == title for group in parser._action_groups):
        return
    group = parser.add_argument_group(title, description)
    for flag in flags:
        form: dict[str, Any] = {"dest": flag.name, "default": flag.default, "help": flag.help.replace("%", "%%")}
        if flag.type is bool:
            form["action"] = "store_true"
        else:
            # Checked later, by check_value: argparse would print the host's whole usage before its message.
            form["metavar"] = f"{{{','.join(flag.choices)}}}" if flag.choices else None
            form["type"] = _or_text(flag.type)
        try:
            group.add_argument(f"--{flag.name}", **form)
        except argparse.ArgumentError as error:
            if not flag.yields:
                raise clash(flag) from error
            parser.set_defaults(**{_YIELDED: [*(parser.get_default(_YIELDED) or []), flag.name]})


def is_ours(flag: Flag, opt: Namespace) -> bool:
    """Return whether the options contain this option of the plugin, not the host's option of the same name."""
    return hasattr(opt, flag.name) and flag.name not in getattr(opt, _YIELDED, ())


def clash(flag: Flag) -> HostError:
    """Return the error for an option of the plugin whose name the host uses."""
    return HostError(f"the host has an option --{flag.name}, a name that the plugin needs: rename the host's option")


def check_value(flag: Flag, value: Any) -> None:
    """Check that a value has the type of its option and is one of its choices.

    Raises:
        OptionError: If it is not.
    """
    if flag.type in (int, float) and isinstance(value, str):
        kind = "a whole number" if flag.type is int else "a number"
        raise OptionError(f"--{flag.name} {value}: give {kind}")
    if flag.choices and not flag.term and value not in (*flag.choices, flag.default):  # terms check theirs
        raise OptionError(unknown_name(f"--{flag.name}", value, flag.choices))


def _or_text(kind: type) -> Callable[[str], Any]:
    """Return a converter that returns text it cannot convert, for :func:`check_value` to refuse."""

    def convert(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            return text

    return convert
