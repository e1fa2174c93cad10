"""Installing the package from a clone inside a host, and as a wheel built from the source distribution."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from helpers.commands import REPOSITORY, succeed

from kd_plugin import __version__
from kd_plugin.host.repository.model_files import patches

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone in a host's folder: what git has, since a build leaves folders behind."""
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "demo_output")
    return Path(shutil.copytree(REPOSITORY, tmp_path / "host" / "kd_plugin", ignore=ignored))


def command(*arguments: str | Path, cwd: Path) -> str:
    """Run a command without the repository on the path, and return what it prints."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return succeed(subprocess.run(arguments, cwd=cwd, env=env, capture_output=True, text=True, check=False)).stdout


def test_a_clone_in_the_host_does_not_shadow_the_package(clone: Path, tmp_path: Path) -> None:
    """Python finds the clone's folder, ``./kd_plugin``, before the package inside it."""
    host = clone.parent
    venv.create(tmp_path / "venv", system_site_packages=True)
    python = tmp_path / "venv" / "bin" / "python"
    packages = next((tmp_path / "venv").glob("lib/*/site-packages"))
    (packages / "outer.pth").write_text("\n".join(site.getsitepackages()))  # torch, where that is in a venv as well
    options = ("-q", "--no-deps", "--no-build-isolation", "--no-index")
    command(sys.executable, "-m", "pip", "--python", python, "install", *options, "-e", clone, cwd=host)

    assert command(python, "-m", "kd_plugin", "--version", cwd=host) == f"kd_plugin {__version__}\n"
    (host / "script.py").write_text(
        "import kd_plugin\n"
        "from kd_plugin import DistillMixin\n"
        "from kd_plugin.host.repository.model_files import patches\n"
        "print(kd_plugin.__file__, *patches())\n"
    )
    printed = command(python, "script.py", cwd=host)
    assert printed.split() == [str(clone / "kd_plugin" / "__init__.py"), *patches()]


def test_the_wheel_has_the_package_and_the_patches(clone: Path, tmp_path: Path) -> None:
    """Made from the source distribution, so that that one is complete as well."""
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    command(sys.executable, "-c", build, tmp_path, cwd=clone)
    sdist = next(tmp_path.glob("*.tar.gz"))
    options = ("-q", "--no-deps", "--no-build-isolation", "-w", tmp_path)
    command(sys.executable, "-m", "pip", "wheel", *options, sdist, cwd=tmp_path)
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    assert {f"kd_plugin/patches/{name}.patch" for name in patches()} | {"kd_plugin/py.typed"} <= names
    files = [f for f in (REPOSITORY / "kd_plugin").rglob("*.*") if f.suffix in (".py", ".css", ".js")]
    assert {str(f.relative_to(REPOSITORY)) for f in files} <= names
    assert not any(name.startswith(("tests/", "examples/", "patches/")) for name in names)
