"""The npm packages that the pictures are from: fetched once, checked against their digest, never unpacked."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kd_plugin.errors import KDError

_SECONDS = 300

MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


@dataclass(frozen=True)
class Package:
    """A version of an npm package.

    Attributes:
        name: with its scope, ``"@scope/name"``.
        version: the one that is used, always.
        sha512: digest of its archive in base64, as the registry states it.
        suffix: of the pictures in it, such as ``".svg"``.
        licence: of the pictures, and who made them; one line for LICENSES.txt.
    """

    name: str
    version: str
    sha512: str
    suffix: str
    licence: str

    @property
    def archive(self) -> str:
        """Return the name that ``npm pack`` gives to the archive."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


FLUENT = Package(
    "@lobehub/fluent-emoji-3d",
    "1.1.0",
    "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
    ".webp",
    "Fluent Emoji, Copyright (c) Microsoft Corporation (github.com/microsoft/fluentui-emoji), packaged by LobeHub, "
    "Copyright (c) 2023 LobeHub (github.com/lobehub/fluent-emoji): MIT licence",
)
TWEMOJI = Package(
    "@twemoji/svg",
    "15.0.0",
    "ZSPef2B6nBaYnfgdTbAy4jgW95o7pi2xPGwGCU+WMTxo7J6B1lMPTWwSq/wTuiMq+N0khQ90CcvYp1wFoQpo/w==",
    ".svg",
    "Twemoji graphics, Copyright Twitter, Inc and other contributors (github.com/jdecked/twemoji): CC-BY 4.0, "
    "creativecommons.org/licenses/by/4.0",
)


def default_cache() -> Path:
    """Return the folder for archives of packages, ``kd_plugin/datasets`` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kd_plugin" / "datasets"


def fetch(package: Package, cache: Path) -> Path:
    """Return the archive of a package in the folder ``cache``, where ``npm pack`` downloads it if it is missing.

    Raises:
        KDError: The package cannot be fetched, or an archive is not the published one.
    """
    archive = cache / package.archive
    if not archive.is_file():
        _pack(package, archive)
    elif not _is_published(archive, package):
        raise KDError(f"{archive}: is not {package} as published, its SHA-512 differs: delete it and run again")
    return archive


def pictures(archive: Path, package: Package) -> Iterator[tuple[str, bytes]]:
    """Yield the name without suffix and the content of every picture in an archive, in its order."""
    with tarfile.open(archive) as files:
        for member in files:
            path = PurePosixPath(member.name)
            if member.isfile() and path.suffix == package.suffix:
                stream = files.extractfile(member)
                assert stream is not None  # of a plain file
                yield path.stem, stream.read()


def _pack(package: Package, archive: Path) -> None:
    elsewhere = f"or put {package.archive}, as 'npm pack {package}' writes it elsewhere, into {archive.parent}"
    npm = shutil.which("npm")
    if npm is None:
        raise KDError(f"npm is needed to fetch {package}: install it, {elsewhere}")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        try:
            subprocess.run(
                [npm, "pack", str(package)], check=True, capture_output=True, text=True, timeout=_SECONDS, cwd=folder
            )
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            reason = said[0] if said else "no reason given"
            raise KDError(f"npm cannot fetch {package} ({reason}): check the network, {elsewhere}") from error
        fetched = Path(folder) / package.archive
        if not fetched.is_file() or not _is_published(fetched, package):
            raise KDError(f"the package {package} that npm fetched is not the published one: its SHA-512 differs")
        fetched.replace(archive)


def _is_published(archive: Path, package: Package) -> bool:
    return base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() == package.sha512
