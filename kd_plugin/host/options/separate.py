"""Options of the plugin that are given apart from the host's command line, which may refuse unknown options.

They come from the environment variable ``KD_DISTILL``, or from the file of ``kd run --kd_options FILE``::

    KD_DISTILL="--distill wavelet,srp --teacher checkpoints/big" kd run deepliif train ...

For a host that gathers the options of its models in a parser, they are appended to the command line. For other hosts,
:mod:`kd_plugin.host.model.complete` parses them and puts them on the options of the model.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ...errors import OptionError, in_one_line
from .distill import add_options, flags

VARIABLE = "KD_DISTILL"
FILE_OPTION = "--kd_options"
_USAGE = f'{VARIABLE}="--distill TERMS --teacher FOLDER ..." kd run ...\n       kd run {FILE_OPTION} FILE ...'
# Blanks and continued lines, a comment, or a word with quotes as in a shell.
_PART = re.compile(r"""(?:\s|\\\r?\n)+|\#[^\n]*|(?P<word>(?:[^\s'"\\]|\\.|'[^']*'|"(?:\\.|[^"\\])*")+)""", re.DOTALL)
_QUOTED = re.compile(r"""["$`\\!]""")


@dataclass(frozen=True)
class SeparateOptions:
    """Options of the plugin, as words of a command line.

    Attributes:
        source: ``KD_DISTILL``, or the option with the file.
        words: names and values.
        given: the values by name, without defaults.
    """

    source: str
    words: tuple[str, ...]
    given: dict[str, Any]

    @classmethod
    def parse(cls, text: str, source: str) -> SeparateOptions:
        """Return the options in a text; line breaks are blanks, and ``#`` begins a comment.

        Prints the help and exits for ``--help``.

        Raises:
            OptionError: a quotation is not closed, or something is not an option of the plugin.
        """
        words = tuple(_split(text, source))
        parser = _Parser(source, prog=source, usage=_USAGE, allow_abbrev=False)
        add_options(parser)
        parser.description = "Options of kd_plugin, for hosts whose command line refuses unknown options."
        unknown = parser.parse_known_args(words)[1]
        if unknown:
            raise OptionError(f"{source}: {_explain(unknown, words)}")
        return cls(source, words, options_in(words))


def use_file(path: str | None) -> None:
    """Take the options from a file instead of ``KD_DISTILL``; from ``KD_DISTILL`` again if ``path`` is None.

    Raises:
        OptionError: the file cannot be read, holds something else than options, or ``KD_DISTILL`` is set as well.
    """
    global _of_file
    _of_file = None
    if path is None:
        return
    source = f"{FILE_OPTION} {path}"
    if os.environ.get(VARIABLE, "").strip():
        raise OptionError(f"{source}, but {VARIABLE} is set as well: unset {VARIABLE}, or remove {FILE_OPTION}")
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else in_one_line(error)
        raise OptionError(f"{source}: the file cannot be read ({reason})") from None
    _of_file = SeparateOptions.parse(text, source)


_of_file: SeparateOptions | None = None


def separate_options() -> SeparateOptions | None:
    """Return the options that are given apart from the command line; None without any.

    Raises:
        OptionError: ``KD_DISTILL`` holds something else than options of the plugin.
    """
    text = os.environ.get(VARIABLE, "")
    if _of_file is not None or not text.strip():
        return _of_file
    return SeparateOptions.parse(text, VARIABLE)


def append_to_command_line() -> None:
    """Append the options to ``sys.argv``, once, for a host whose parser accepts them.

    Raises:
        OptionError: the command line gives an option another value.
    """
    options = separate_options()
    if options is None or tuple(sys.argv[-len(options.words) :]) == options.words:
        return
    typed = options_in(sys.argv[1:])
    for name, value in options.given.items():
        if name in typed and typed[name] != value:
            raise OptionError(
                f"--{name} {typed[name]} on the command line, but {value} in {options.source}: give it in one place"
            )
    sys.argv.extend(options.words)


def options_in(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the values of the plugin's options in a command line by name; names may have dashes for underscores."""
    parser = _Parser("", argument_default=argparse.SUPPRESS, allow_abbrev=False, add_help=False)
    add_options(parser)
    names = {f"--{flag.name}" for flag in flags() if not flag.yields}
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    words = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        ours = name.replace("-", "_").replace("__", "--", 1)
        words.append(f"{ours}{equals}{value}" if ours in names else argument)
    try:
        return vars(parser.parse_known_args(words)[0])
    except OptionError:  # without its value: reported by the host's parser
        return {}


def as_assignment(given: dict[str, Any]) -> str:
    """Return options by name as an assignment of ``KD_DISTILL`` in a shell."""
    words = [word for name, value in given.items() for word in _words_of(name, value)]
    text = shlex.join(words)
    return f"{VARIABLE}={shlex.quote(text) if _QUOTED.search(text) else f'{chr(34)}{text}{chr(34)}'}"


def name_source(message: str) -> str:
    """Return an error's message, with the place of the option that it names if that is not the command line."""
    try:
        options = separate_options()
    except OptionError:
        return message
    named = options and any(re.search(rf"--{name}\b", message) for name in options.given)
    return f"{message} (from {options.source})" if options and named and options.source not in message else message


class _Parser(ArgumentParser):
    """A parser whose errors are raised."""

    def __init__(self, source: str, **more: Any) -> None:
        super().__init__(**more)
        self._source = source

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{self._source}: {message}")


def _words_of(name: str, value: Any) -> list[str]:
    return [f"--{name}"] if value is True else [f"--{name}", str(value)]


def _split(text: str, source: str) -> list[str]:
    words, place = [], 0
    while place < len(text):
        part = _PART.match(text, place)
        if part is None:
            rest = in_one_line(ValueError(text[place:]), 40)
            raise OptionError(f"{source}: the quotation that begins with {rest} is not closed")
        if part["word"]:
            words += shlex.split(part["word"])
        place = part.end()
    return words


def _explain(unknown: Sequence[str], words: Sequence[str]) -> str:
    """Return what is wrong with words that are no options of the plugin."""
    first = next((word for word in unknown if word.startswith("-")), unknown[0])
    name = first.partition("=")[0]
    nearest = difflib.get_close_matches(name.replace("-", "_").replace("__", "--", 1), _names(), n=1)
    if first.startswith("-"):
        hint = f"did you mean {nearest[0]}?" if nearest else "give options of the host on the command line"
        return f"unrecognized option {name}: {hint}"
    before = words[words.index(first) - 1] if first in words[1:] else ""
    hint = ", separate terms with commas: --distill wavelet,srp" if "--distill" in words else ""
    return f"'{first}'{f' after {before}' if before else ''} is not an option{hint}"


def _names() -> list[str]:
    return [f"--{flag.name}" for flag in flags()]
