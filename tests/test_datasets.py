"""``examples/datasets``: packages that are checked, a split without near duplicates, drawings, folders. Offline."""

from __future__ import annotations

import base64
import dataclasses
import doctest
import functools
import hashlib
import importlib
import io
import os
import stat
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers.commands import REPOSITORY
from PIL import Image, ImageDraw

from kd_plugin.errors import KDError

pytest.importorskip("skimage")

Module = Callable[[str], ModuleType]
FOLDER = REPOSITORY / "examples" / "datasets"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Module:
    """Import one of the modules."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def shape(number: int) -> Image.Image:
    """A disc on a transparent ground, of another size, place and colour for each number."""
    picture = Image.new("RGBA", (64, 64))
    x, y, radius = 24 + number % 11, 25 + number % 13, radius_of(number)
    colour = (37 * number % 256, 91 * number % 256, 200, 255)
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), colour)
    return picture


def radius_of(number: int) -> int:
    return 8 + number % 10


def webp(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def svg(number: int) -> bytes:
    """A square of another colour for each number, on the left half."""
    colour = f"#{37 * number % 256:02x}{91 * number % 256:02x}20"
    path = f'<path fill="{colour}" d="M0 0h18v36H0z"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 36 36">{path}</svg>'.encode()


def publish(package: Any, contents: dict[str, bytes], cache: Path) -> Any:
    """Write the archive of a toy package; return the package, with its digest."""
    cache.mkdir(exist_ok=True)
    with tarfile.open(cache / package.archive, "w:gz") as archive:
        for name, content in {"package.json": b"{}", **contents}.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    digest = hashlib.sha512((cache / package.archive).read_bytes()).digest()
    return dataclasses.replace(package, sha512=base64.b64encode(digest).decode())


NUMBERS = range(0x1F600, 0x1F678)  # the first 100 of these 120 emoji are in both packages


@functools.cache
def toy_pictures() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of the toy packages: fluent, flat."""
    fluent = {f"assets/{number:x}-fe0f.webp": webp(shape(number)) for number in NUMBERS}
    return fluent, {f"{number:x}.svg": svg(number) for number in NUMBERS[:100]}


@pytest.fixture
def commands(module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of the two commands, with toy packages in ``tmp_path / "cache"``."""
    packages, (fluent, flat) = module("packages"), toy_pictures()
    toys = {
        "FLUENT": publish(packages.FLUENT, fluent, tmp_path / "cache"),
        "TWEMOJI": publish(packages.TWEMOJI, flat, tmp_path / "cache"),
    }
    found = {name: module(name) for name in ("edges2emoji", "flat2fluent")}
    for command in found.values():
        for name in toys.keys() & vars(command):
            monkeypatch.setattr(command, name, toys[name])
    monkeypatch.setattr(module("folders").signal, "signal", lambda *handler: None)
    return found


def arguments(tmp_path: Path, size: int = 32) -> list[str]:
    return [str(tmp_path / "out"), "--size", str(size), "--cache", str(tmp_path / "cache")]


# Packages


def test_an_archive_is_fetched_once_by_npm_and_its_pictures_are_read(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = module("packages")
    toy = publish(packages.TWEMOJI, {"1f600.svg": b"one", "readme.md": b""}, tmp_path / "registry")
    log = fake_npm(tmp_path, f'echo "$@" >> log; cp {tmp_path}/registry/*.tgz .', monkeypatch)
    for _ in range(2):
        archive = packages.fetch(toy, tmp_path / "cache")
    assert [*packages.pictures(archive, toy)] == [("1f600", b"one")]
    assert log.read_text().splitlines() == ["pack @twemoji/svg@15.0.0"]


def fake_npm(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program ``npm`` before all others; return the file ``log`` of the script."""
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + script.replace("log", str(tmp_path / "log")) + "\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "log"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'no such host' >&2; exit 1", "no such host"),
        ("echo changed > twemoji-svg-15.0.0.tgz", "SHA-512 differs"),
    ],
    ids=["no network", "changed"],
)
def test_what_npm_does_not_fetch_as_published_is_refused_and_not_kept(
    script: str, message: str, module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path, script, monkeypatch)
    with pytest.raises(KDError, match=message):
        module("packages").fetch(module("packages").TWEMOJI, tmp_path / "cache")
    assert not [*(tmp_path / "cache").iterdir()]


