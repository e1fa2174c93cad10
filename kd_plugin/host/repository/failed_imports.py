"""Check in a subprocess that the imports of a host's scripts succeed.

The subprocess runs this file as a script, so it imports nothing from the plugin.
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

# Packages whose name on PyPI differs from their import name.
_PIP = {
    "PIL": "pillow", "bs4": "beautifulsoup4", "cv2": "opencv-python", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "yaml": "pyyaml",
}  # fmt: skip


def failed_imports(host: Path, scripts: Sequence[str]) -> list[str]:
    """Run the top-level import statements of scripts.

    Statements inside ``try`` or ``if`` are skipped, as the script runs without what they import. The scripts run in
    ``host``, and their paths are relative to it.

    Returns:
        A line for each package that is missing or fails to import, and for each other error: the script, the reason,
        the file and line of the import, and the command that installs the package.
    """
    child = subprocess.run(
        [sys.executable, __file__, *scripts], cwd=host, capture_output=True, text=True, check=False
    )
    try:
        return list(json.loads(child.stdout))
    except ValueError:
        reason = f"their imports end the process with exit status {child.returncode}"
        return [f"{' and '.join(scripts)} cannot start: {reason}"]


def _try_imports(scripts: Sequence[str]) -> Iterator[str]:
    """Yield the lines of :func:`failed_imports` for scripts in the current folder, each package once."""
    host = Path.cwd()
    failed: set[str] = set()
    for script in map(host.joinpath, scripts):
        inside = script.parent.relative_to(host).parts
        names = {"__name__": "__main__", "__package__": ".".join(inside) or None}  # as in python -m package.train
        sys.path[0] = str(script.parent)
        if inside:
            sys.path.insert(1, str(host))
        for statement in ast.parse(script.read_text(encoding="utf-8", errors="replace")).body:
            if not isinstance(statement, (ast.Import, ast.ImportFrom)):
                continue
            code = compile(ast.Module([statement], []), str(script), "exec")
            try:
                exec(code, names)  # noqa: S102 - an import statement of the script
            except BaseException as error:  # imported code may raise anything
                package, line = _explain(error, host, script.parent)
                if package not in failed:
                    failed.add(package)
                    yield f"{script.relative_to(host)} cannot start: {line}"


def _explain(error: BaseException, host: Path, folder: Path) -> tuple[str, str]:
    """Return the package that failed to import, or the location in the host, and the line to print.

    The script is in ``folder``, in the repository ``host``.
    """

    def is_of_host(module: str) -> bool:
        name = module.partition(".")[0]
        return any((f / found).exists() for f in (host, folder) for found in (name, f"{name}.py"))

    frames = traceback.extract_tb(error.__traceback__)
    last = next(frame for frame in reversed(frames) if _is_below(host, Path(frame.filename)))
    place = f"{Path(last.filename).relative_to(host)}:{last.lineno}"
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if isinstance(error, ModuleNotFoundError) and error.name and not is_of_host(error.name):
        package = error.name.partition(".")[0]
        return package, f"{package} is not installed ({place}): pip install {_PIP.get(package, package)}"
    importing = re.match(r"\s*(?:import|from)\s+(\w+)", linecache.getline(last.filename, last.lineno or 0))
    if importing and not is_of_host(importing[1]):
        package = importing[1]
        hint = f"; install the version built for torch {version('torch')}" if package == "torchvision" else ""
        return package, f"{package} is installed but fails to import ({place}): {reason}{hint}"
    return place, f"{place}: {reason}"


def _is_below(host: Path, file: Path) -> bool:
    """Return whether a file belongs to the host and not to a virtual environment in its folder."""
    return file.is_relative_to(host) and not {"site-packages", "dist-packages"} & set(file.parts)


if __name__ == "__main__":
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of the host goes to stderr
    print(json.dumps(list(_try_imports(sys.argv[1:]))), file=output)
