"""Extend a host's parser, which calls ``parse_known_args`` while gathering options and then ``parse_args``.

Only the parser of the current run is modified, and only if the command line has an option of the plugin.
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
from ...processes import worded
from ..repository.option_names import OptionName
from ..repository.usual_options import names_in, usual_options
from .distill import are_in, flags
from .separate import name_source


class CommandLine:
    """The options of a host's parser while they are gathered, parsed anew at each access.

    ``arguments`` are those that the parser parses by default.
    """

    def __init__(self, parser: ArgumentParser, arguments: Sequence[str] | None = None) -> None:
        self.parser = parser
        self.arguments = list(sys.argv[1:] if arguments is None else arguments)

    @property
    def opt(self) -> Any:
        """The current options, including defaults, under their usual names too."""
        return usual_options(self.parser.parse_known_args()[0])

    @property
    def names(self) -> dict[str, OptionName]:
        """The host's other names of options, by usual name."""
        return names_in(self.parser)

    def set_defaults(self, **values: Any) -> None:
        """Set defaults of options, given by their usual names."""
        names = self.names
        for name, value in values.items():
            self.parser.set_defaults(**(names[name].split(value) if name in names else {name: value}))

    def get_default(self, name: str) -> Any:
        """Return the default of an option, given by its usual name."""
        names = self.names
        if name not in names:
            return self.parser.get_default(name)
        return names[name].join([self.parser.get_default(each) for each in names[name].names])

    @property
    def given(self) -> dict[str, Any]:
        """The options given on the command line, parsed without defaults, under their usual names too."""
        own, opt = self._given, self.opt
        usual = {usual: name for usual, name in self.names.items() if own.keys() & set(name.names)}
        return {**own, **{name: getattr(opt, name) for name in usual}}

    @property
    def _given(self) -> dict[str, Any]:
        parser = self.parser
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


def reads_command_line(parser: ArgumentParser) -> bool:
    """Return whether a host's parser has its options from the command line; if not, required ones are missing there.

    A host may parse a command line only to override the options of a file.
    """
    given = [name for argument in sys.argv[1:] if (name := _name(argument)).startswith("-") and name != "--"]
    required = (action.option_strings for action in parser._actions if action.required and action.option_strings)
    return all(any(each.startswith(name) for each in strings for name in given) for strings in required)


def end(parser: ArgumentParser, message: object) -> NoReturn:
    """Exit as argparse does for an invalid option, but without the usage text, which fills many screens."""
    parser.exit(2, f"{parser.prog}: error: {name_source(worded(message))}\n")
    raise SystemExit(2)  # for parsers whose exit returns


def explain_errors(parser: ArgumentParser, is_train: bool, resuming: bool = False) -> None:
    """Report an invalid command line in one line, with a suggestion.

    Without options of the plugin the host reports it, unless the run is ``resuming`` a distillation.
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
            are = "are training options: remove them" if len(training) > 1 else "is a training option: remove it"
            end(parser, f"{', '.join(training)} {are} from {parser.prog}")
        return original(args, namespace)

    parser.parse_args = parse_args  # type: ignore[method-assign,assignment]


def misspelt(parser: ArgumentParser) -> str:
    """Return the error for an unknown option that resembles one of the plugin's; "" if there is none.

    An option that seems to be missing may be a misspelt one.
    """
    ours = [f"--{flag.name}" for flag in flags()]
    for argument in parser.parse_known_args()[1]:
        close = difflib.get_close_matches(_name(argument), ours, n=1, cutoff=0.8) if argument.startswith("--") else []
        if close and close[0] != _name(argument):  # otherwise the plugin's are not added yet
            return f"unrecognized arguments: {argument}: did you mean {close[0]}?"
    return ""


def check_commas(line: CommandLine) -> None:
    """Raise an :class:`OptionError` if ``--distill`` is followed by more than one word."""
    if any(not action.option_strings for action in line.parser._actions):  # may be positional arguments
        return
    arguments = line.arguments
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        after = itertools.takewhile(lambda word: not word.startswith("-"), arguments[place + 1 :])
        words = [*([value] if equals else []), *after]
        if name == "--distill" and len(words) > 1:
            terms = ",".join(word.strip(",") for word in words if word.strip(","))
            raise OptionError(f"--distill {' '.join(words)}: separate terms with commas: --distill {terms}")


def complete_options(parser: ArgumentParser, complete: Callable[[Any], None]) -> None:
    """Register a function that completes the options before the host prints them and writes ``train_opt.txt``.

    It is called by ``parse_args``, or by :func:`finish_options`, with the options under their usual names. The
    program exits with the message of a :class:`KDError` that the function raises.
    """
    pending = vars(parser).setdefault("_completing", [])
    pending.append(complete)
    original = parser.parse_args

    def parse_args(args: Sequence[str] | None = None, namespace: Namespace | None = None) -> Namespace:
        opt: Namespace = original(args, namespace)
        _complete(parser, complete, opt)
        pending.clear()
        return opt

    parser.parse_args = parse_args  # type: ignore[method-assign,assignment]


def finish_options(parser: ArgumentParser, opt: Namespace) -> None:
    """Complete the options of a host that has gathered them without ``parse_args``."""
    pending = vars(parser).get("_completing", [])
    for complete in pending:
        _complete(parser, complete, opt)
    pending.clear()


def _complete(parser: ArgumentParser, complete: Callable[[Any], None], opt: Namespace) -> None:
    try:
        complete(usual_options(opt))
    except KDError as error:
        end(parser, error)


def _name(argument: str) -> str:
    return argument.partition("=")[0]