def test_a_changed_archive_in_the_cache_is_refused(
    commands: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "cache" / commands["edges2emoji"].FLUENT.archive
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    assert commands["edges2emoji"].main(arguments(tmp_path)) == 2
    (*_, line) = capsys.readouterr().err.splitlines()
    assert "SHA-512 differs" in line and str(archive) in line
    assert not (tmp_path / "out").exists()


def test_without_npm_the_message_names_the_archive(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KDError, match=r"npm is needed .* put twemoji-svg-15\.0\.0\.tgz"):
        module("packages").fetch(module("packages").TWEMOJI, tmp_path / "cache")


# Groups and split


def test_examples_of_the_docstrings(module: Module) -> None:
    results = [doctest.testmod(module(name)) for name in ("emoji_groups", "folders")]
    assert all(result.attempted and not result.failed for result in results)


@pytest.mark.parametrize(
    "names",
    [
        "1f44b 1f44b-1f3fb 1f44b-1f3ff",  # skin
        "1f468-1f3fd-200d-1f680 1f469-200d-1f680 1f9d1-200d-1f680",  # astronauts
        "1f3c3 1f3c3-1f3fe-200d-2642-fe0f 1f3c3-200d-2640-fe0f-200d-27a1-fe0f",  # runners, and one to the right
        "1f9d1 1f468-200d-1f9b0 1f469-1f3fb-200d-1f9b3",  # hair
        "1f46a 1f468-200d-1f469-200d-1f467 1f469-200d-2764-fe0f-200d-1f48b-200d-1f468 1f46b-1f3fb",  # families
        "0023-fe0f-20e3 39-20e3",  # keycaps, whether padded or not
        "1f550 1f567",  # clocks
        "1f311 1f318",  # moons
    ],
)
def test_variants_are_of_one_kind(names: str, module: Module) -> None:
    groups = module("emoji_groups")
    kinds = {groups.kind(groups.parse(name)) for name in names.split()}
    assert len(kinds) == 1 and kinds != {groups.kind(groups.parse("1f600"))}


def test_a_lone_tone_or_sign_stays_itself(module: Module) -> None:
    groups = module("emoji_groups")
    assert {groups.kind(groups.parse(name)) for name in ("1f3fb", "2640-fe0f")} == {(0x1F3FB,), (0x2640,)}


def test_the_list_of_near_duplicates_has_each_kind_once(module: Module) -> None:
    groups = module("emoji_groups")
    listed = [
        groups.parse(name)
        for line in groups.NEAR_DUPLICATES.read_text().splitlines()
        if not line.startswith("#")
        for name in line.split()
    ]
    assert len(listed) == len(set(listed)) > 300
    assert all(groups.kind(emoji) == emoji for emoji in listed)
    hearts = {groups.group(groups.parse(name), groups.read_groups()) for name in ("2764-fe0f", "1f499", "1f49a")}
    assert len(hearts) == 1


def test_a_group_is_on_one_side_which_depends_on_nothing_but_its_name(module: Module) -> None:
    groups = module("emoji_groups")
    near = {(0x1F602,): (0x1F601,), (0x1F601,): (0x1F601,)}
    tones = range(0x1F3FB, 0x1F400)
    emoji = [(number, *tone) for number in range(0x1F600, 0x1FA00) for tone in [(), *((tone,) for tone in tones)]]
    sides = groups.split(emoji, near)
    assert len({(sides[one], groups.group(one, near)) for one in emoji}) == len(
        {groups.group(one, near) for one in emoji}
    )
    assert sides[0x1F601,] == sides[0x1F602, 0x1F3FF]
    assert groups.split(reversed(emoji[600:]), near).items() <= sides.items()
    shares = [[*sides.values()].count(side) / len(sides) for side in groups.SIDES]
    # Three standard deviations of the share of 1024 groups.
    assert shares == [
        pytest.approx(expected, abs=3 * (expected * (1 - expected) / 1024) ** 0.5) for expected in (0.8, 0.1, 0.1)
    ]


def test_a_group_too_large_to_hold_out_is_for_training(module: Module) -> None:
    groups = module("emoji_groups")
    held_out = next(n for n in range(0x1F600, 0x1F700) if groups.split([(n,)], {})[n,] != "train")
    distinct = [(number,) for number in range(5000, 5000 + groups.LARGEST + 1)]
    near = dict.fromkeys(distinct, (held_out,))
    assert set(groups.split(distinct, near).values()) == {"train"}
    assert set(groups.split(distinct[1:], near).values()) != {"train"}


def test_drawings_that_are_a_pixel_apart_are_near_duplicates(module: Module) -> None:
    def disc(x: int) -> np.ndarray:
        image = Image.new("L", (64, 64), 255)
        ImageDraw.Draw(image).ellipse((x - 20, 12, x + 20, 52), outline=0)
        return np.asarray(image)

    square = np.full((64, 64), 255, np.uint8)
    square[[10, 50], 10:50] = square[10:50, [10, 50]] = 0
    near_duplicates = module("near_duplicates").near_duplicates
    drawings = {(1,): disc(30), (2,): square, (3,): disc(31), (4,): disc(42)}
    assert near_duplicates(drawings) == [[(1,), (3,)]]
    drawings[2, 0x1F3FB] = disc(43)  # a variant, which is of the kind of the square
    assert near_duplicates(drawings) == [[(1,), (3,)], [(2,), (4,)]]


# Drawings


@pytest.mark.parametrize(("size", "sigma"), [(64, 0.8), (256, 2.0)])
@pytest.mark.parametrize("colour", ["white", "black", "#ffd000"])
def test_the_edges_of_a_disc_are_its_outline(colour: str, size: int, sigma: float, module: Module) -> None:
    large = Image.new("RGBA", (8 * size, 8 * size))
    radius = 0.3 * size
    ImageDraw.Draw(large).ellipse([8 * (size / 2 + sign * radius) for sign in (-1, -1, 1, 1)], colour)
    picture = np.asarray(large.convert("RGBa").resize((size, size), Image.Resampling.BOX).convert("RGBA"))
    rows, columns = np.nonzero(module("line_drawing").line_drawing(picture, sigma) == 0)
    x, y = columns + 0.5 - size / 2, rows + 0.5 - size / 2
    # A pixel has the edge in it or in a neighbour along the gradient, which is a pixel away.
    assert np.abs(np.hypot(x, y) - radius).max() < 1
    angles = np.sort(np.arctan2(y, x))
    assert (
        np.diff(angles, append=angles[0] + 2 * np.pi).max() < 2.5 / radius
    )  # no gap: at most a diagonal step and a bit
    assert len(angles) < 1.5 * 2 * np.pi * radius  # one pixel thin


def test_two_colours_of_equal_brightness_have_an_edge_and_hidden_colours_none(module: Module) -> None:
    draw = module("line_drawing").line_drawing
    picture = np.zeros((40, 40, 4), np.uint8)
    picture[..., 3] = 255
    picture[:, :20], picture[:, 20:] = (200, 0, 100, 255), (0, 200, 100, 255)
    inner = draw(picture, 1.0)[5:-5, 5:-5]
    assert [*np.flatnonzero((inner == 0).all(0))] in ([14], [15]) and (inner == 0).any(0).sum() == 1
    picture[..., 3] = 0
    assert (draw(picture, 1.0) == 255).all()


# Folders


def test_pairs_have_the_drawing_on_the_left_and_the_picture_on_white_on_the_right(
    module: Module, commands: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands["edges2emoji"].main(arguments(tmp_path, 64)) == 0
    files = [*(tmp_path / "out").glob("*/*.png")]
    assert {file.parent.name for file in files} == {"train", "val", "test"}
    assert sorted(int(file.stem, 16) for file in files) == [*NUMBERS]
    assert f"train {sum(file.parent.name == 'train' for file in files)}, val" in capsys.readouterr().out
    for file in files[::10]:
        pair = np.asarray(Image.open(file))
        assert pair.shape == (64, 128, 3)
        picture = shape(int(file.stem, 16))
        expected = Image.new("RGB", picture.size, "white")
        expected.paste(picture, mask=picture.getchannel("A"))
        np.testing.assert_array_equal(pair[:, 64:], np.asarray(expected))
        drawing = pair[:, :64]
        assert set(np.unique(drawing)) == {0, 255} and (drawing == drawing[..., :1]).all()
        circle = 2 * np.pi * radius_of(int(file.stem, 16))
        assert 0.85 * circle < (drawing[..., 0] == 0).sum() < 1.5 * circle  # straight, and with corners
    assert "Microsoft" in (tmp_path / "out" / "LICENSES.txt").read_text()
    groups, near = module("emoji_groups"), module("emoji_groups").read_groups()
    listed = dict(line.split() for line in (tmp_path / "out" / "groups.txt").read_text().splitlines())
    assert listed == {file.stem: groups.file_name(groups.group(groups.parse(file.stem), near)) for file in files}


def test_photographs_are_on_one_side_and_test_crops_cover_theirs(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = module("photographs")
    monkeypatch.setattr(module("folders").signal, "signal", lambda *handler: None)
    assert photographs.main([str(tmp_path / "out"), "--size", "64"]) == 0
    files = {phase: sorted((tmp_path / "out" / phase).iterdir()) for phase in ("train", "val", "test")}
    names = {phase: {file.stem.rpartition("_")[0] for file in found} for phase, found in files.items()}
    assert names == {phase: {Path(name).stem for name in given} for phase, given in photographs._SPLIT.items()}
    listed = dict(line.split() for line in (tmp_path / "out" / "groups.txt").read_text().splitlines())
    assert all(listed[file.stem] == file.stem.rpartition("_")[0] for found in files.values() for file in found)
    photograph = np.asarray(Image.open(photographs.photograph_folder() / "chelsea.png"))
    crops = [np.asarray(Image.open(file)) for file in files["test"] if file.stem.startswith("chelsea")]
    rows, columns = (side // 64 for side in photograph.shape[:2])
    assert len(crops) == rows * columns
    for number, pair in enumerate(crops):
        y, x = 64 * (number // columns), 64 * (number % columns)
        np.testing.assert_array_equal(pair[:, 64:], photograph[y : y + 64, x : x + 64])
        assert pair[:, :64].std() < pair[:, 64:].std()  # faded


@pytest.fixture
def flat(commands: dict[str, ModuleType], tmp_path: Path) -> dict[str, dict[str, Image.Image]]:
    """The pictures that ``flat2fluent`` makes, by folder and name."""
    pytest.importorskip("resvg_py")
    assert commands["flat2fluent"].main(arguments(tmp_path)) == 0
    folders = [folder for folder in (tmp_path / "out").iterdir() if folder.is_dir()]
    return {folder.name: {file.stem: Image.open(file) for file in folder.iterdir()} for folder in folders}


def test_unpaired_pictures_have_no_counterpart_in_training_and_one_in_tests(
    module: Module, flat: dict[str, dict[str, Image.Image]], tmp_path: Path
) -> None:
    groups, near = module("emoji_groups"), module("emoji_groups").read_groups()
    assert {*flat} == {side + domain for side in groups.SIDES for domain in "AB"}
    grouped = {
        folder: {groups.group(groups.parse(name), near) for name in pictures} for folder, pictures in flat.items()
    }
    assert not grouped["trainA"] & grouped["trainB"]
    assert flat["valA"].keys() == flat["valB"].keys() and flat["testA"].keys() == flat["testB"].keys()
    assert not (grouped["trainA"] | grouped["trainB"] | grouped["valA"]) & grouped["testA"]
    assert not (grouped["trainA"] | grouped["trainB"]) & grouped["valA"]
    everything = [name for folder in ("trainA", "trainB", "valA", "testA") for name in flat[folder]]
    assert sorted(int(name, 16) for name in everything) == [*NUMBERS[:100]]  # those in both packages
    licences = (tmp_path / "out" / "LICENSES.txt").read_text()
    assert "CC-BY 4.0" in licences and "Microsoft" in licences


def test_flat_pictures_are_drawn_on_white_in_their_colours(flat: dict[str, dict[str, Image.Image]]) -> None:
    for name, picture in flat["testA"].items():
        number, pixels = int(name, 16), np.asarray(picture)
        assert pixels.shape == (32, 32, 3)
        assert (pixels[:, :12] == (37 * number % 256, 91 * number % 256, 0x20)).all()
        assert (pixels[:, 20:] == 255).all()


def test_without_resvg_the_message_says_what_to_install(
    commands: dict[str, ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    assert commands["flat2fluent"].main(arguments(tmp_path)) == 2
    assert "pip install resvg-py" in capsys.readouterr().err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]


def test_a_second_run_verifies_and_changes_nothing(
    commands: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main, out = commands["edges2emoji"].main, tmp_path / "out"
    assert main(arguments(tmp_path)) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main(arguments(tmp_path)) == 0
    assert "verified, nothing to do: train" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert main(arguments(tmp_path, 64)) == 2
    assert '"size": 32' in capsys.readouterr().err
    changed = min((out / "train").iterdir())
    Image.new("RGB", (64, 32)).save(changed)
    assert main(arguments(tmp_path)) == 2
    assert f"train/{changed.name} was changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=lambda e: type(e).__name__
)
def test_an_interrupted_run_leaves_nothing(
    error: BaseException, commands: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise error

    monkeypatch.setattr(commands["edges2emoji"], "line_drawing", fail)
    assert commands["edges2emoji"].main(arguments(tmp_path)) == {KeyboardInterrupt: 130, OSError: 2}[type(error)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]


@pytest.mark.parametrize("size", [15, 257])
def test_a_size_beyond_that_of_the_pictures_is_refused(
    size: int, commands: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands["edges2emoji"].main(arguments(tmp_path, size)) == 2
    assert f"--size {size}: give a number of pixels from 16 to 256" in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(
    commands: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("")
    assert commands["edges2emoji"].main(arguments(tmp_path)) == 2
    assert "is no data set of this command" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
