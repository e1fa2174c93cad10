"""The package's metadata is in pyproject.toml; here is what that cannot say: the patches go into the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["kd_plugin*"]), "kd_plugin.patches"],
    package_dir={"kd_plugin.patches": "patches"},
    package_data={"kd_plugin": ["py.typed"], "kd_plugin.patches": ["*.patch"]},
)
