"""The package's metadata is in pyproject.toml; here is what that cannot say.

``package_dir`` makes an editable install a plain path entry. A clone in the working folder is a folder ``kd_plugin``
without ``__init__.py``, and Python takes that for the package where an editable install is a finder.
``patches/`` is copied into the package when it is built.
"""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class BuildWithPatches(build_py):
    """Add ``patches/`` to what is built, as ``kd_plugin/patches/``."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_tree("patches", str(Path(self.build_lib, "kd_plugin", "patches")))


setup(
    packages=find_packages(include=["kd_plugin*"]),
    package_dir={"": "."},
    package_data={"kd_plugin": ["py.typed", "report/page/page.*", "export/web/page/*"]},
    cmdclass={"build_py": BuildWithPatches},
)
