"""Try what a host's scripts import, in a process of its own: whether they can start.

This file is also the program of that process, run as a script, so it imports nothing of the plugin.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

__all__ = ["failed_imports"]

# Packages whose name for pip is not the one they are imported by.
_PIP = {
    "PIL": "pillow", "bs4": "beautifulsoup4", "cv2": "opencv-python", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "yaml": "pyyaml",
}  # fmt: skip


def failed_imports(host: Path, scripts: Sequence[str]) -> list[str]:
    """Run the import statements at the top of scripts, and so those of all modules that they import.

    Statements inside ``try`` or ``if`` are left out: the script goes on without what they import.

    Args:
        host: folder that the scripts are run in.
        scripts: their paths in it.

    Returns:
        A line for each package that is missing or does not import, and for each other fault: the script, what it is,
        the file and line that import it, and the command that installs it.
    """
    child = subprocess.run(
        [sys.executable, __file__, *scripts], cwd=host, capture_output=True, text=True, check=False
    )
    try:
        lines: list[str] = json.loads(child.stdout)
    except ValueError:
        told = f"what they import ends the process with exit status {child.returncode}"
        return [f"{' and '.join(scripts)} cannot start: {told}"]
    return lines


def _try_imports(scripts: Sequence[str]) -> Iterator[str]:
    """Yield the lines of :func:`failed_imports` for scripts in this folder, a package once."""
    host = Path.cwd()
    failed: set[str] = set()
    for script in map(host.joinpath, scripts):
        inside = script.parent.relative_to(host).parts
        names = {"__name__": "__main__", "__package__": ".".join(inside) or None}  # as of python -m package.train
        sys.path[0] = str(script.parent)
        if inside:
            sys.path.insert(1, str(host))
        for statement in ast.parse(script.read_text(encoding="utf-8", errors="replace")).body:
            if not isinstance(statement, (ast.Import, ast.ImportFrom)):
                continue
            code = compile(ast.Module([statement], []), str(script), "exec")
            try:
                exec(code, names)  # noqa: S102 - an import statement of the script
            except BaseException as error:  # it runs what is imported, which may fail in any way
                package, line = _explain(error, host, script.parent)
                if package not in failed:
                    failed.add(package)
                    yield f"{script.relative_to(host)} cannot start: {line}"


def _explain(error: BaseException, host: Path, folder: Path) -> tuple[str, str]:
    """Return the package that an import failed for, or else the place in the host; and the line to print.

    The import is one of a script in ``folder``.
    """

    def is_theirs(module: str) -> bool:
        name = module.partition(".")[0]
        return any((f / found).exists() for f in (host, folder) for found in (name, f"{name}.py"))

    frames = traceback.extract_tb(error.__traceback__)
    last = next(frame for frame in reversed(frames) if _is_below(host, Path(frame.filename)))
    place = f"{Path(last.filename).relative_to(host)}:{last.lineno}"
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if isinstance(error, ModuleNotFoundError) and error.name and not is_theirs(error.name):
        package = error.name.partition(".")[0]
        return package, f"{package} is not installed ({place}): pip install {_PIP.get(package, package)}"
    importing = re.match(r"\s*(?:import|from)\s+(\w+)", linecache.getline(last.filename, last.lineno or 0))
    if importing and not is_theirs(importing[1]):
        package = importing[1]
        fits = f"; it has to be the one made for torch {version('torch')}" if package == "torchvision" else ""
        return package, f"{package} is installed and does not import ({place}): {reason}{fits}"
    return place, f"{place}: {reason}"


def _is_below(host: Path, file: Path) -> bool:
    """Return whether a file is the host's, not one of a virtual environment in its folder."""
    return file.is_relative_to(host) and not {"site-packages", "dist-packages"} & set(file.parts)


if __name__ == "__main__":
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the host prints is not for this output
    print(json.dumps(list(_try_imports(sys.argv[1:]))), file=output)
