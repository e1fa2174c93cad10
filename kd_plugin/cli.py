"""The command ``kd``.

Commands import PyTorch, which takes seconds, only when they run, so help and errors are immediate.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .commands import compress, doctor, export, inspect, patch, plan, report, watch
from .commands.parser import CommandParser
from .errors import KDError, OptionError, unknown_name
from .version import __version__

_COMMANDS = ("run", "inspect", "plan", "compress", "export", "report", "watch", "patch", "doctor")
_OPTIONS = ("--help", "--version", "-h")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for an error the user can fix)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given == ["run"]:
            raise OptionError("kd run needs a script: kd run train.py --distill wavelet ...")
        if given[:1] == ["run"] and given[1] not in ("-h", "--help"):
            from .host.launch.runner import run_script

            return run_script(given[1:])  # all further arguments belong to the script
        if not given:
            raise OptionError(f"kd needs a command: {', '.join(_COMMANDS)} (see kd --help)")
        if given[0] not in (*_COMMANDS, *_OPTIONS):
            kind, known = ("option", _OPTIONS) if given[0].startswith("-") else ("command", _COMMANDS)
            raise OptionError(unknown_name(kind, given[0], known))
        options = _parser().parse_args(given)
        status = int(options.action(options))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has ended: kd inspect ... | head
        if given[:1] == ["run"]:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes at its end
        return 1
    except KeyboardInterrupt:
        if given[:1] == ["run"]:
            raise  # of the script
        print("\nkd: interrupted", file=sys.stderr)
        return 130
    except KDError as error:
        message = str(error)
        if given[:1] == ["run"] and given[1:]:
            from .host.options.separate import name_source
            from .processes import worded

            message = name_source(worded(message))
        print(f"kd: error: {message}", file=sys.stderr)
        sys.last_value = error  # as for an uncaught exception, for atexit handlers
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kd", description="Knowledge distillation for image-to-image GANs.")
    parser.add_argument("--version", action="version", version=f"kd_plugin {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=CommandParser)
    commands.add_parser(
        "run",
        usage="kd run [--kd_options FILE] SCRIPT [ARGUMENTS ...]\n       kd run [--kd_options FILE] -m MODULE "
        "[ARGUMENTS ...]",
        help="run a host's train.py or test.py with the distillation options",
        description="Run a script of the host repository in its folder: kd run train.py --dataroot D --name small "
        "--model pix2pix --distill wavelet --teacher checkpoints/big --student_ngf 24. All arguments are passed to "
        "the script; kd run train.py --help lists them, those of the plugin in a separate group. kd run -m "
        "package.train runs a module, as python -m does, and kd run deepliif train an installed console script. "
        "Hosts whose command line refuses unknown options take those of the plugin from the environment variable "
        'KD_DISTILL="--distill ...", or from the FILE of --kd_options.',
    )
    for command in (inspect, plan, compress, export, report, watch, patch, doctor):
        command.add_parser(commands)
    return parser
