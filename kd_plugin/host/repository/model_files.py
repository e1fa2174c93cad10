"""Put the plugin's model files into a host's ``models/`` folder, and take them out again: ``patches/`` without git.

The files are read from the patches themselves, so that both ways give the same host.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import HostError, unknown_name
from ...files import write_text_atomically
from .family import families
from .folder import finds_models

__all__ = ["find_patch", "install", "patches", "remove", "status"]

_PACKAGE = Path(__file__).resolve().parents[2]


def patches() -> dict[str, dict[str, str]]:
    """Return the patches by name: the files that each adds to a host, by path.

    Raises:
        HostError: the installation is incomplete.
    """
    for folder in (_PACKAGE / "patches", _PACKAGE.parent / "patches"):  # installed, and in a checkout
        if found := sorted(folder.glob("*.patch")):
            return {file.stem: _added(file) for file in found}
    raise HostError(f"this installation of kd_plugin has no patches in {_PACKAGE}: install it anew")


def _added(patch: Path) -> dict[str, str]:
    """Return the files that a patch adds, by their path; ours do nothing else."""
    files: dict[str, list[str]] = {}
    path = ""
    for line in patch.read_text(encoding="utf-8").splitlines():
        if line.startswith("+++ b/"):
            path = line.removeprefix("+++ b/")
            files[path] = []
        elif line.startswith("+") and path:
            files[path].append(line[1:])
    return {path: "\n".join(lines) + "\n" for path, lines in files.items()}


def find_patch(host: Path, name: str = "") -> str:
    """Return the name of the patch that serves a host, after a look at whether the folder is a host at all.

    Args:
        host: the folder that holds ``models/``.
        name: the patch to take; found by itself if empty.

    Raises:
        HostError: it is none, naming what is missing, or there is no such patch.
    """
    known = patches()
    if name and name not in known:
        raise HostError(unknown_name("family", name, known))
    if not (host / "models" / "__init__.py").is_file():
        raise HostError(f"{host} is not a host: it has no models/__init__.py; give the folder that train.py is in")
    if not finds_models(host):
        raise HostError(f"{host} is not a host of this kind: its models/__init__.py has no find_model_using_name")
    served = [family for family in families() if family.patch in known]
    if found := name or next((family.patch for family in served if family.is_in(host / "models")), ""):
        return found
    models = ", ".join(f"{model}_model.py" for family in served for model in family.models)
    raise HostError(
        f"{host} has none of the models there are patches for ({models} in models/): "
        f"docs/your-own-repo.md shows how to write the four lines that distil a model of your own"
    )


def status(host: Path, files: dict[str, str]) -> dict[str, str]:
    """Return of each file of a patch whether the host has it: ``missing``, ``installed`` or ``different``."""
    found = {}
    for path, content in files.items():
        file = host / path
        if not file.exists():
            found[path] = "missing"
        else:
            same = file.is_file() and file.read_text(encoding="utf-8", errors="replace") == content
            found[path] = "installed" if same else "different"
    return found


def install(host: Path, files: dict[str, str]) -> list[str]:
    """Write the files that are missing; return their paths.

    Raises:
        HostError: a file is there with other content, or cannot be written. Nothing is written then.
    """
    missing = _same_or_missing(host, files, "is there already and differs from ours: rename it first")
    for path in missing:
        try:
            write_text_atomically(host / path, files[path])
        except OSError as error:
            raise HostError(f"{host / path} cannot be written: {error.strerror}") from error
    return missing


def remove(host: Path, files: dict[str, str]) -> list[str]:
    """Remove the files that were installed; return their paths.

    Raises:
        HostError: a file has other content, so it is not ours to remove. Nothing is removed then.
    """
    missing = _same_or_missing(host, files, "differs from what was installed: remove it yourself if you want that")
    removed = [path for path in files if path not in missing]
    for path in removed:
        try:
            (host / path).unlink()
        except OSError as error:
            raise HostError(f"{host / path} cannot be removed: {error.strerror}") from error
    return removed


def _same_or_missing(host: Path, files: dict[str, str], reason: str) -> list[str]:
    found = status(host, files)
    for path, how in found.items():
        if how == "different":
            raise HostError(f"{host / path} {reason}")
    return [path for path, how in found.items() if how == "missing"]
