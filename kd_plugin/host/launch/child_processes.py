"""Install the plugin in the processes that a host spawns, as joliGEN does for every training on GPUs.

A spawned process is a new interpreter, which imports the host's script again: without its import hooks the plugin
would be missing there, and the training would not be distilled.
"""

from __future__ import annotations

from multiprocessing import spawn
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[3])
_INSTALL = "from kd_plugin.host.launch.import_hooks import install; install()"
_FIRST = f"import sys; sys.path.append({_ROOT!r}); {_INSTALL}; "


def install_in_children() -> None:
    """Let processes that this one spawns install the import hooks before they import the script."""
    original = spawn.get_command_line
    if getattr(original, "_of_kd_plugin", False):
        return

    def get_command_line(**named: Any) -> list[str]:
        command = original(**named)
        if "-c" in command:
            code = command.index("-c") + 1
            command[code] = _FIRST + command[code]
        return command

    get_command_line._of_kd_plugin = True  # type: ignore[attr-defined]
    spawn.get_command_line = get_command_line
