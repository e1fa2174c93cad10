"""A host's parser, as all hosts use it: ``parse_known_args`` while options are gathered, then ``parse_args``.

What is changed is changed on the one parser of the run, and only where the command line has an option of the plugin.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ...errors import KDError, OptionError
from .distill import add_options, are_in, flags

__all__ = ["CommandLine", "check_commas", "complete_options", "end", "explain_errors", "misspelt"]


class CommandLine:
    """A host's parser while options are gathered: what they are so far, and which were given.

    Args:
        parser: the host's.
    """

    def __init__(self, parser: ArgumentParser) -> None:
        self.parser = parser
        self._opt: Namespace | None = None
        self._given: dict[str, Any] | None = None

    @property
    def opt(self) -> Namespace:
        """The options as they are now, defaults filled in."""
        if self._opt is None:
            self._opt = self.parser.parse_known_args()[0]
        return self._opt

    @property
    def given(self) -> dict[str, Any]:
        """The options that are on the command line, by the rules of argparse."""
        if self._given is None:
            self._given = _given_options(self.parser)
        return self._given

    def set_defaults(self, **defaults: Any) -> None:
        """Change the values of options that were not given."""
        self.parser.set_defaults(**defaults)
        self._opt = None

    def add_options(self) -> None:
        """Add the plugin's options."""
        add_options(self.parser)
        self._opt = self._given = None


def end(parser: ArgumentParser, message: object) -> NoReturn:
    """End the program as argparse does on a bad option, less the usage text: the host's runs over many screens."""
    parser.exit(2, f"{parser.prog}: error: {message}\n")
    raise SystemExit(2)  # for parsers whose exit returns


def explain_errors(parser: ArgumentParser, is_train: bool, resuming: bool = False) -> None:
    """Answer a wrong command line in one line, with what was probably meant.

    Where it has no option of the plugin, it is the host's to answer, unless the run is ``resuming`` a distillation.
    """
    ours = {f"--{flag.name}" for flag in flags()}
    if is_train and (resuming or are_in(sys.argv[1:])):
        parser.error = lambda message: end(parser, message)  # type: ignore[method-assign]
    elif is_train or not any(_name(argument) in ours for argument in sys.argv[1:]):
        return
    original = parser.parse_args

    def parse_args(args: Sequence[str] | None = None, namespace: Namespace | None = None) -> Namespace:
        unknown = parser.parse_known_args(args)[1]
        names = [_name(argument) for argument in unknown if argument.startswith("--")]
        if is_train and names:
            known = [name for action in parser._actions for name in action.option_strings]
            nearest = [close[0] for name in names if (close := difflib.get_close_matches(name, known, n=1))]
            if nearest:
                end(parser, f"unrecognized arguments: {' '.join(unknown)}: did you mean {', '.join(nearest)}?")
        elif training := [name for name in names if name in ours]:
            are = "are training options: leave them" if len(training) > 1 else "is a training option: leave it"
            end(parser, f"{', '.join(training)} {are} out of {parser.prog}")
        return original(args, namespace)

    parser.parse_args = parse_args  # type: ignore[method-assign,assignment]


def misspelt(parser: ArgumentParser) -> str:
    """Return the line for an option that is nearly one of the plugin's and is no option of the host's; "" if none is.

    For a command line that lacks something: what is missing may be there, under another name.
    """
    ours = [f"--{flag.name}" for flag in flags()]
    for argument in parser.parse_known_args()[1]:
        close = difflib.get_close_matches(_name(argument), ours, n=1, cutoff=0.8) if argument.startswith("--") else []
        if close:
            return f"unrecognized arguments: {argument}: did you mean {close[0]}?"
    return ""


def check_commas(parser: ArgumentParser) -> None:
    """Check that the terms of ``--distill`` are one word of the command line.

    Raises:
        OptionError: there are more words after it, which are no option's.
    """
    if any(not action.option_strings for action in parser._actions):  # they may be positional arguments
        return
    arguments = sys.argv[1:]
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        after = itertools.takewhile(lambda word: not word.startswith("-"), arguments[place + 1 :])
        words = [*([value] if equals else []), *after]
        if name == "--distill" and len(words) > 1:
            terms = ",".join(word.strip(",") for word in words if word.strip(","))
            raise OptionError(f"--distill {' '.join(words)}: separate terms with commas: --distill {terms}")


def _given_options(parser: ArgumentParser) -> dict[str, Any]:
    """Return the options that are on the command line, by the rules of argparse."""
    defaults, of_parser = [(action, action.default) for action in parser._actions], parser._defaults
    try:
        parser._defaults = {}
        for action, _ in defaults:
            action.default = argparse.SUPPRESS
        return vars(parser.parse_known_args()[0])
    finally:
        parser._defaults = of_parser
        for action, default in defaults:
            action.default = default


def complete_options(parser: ArgumentParser, complete: Callable[[Namespace], None]) -> None:
    """Have options completed when all are known, before the host prints them and writes them to ``train_opt.txt``.

    Args:
        parser: the host's; the data set's options are still to come.
        complete: given the options, changes them in place. A :class:`KDError` that it raises ends the program.
    """
    original = parser.parse_args

    def parse_args(args: Sequence[str] | None = None, namespace: Namespace | None = None) -> Namespace:
        opt: Namespace = original(args, namespace)
        try:
            complete(opt)
        except KDError as error:
            end(parser, error)
        return opt

    parser.parse_args = parse_args  # type: ignore[method-assign,assignment]


def _name(argument: str) -> str:
    return argument.partition("=")[0]
