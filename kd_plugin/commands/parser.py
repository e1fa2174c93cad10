"""The parser of every command, which reports an error in one line without the usage text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from ..errors import OptionError, unknown_name


class CommandParser(argparse.ArgumentParser):
    """Argument parser that accepts ``_`` for ``-`` in option names and no abbreviations."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)
        self._complete: Callable[[argparse.ArgumentParser], None] | None = None

    def complete_with(self, add: Callable[[argparse.ArgumentParser], None]) -> None:
        """Let a function add further options, which take long to define: for help, and if an option is unknown."""
        self._complete = add

    def parse_known_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse arguments as ``argparse`` does.

        Raises:
            OptionError: they are invalid; for an unknown option the message suggests the nearest one.
        """
        given = list(sys.argv[1:] if args is None else args)
        end = given.index("--") if "--" in given else len(given)
        names = {self._dashed(argument) for argument in given[:end] if argument.startswith("-")}
        if self._complete and (names & {"-h", "--help"} or names - self._option_string_actions.keys()):
            self._complete(self)
            self._complete = None
        parsed, rest = super().parse_known_args([*map(self._spelled, given[:end]), *given[end:]], namespace)
        if rest:
            self.error(f"unexpected argument '{rest[0]}'")
        return parsed, rest

    def error(self, message: str) -> NoReturn:
        """Raise the error with a one-line message."""
        raise OptionError(f"{self.prog}: {message} (see {self.prog} --help)")

    @staticmethod
    def _dashed(argument: str) -> str:
        """Return the name of an option with ``-`` for ``_``."""
        name = argument.partition("=")[0]
        return name.replace("_", "-") if name.startswith("--") else name

    def _spelled(self, argument: str) -> str:
        if not argument.startswith("--"):
            return argument
        name, equals, value = self._dashed(argument), *argument.partition("=")[1:]
        if name not in self._option_string_actions:
            listed = (action for action in self._actions if action.help != argparse.SUPPRESS)
            known = [action.option_strings[-1] for action in listed if action.option_strings]
            raise OptionError(unknown_name(f"option of {self.prog}", name, known))
        return name + equals + value
