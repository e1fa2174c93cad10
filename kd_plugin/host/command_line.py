"""A host's parser, as all hosts use it: ``parse_known_args`` while options are gathered, then ``parse_args``.

What is changed is changed on the one parser of the run, and only where the command line has an option of the plugin.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import NoReturn

from ..errors import KDError

__all__ = ["complete_options", "end"]


def end(parser: ArgumentParser, message: object) -> NoReturn:
    """End the program as argparse does on a bad option, less the usage text: the host's runs over many screens."""
    parser.exit(2, f"{parser.prog}: error: {message}\n")
    raise SystemExit(2)  # for parsers whose exit returns


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
