"""Complete the options of a model whose host has a command line of its own, such as click's.

Such a host never calls ``modify_commandline_options``. The options of the plugin, given apart from its command line
(:mod:`kd_plugin.host.options.separate`), go through the same steps as those of other hosts, in a parser whose
defaults are the options of the host, when the model is constructed.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import KDError, OptionError
from ...processes import say, use_wording
from ..options.command_line import CommandLine
from ..options.distill import flags
from ..options.excepthook import report_in_one_line
from ..options.resume import finish_last_save
from ..options.separate import VARIABLE, name_source, separate_options
from ..repository.family import is_training
from ..repository.usual_options import other_names, reworded, usual_options
from .gather import prepare_options


def complete_options_of(cls: Any, opt: Any) -> None:
    """Put the plugin's options and those of a recorded student on the options of a host, in place.

    Nothing changes in a training without options of the plugin.

    Args:
        cls: class of the model, with the mixin.
        opt: the host's options, of any class.

    Raises:
        KDError: an option is not valid, or contradicts another or the record.
    """
    names = other_names(lambda name: hasattr(opt, name))
    use_wording(lambda text: reworded(text, names))
    if hasattr(opt, "distill"):
        return
    report_in_one_line()
    is_train = is_training(opt)
    continued = is_train and getattr(usual_options(opt), "continue_train", False)
    options = separate_options()
    if options is not None and not is_train:
        if options.source != VARIABLE:
            raise OptionError(f"{options.source}: its options are those of a training: remove it from a test")
        say(f"note: {VARIABLE} has no effect in a test")  # it may be set for a whole session
        options = None
    if options is None and is_train and not continued:
        return
    parser = _HostOptions(opt, options.words if options else (), Path(sys.argv[0]).name)
    try:
        if continued:
            finish_last_save(usual_options(parser.parse_known_args()[0]))
        prepare_options(cls, CommandLine(parser, parser.words), is_train)
    except KDError as error:
        raise type(error)(name_source(str(error))) from error
    parser.note_epoch()
    completed = parser.parse_args()
    for name, value in vars(completed).items():
        if not hasattr(opt, name) or getattr(opt, name) != value:
            setattr(opt, name, value)


class _HostOptions(ArgumentParser):
    """A parser of the plugin's options whose defaults are the options of a host.

    Options that are on the host's command line, with dashes or underscores, count as given.
    """

    def __init__(self, opt: Any, words: Sequence[str], prog: str) -> None:
        super().__init__(prog=prog, add_help=False, allow_abbrev=False)
        self.words = list(words)
        of_host = vars(opt)
        typed = (argument.partition("=")[0] for argument in sys.argv[1:] if argument.startswith("--"))
        names = (name.removeprefix("--").replace("-", "_") for name in typed)
        # The host may count its epochs from the number on its command line, whatever its options say.
        self._typed = {name: of_host[name] for name in (*names, "epoch_count") if name in of_host}
        for flag in flags():
            if flag.name in of_host:  # of the host, and found as such when the plugin's are added
                self.add_argument(f"--{flag.name}")
        self.set_defaults(**of_host)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        """Parse the plugin's options; those typed on the host's command line keep its values."""
        opt, unknown = super().parse_known_args(self.words, namespace)
        vars(opt).update(self._typed)
        return opt, unknown

    def note_epoch(self) -> None:
        """Print a note if a continued run begins with another epoch than the next one."""
        following, first = self.get_default("epoch_count"), self._typed.get("epoch_count")
        if following != first:
            say(f"note: the next epoch is {following}, but this run begins at {first}: add --epoch-count {following}")
