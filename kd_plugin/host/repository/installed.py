"""Find hosts that are installed packages, by their console scripts and modules, without importing them."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, entry_points, packages_distributions
from pathlib import Path

from ...errors import HostError
from .folder import find_host, finds_models

_GROUP = "console_scripts"
_MODELS = "models/__init__.py"


@dataclass(frozen=True)
class InstalledHost:
    """A host that is an installed package.

    Attributes:
        folder: the one that contains ``models/``.
        scripts: names of its console scripts.
        module: file of the module of its first console script; None if it is unknown.
    """

    folder: Path
    scripts: tuple[str, ...] = ()
    module: Path | None = None


def console_script(name: str) -> EntryPoint | None:
    """Return the entry point of an installed console script; None if there is none of that name."""
    return next(iter(entry_points(group=_GROUP, name=name)), None)


def host_of_script(entry: EntryPoint) -> InstalledHost:
    """Return the host that a console script belongs to.

    Raises:
        HostError: no package of its distribution has models.
    """
    folder = _folder_of(entry)
    if folder is None:
        packages = ", ".join(_packages(entry)) or "none"
        raise HostError(
            f"the console script {entry.name} is not of a host: no package of its distribution ({packages}) has a "
            f"models subpackage with find_model_using_name"
        )
    return InstalledHost(folder, (entry.name,), _module_file(entry.module))


def host_of_module(name: str) -> InstalledHost | None:
    """Return the host that a module of an installed package belongs to; None if there is none."""
    top = name.partition(".")[0]
    folder = _host_below(top)
    distributions = packages_distributions().get(top, ())
    entries = [e for e in entry_points(group=_GROUP) if e.dist is not None and e.dist.name in distributions]
    if folder is None:  # a module beside the package
        folder = next((found for entry in entries if (found := _folder_of(entry))), None)
    if folder is None:
        return None
    return InstalledHost(folder, tuple(e.name for e in entries), _module_file(entries[0].module) if entries else None)


def nearest_script(name: str) -> str:
    """Return the console script of a host whose name resembles ``name``; "" if there is none."""
    entries = {entry.name: entry for entry in entry_points(group=_GROUP)}
    nearest = difflib.get_close_matches(name, entries, n=5)
    return next((each for each in nearest if _folder_of(entries[each])), "")


def _folder_of(entry: EntryPoint) -> Path | None:
    """Return the folder with ``models/`` in the packages of a console script's distribution."""
    files = (entry.dist.files or ()) if entry.dist is not None else ()
    listed = (Path(str(file.locate())).parent.parent for file in files if str(file).endswith(f"/{_MODELS}"))
    if found := next((folder for folder in listed if finds_models(folder)), None):
        return found
    return next((below for package in _packages(entry) if (below := _host_below(package))), None)


def _packages(entry: EntryPoint) -> list[str]:
    """Return the top-level names of a console script's distribution, and that of its module."""
    named = _top_level(entry.dist) if entry.dist is not None else ()
    return [*dict.fromkeys([*named, entry.module.partition(".")[0]])]


def _top_level(distribution: Distribution) -> Iterator[str]:
    yield from (distribution.read_text("top_level.txt") or "").split()
    for file in distribution.files or ():
        if len(file.parts) == 2 and file.parts[1] == "__init__.py":
            yield file.parts[0]


def _host_below(package: str) -> Path | None:
    """Return the folder with ``models/`` in a top-level package."""
    try:
        found = importlib.util.find_spec(package) if re.fullmatch(r"\w+", package) else None  # imports nothing
    except (ImportError, ValueError):  # __main__
        found = None
    places = map(Path, (found.submodule_search_locations or ()) if found else ())
    for folder in (find_host(place) for place in places if place.is_dir()):
        if folder is not None and finds_models(folder):
            return folder
    return None


def _module_file(name: str) -> Path | None:
    """Return the file of a module, found from that of its top-level package, which is not imported."""
    top, *rest = name.split(".")
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None:
        return None
    base = Path(found.origin)
    if rest:
        base = base.parent.joinpath(*rest)
        base = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return base if base.is_file() else None
