"""Write the folder of a data set: all of it, or nothing."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

from emoji_pictures import LARGEST_SIZE
from packages import MIT, Package, default_cache, fetch
from PIL import Image

from kd_plugin.errors import KDError
from kd_plugin.progress import Phase, Progress

SUMS = "SHA256SUMS"
RECIPE = "dataset.json"
LICENCES = "LICENSES.txt"
GROUPS = "groups.txt"
_SMALLEST_SIZE = 16


class Drawn(NamedTuple):
    """A picture of a data set.

    Attributes:
        path: in the folder.
        picture: its pixels.
        group: name of what it shares with nearly equal pictures.
        done: completed fraction of the data set.
    """

    path: str
    picture: Image.Image
    group: str
    done: float


# Receives the archives of the packages and the size of the pictures.
Maker = Callable[[list[Path], int], Iterator[Drawn]]


def command(
    name: str,
    about: str,
    packages: Sequence[Package],
    make: Maker,
    arguments: Sequence[str] | None,
    licences: str = "",
) -> int:
    """Run the command of a data set; return the exit status, 2 for an error that the user can fix.

    Args:
        name: of the data set.
        about: what it is, for ``--help``.
        packages: npm packages that its pictures are from.
        make: draws them.
        arguments: of the command line; None for those of the process.
        licences: of the pictures, if they are from no npm package.
    """
    signal.signal(signal.SIGTERM, _on_terminate)
    parser = argparse.ArgumentParser(prog=f"{name}.py", description=about)
    parser.add_argument("output", type=Path, help="folder of the data set, --dataroot of a host")
    parser.add_argument("--size", type=int, default=LARGEST_SIZE, help="side of a picture in pixels (default: 256)")
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), help="folder of the downloaded packages (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        print(build(name, packages, make, options.output, options.size, options.cache, licences))
    except KDError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted, nothing was written", file=sys.stderr)
        return 130
    return 0


def build(
    name: str, packages: Sequence[Package], make: Maker, output: Path, size: int, cache: Path, licences: str = ""
) -> str:
    """Write a data set to ``output``, or verify the one that is there; return what was done, in one line.

    Raises:
        KDError: The size is out of range, a package cannot be fetched, or ``output`` has other or changed files.
    """
    output = output.resolve()
    if not _SMALLEST_SIZE <= size <= LARGEST_SIZE:
        raise KDError(f"--size {size}: give a number of pixels from {_SMALLEST_SIZE} to {LARGEST_SIZE}")
    recipe = {"dataset": name, "size": size, "packages": [str(package) for package in packages]}
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        return f"{output}: verified, nothing to do: {counts(_verified(output, recipe))}"
    progress = Progress([Phase("fetching the packages", 5), Phase("drawing the pictures", 60 * (size / 256) ** 2)])
    try:
        progress.begin("fetching the packages")
        archives = [fetch(package, cache) for package in packages]
        progress.begin("drawing the pictures")
        with _staged(output) as folder:
            groups = {}
            for drawn in make(archives, size):
                file = folder / drawn.path
                file.parent.mkdir(parents=True, exist_ok=True)
                drawn.picture.save(file)
                groups[file.stem] = drawn.group
                progress.update(drawn.done)
            lines = [f"{name} {group}\n" for name, group in sorted(groups.items())]
            (folder / GROUPS).write_text("".join(lines), encoding="utf-8")
            (folder / LICENCES).write_text(licences or _licences(packages), encoding="utf-8")
            (folder / RECIPE).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
            sums = {path: _sha256(folder / path) for path in _files(folder)}
            (folder / SUMS).write_text(
                "".join(f"{digest}  {path}\n" for path, digest in sums.items()), encoding="utf-8"
            )
    finally:
        progress.clear()
    return f"{output}: {counts(sums)}"


def counts(files: Iterable[str]) -> str:
    """Return the number of pictures in each folder, in words.

    >>> counts(["LICENSES.txt", "test/1.png", "train/1.png", "train/2.png"])
    'train 2, test 1'
    """
    folders = [path.split("/")[0] for path in files if path.endswith(".png")]
    order = sorted(set(folders), key=lambda folder: (("train", "val", "test").index(folder.rstrip("AB")), folder))
    return ", ".join(f"{folder} {folders.count(folder)}" for folder in order)


def _verified(output: Path, recipe: dict[str, object]) -> dict[str, str]:
    """Return the digests of the files of a data set that is there already, each of which is checked."""
    remedy = "delete it, or give another folder"
    try:
        found = json.loads((output / RECIPE).read_text(encoding="utf-8"))
        lines = (output / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        raise KDError(f"{output}: exists and is no data set of this command: {remedy}") from None
    if found != recipe:
        raise KDError(f"{output}: has another data set or size, {json.dumps(found)}: {remedy}")
    sums = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    if (changed := set(sums) ^ set(_files(output))) or (
        changed := {path for path, digest in sums.items() if _sha256(output / path) != digest}
    ):
        raise KDError(f"{output}: {min(changed)} was changed, added or deleted since it was written: {remedy}")
    return sums


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``output`` in the end, or vanishes after an exception."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise KDError(f"{output}: cannot be written ({error.strerror}): give another folder") from error
    try:
        temporary.chmod(0o755)
        yield temporary
        temporary.replace(output)
    except OSError as error:
        raise KDError(
            f"{output}: cannot be written ({error.strerror}): free some space, or give another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _licences(packages: Sequence[Package]) -> str:
    lines = [
        f"* {package.licence}. From the npm package {package}; resized and put on white." for package in packages
    ]
    return "\n".join(
        ["The pictures are made from, and under the licences of:", "", *lines, "", "MIT licence:", "", MIT]
    )


def _on_terminate(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
