"""The options of a host under their usual names, whatever the host calls them (:attr:`~.HostFamily.option_names`)."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from typing import Any

from .family import families
from .option_names import OptionName

_OPTION = re.compile(r"--(?P<name>[a-z]\w*)(?: (?P<value>[\w.]+))?", re.IGNORECASE)


class UsualOptions:
    """A view of a host's options that reads and sets them by their usual names, and others by their own."""

    def __init__(self, options: Any, names: Mapping[str, OptionName]) -> None:
        vars(self).update(_options=options, _names=names)

    def __getattr__(self, name: str) -> Any:
        options, known = vars(self)["_options"], vars(self)["_names"].get(name)
        return known.join([getattr(options, each) for each in known.names]) if known else getattr(options, name)

    def __setattr__(self, name: str, value: Any) -> None:
        options, known = vars(self)["_options"], vars(self)["_names"].get(name)
        for each, part in (known.split(value) if known else {name: value}).items():
            setattr(options, each, part)


def usual_options(opt: Any) -> Any:
    """Return a host's options under their usual names: themselves if the host has no other names for them."""
    if isinstance(opt, UsualOptions):
        return opt
    names = other_names(lambda name: hasattr(opt, name))
    return UsualOptions(opt, names) if names else opt


def host_options(opt: Any) -> Any:
    """Return the options under the host's own names, of which :func:`usual_options` returned a view."""
    return vars(opt)["_options"] if isinstance(opt, UsualOptions) else opt


def other_names(has: Callable[[str], bool]) -> dict[str, OptionName]:
    """Return a host's other names of options by usual name, given whether it has an option of a name."""
    found: dict[str, OptionName] = {}
    for family in families():
        for usual, name in family.other_names.items():
            if usual not in found and not has(usual) and all(map(has, name.names)):
                found[usual] = name
    return found


def names_in(parser: ArgumentParser) -> dict[str, OptionName]:
    """Return the other names of options of a host's parser, by usual name."""
    destinations = {action.dest for action in parser._actions} | parser._defaults.keys()
    return other_names(destinations.__contains__)


def reworded(text: str, names: Mapping[str, OptionName]) -> str:
    """Return a text with the options in it called as the host calls them: ``--train_continue``."""

    def called(match: re.Match[str]) -> str:
        name = names.get(match["name"])
        return name.words(match["value"] or "") if name else match[0]

    return _OPTION.sub(called, text) if names else text
