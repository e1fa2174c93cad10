"""Install the plugin's model files into a host's ``models/`` folder and remove them, without git.

The files are read from ``patches/``, so the result is the same as with ``git apply``.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import HostError, unknown_name
from ...files import write_text_atomically
from .family import families
from .folder import finds_models

_PACKAGE = Path(__file__).resolve().parents[2]


def patches() -> dict[str, dict[str, str]]:
    """Return the patches by name, each with the files that it adds to a host, by path.

    Raises:
        HostError: the installation is incomplete.
    """
    for folder in (_PACKAGE / "patches", _PACKAGE.parent / "patches"):  # installed, or in a checkout
        if found := sorted(folder.glob("*.patch")):
            return {file.stem: _added(file) for file in found}
    raise HostError(f"this installation of kd_plugin has no patches in {_PACKAGE}: reinstall it")


def _added(patch: Path) -> dict[str, str]:
    """Return the files that a patch adds, by path; our patches only add files."""
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
    """Return the name of the patch for a host, detected if ``name`` is empty, and check that the folder is a host.

    Raises:
        HostError: the folder is not a host, or no patch has the name or fits the host.
    """
    known = patches()
    if name and name not in known:
        raise HostError(unknown_name("family", name, known))
    if not (host / "models" / "__init__.py").is_file():
        raise HostError(f"{host} is not a host: it has no models/__init__.py; give the folder that contains train.py")
    if not finds_models(host):
        raise HostError(f"{host} is not a supported host: its models/__init__.py has no find_model_using_name")
    served = [family for family in families() if family.patch in known]
    if found := name or next((family.patch for family in served if family.is_in(host / "models")), ""):
        return found
    models = ", ".join(f"{model}_model.py" for family in served for model in family.models)
    raise HostError(
        f"{host} has none of the models that have patches ({models} in models/): "
        f"docs/your-own-repo.md shows the four lines that distil your own model"
    )


def status(host: Path, files: dict[str, str]) -> dict[str, str]:
    """Return the state of each file of a patch in a host: ``missing``, ``installed`` or ``different``."""
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
    """Write the missing files and return their paths.

    Raises:
        HostError: a file exists with different content, in which case nothing is written, or cannot be written.
    """
    missing = _paths(host, files, "missing", "exists and differs from the patch: rename it first")
    for path in missing:
        try:
            write_text_atomically(host / path, files[path])
        except OSError as error:
            raise HostError(f"{host / path} cannot be written: {error.strerror}") from error
    return missing


def remove(host: Path, files: dict[str, str]) -> list[str]:
    """Remove the installed files and return their paths.

    Raises:
        HostError: a file has been modified, in which case nothing is removed, or cannot be removed.
    """
    installed = _paths(host, files, "installed", "differs from the installed file: remove it manually if intended")
    for path in installed:
        try:
            (host / path).unlink()
        except OSError as error:
            raise HostError(f"{host / path} cannot be removed: {error.strerror}") from error
    return installed


def _paths(host: Path, files: dict[str, str], state: str, reason: str) -> list[str]:
    """Return the paths of the files in a state; raise ``reason`` if a file is different."""
    found = status(host, files)
    for path, how in found.items():
        if how == "different":
            raise HostError(f"{host / path} {reason}")
    return [path for path, how in found.items() if how == state]
