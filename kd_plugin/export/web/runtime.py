"""Find ONNX Runtime Web: in a folder, in the cache, or in its npm package."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ...errors import KDError

VERSION = "1.30.0"
# SHA-512 of the package, as the registry states it.
_INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
_PACKAGE = f"onnxruntime-web@{VERSION}"
FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
_SECONDS = 300


def find_runtime(given: Path | None = None) -> Path:
    """Return a folder with the files of ONNX Runtime Web, of which the package is fetched once.

    Args:
        given: a folder that has them, for machines without a network.

    Raises:
        KDError: If files are missing, or the package cannot be fetched or is not the one that is known.
    """
    if given:
        places = [given, given / "dist", given / "package" / "dist"]
        found = next((place for place in places if _is_complete(place)), None)
        if found is None:
            missing = next(name for name in FILES if not (given / name).is_file())
            raise KDError(f"{given}: has no {missing}: give the folder dist of the npm package {_PACKAGE}")
        return found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kd_plugin" / f"ort-web-{VERSION}"
    if not _is_complete(cache):
        _fetch(cache)
    return cache


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in FILES)


def _fetch(cache: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise KDError(
            f"the page needs ONNX Runtime Web: install npm, which fetches it, or give the folder dist of the npm "
            f"package {_PACKAGE}"
        )
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
        command = [npm, "pack", _PACKAGE]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS, cwd=folder)
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise KDError(
                f"npm cannot fetch {_PACKAGE} ({said[0] if said else 'no reason given'}): without a network, give "
                "the folder dist of the package"
            ) from error
        (package,) = Path(folder).glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        if digest != _INTEGRITY:
            raise KDError(f"the package {_PACKAGE} that npm fetched is not the published one: its SHA-512 differs")
        unpacked = Path(folder) / "files"
        unpacked.mkdir()
        with tarfile.open(package) as archive:
            for name in FILES:
                stream = archive.extractfile(f"package/dist/{name}")
                assert stream is not None  # in the package of this digest
                (unpacked / name).write_bytes(stream.read())
        if cache.is_dir():
            shutil.rmtree(cache)  # of an interrupted copy
        unpacked.replace(cache)
