"""Reports of synthetic data, with the files that they refer to."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kd_plugin.metrics.intervals import Interval
from kd_plugin.report.results import (
    Difference,
    Direction,
    Frequency,
    Latency,
    Measure,
    NetworkCost,
    Problem,
    Report,
    Sample,
    Stability,
    Subject,
)

HOSTILE = "<script>hacked='x'</script> & #1 100%?.png"
BANDS = ("LL3", "LH3", "HL3", "HH3", "LH2", "HL2", "HH2", "LH1", "HL1", "HH1")
Pixels = NDArray[np.uint8]


def interval(value: float, spread: float = 0.02) -> Interval:
    """A value with an interval of this relative half-width."""
    half = abs(value) * spread
    return Interval(value, value - half, value + half)


def cost(share: float) -> NetworkCost:
    """Cost of a network with this share of a large one's; the latency falls less than the MACs."""
    latencies = tuple(
        Latency(device, 256, batch, interval(seconds * share**0.6), 40)
        for device, batch, seconds in (("CPU, 2 threads", 1, 1.234), ("NVIDIA H100 80GB HBM3", 1, 0.0061))
    )
    return NetworkCost(
        round(45_533_000 * share),
        round(11_378_179 * share),
        round(56.9e9 * share),
        256,
        round(310e6 * share**0.5),
        latencies,
    )


def make_report(
    folder: Path,
    *,
    students: int = 3,
    names: tuple[str, ...] = ("n02381460_20.jpg", HOSTILE),
    directions: tuple[str, ...] = ("AtoB",),
    photograph: Callable[[int], Pixels] | None = None,
) -> Report:
    """Return a report with all sections, and write its images into the folder."""
    made = tuple(_direction(folder, name, students, names, photograph or _waves) for name in directions)
    return Report(
        "zebra_small beside zebra_big",
        made,
        {"preprocess": "resize_and_crop to 256 px", "versions": "torch 2.13.0, numpy 2.1.0", "networks": "eval mode"},
        (
            Problem("testA/<script>.png", "cannot be read (truncated file): replace it"),
            Problem("FID", "fewer than 2,000 images: see KID", fatal=False),
        ),
        ("A horse becomes a zebra, in three sizes of the generator.",),
        ("kd report --teacher checkpoints/zebra_big --student 'checkpoints/zebra small' -o report",),
    )


def subjects(students: int) -> tuple[Subject, ...]:
    """Input, teacher, students and ground truth."""
    labels = ("zebra_small", "zebra_alone", HOSTILE)
    made = [
        Subject(
            f"student_{n}",
            labels[n] if n < len(labels) else f"zebra_{n}",
            "student",
            f"checkpoints/zebra_{n}",
            f"resnet_9blocks, ngf {24 - 4 * n}",
            cost((24 - 4 * n) ** 2 / 64**2),
        )
        for n in range(students)
    ]
    return (
        Subject("input", "input", "input", "datasets/horse2zebra/testA"),
        Subject("teacher", "zebra_big", "teacher", "checkpoints/zebra_big", "resnet_9blocks, ngf 64", cost(1.0)),
        *made,
        Subject("truth", "ground truth", "truth", "datasets/horse2zebra/testB"),
    )


def _direction(
    folder: Path, name: str, students: int, names: tuple[str, ...], photograph: Callable[[int], Pixels]
) -> Direction:
    who = subjects(students)
    samples = tuple(_sample(folder, name, n, file, who, photograph(n)) for n, file in enumerate(names))
    return Direction(name, 120, "5f" * 32, who, _measures(who), _frequency(who), _stability(who), samples)


def _differences(values: dict[str, Interval], who: tuple[Subject, ...]) -> tuple[Difference, ...]:
    """Each student beside the teacher, then each pair of students; the first two students do not differ."""
    keys = [s.key for s in who if s.role == "student"]
    pairs = [(key, "teacher") for key in keys] + [(a, b) for n, a in enumerate(keys) for b in keys[n + 1 :]]
    made = []
    for a, b in pairs:
        value = values[a].value - values[b].value
        half = abs(value) * (3 if (a, b) == ("student_0", "student_1") else 0.3)
        made.append(Difference(a, b, Interval(value, value - half, value + half)))
    return tuple(made)


def _measures(who: tuple[Subject, ...]) -> tuple[Measure, ...]:
    protocol = {"library": "torch-fidelity 0.3.0", "resize": "none", "images": "120, SHA-256 " + "5f" * 32}
    table = (
        ("kid", "KID × 1000", "", False, "real images", 2, 9.0, 1.5, "computed from 120 images"),  # noqa: RUF001
        ("fid", "FID", "", False, "real images", 1, 77.0, 4.0, "of fewer than 2,000 images: biased upwards"),
        ("psnr", "PSNR", "dB", True, "ground truth", 2, 24.0, -0.8, ""),
        ("ssim", "SSIM", "", True, "ground truth", 4, 0.81, -0.02, ""),
        ("lpips", "LPIPS", "", False, "ground truth", 4, 0.21, 0.02, ""),
        ("psnr_teacher", "PSNR", "dB", True, "teacher", 2, 0.0, 0.0, ""),
        ("l1_teacher", "L1", "", False, "teacher", 4, 0.0, 0.0, ""),
    )
    made = []
    for key, title, unit, up, against, digits, base, step, note in table:
        keys = [s.key for s in who if s.role in ("teacher", "student")]
        values = {k: interval(base + step * n) for n, k in enumerate(keys)}
        if key == "psnr_teacher":
            values = {k: interval(math.inf if n == 0 else 33.0 - n) for n, k in enumerate(keys)}
            values["teacher"] = Interval(math.inf, math.inf, math.inf)
        if key == "l1_teacher":
            values = {
                k: Interval(math.nan, math.nan, math.nan) if n == 0 else interval(0.02 * n)
                for n, k in enumerate(keys)
            }
        differences = _differences(values, who) if against != "teacher" else ()
        made.append(Measure(key, title, unit, up, against, digits, values, differences, protocol, note))
    return tuple(made)


def _frequency(who: tuple[Subject, ...]) -> Frequency:
    bands = {
        s.key: {band: interval(0.1 + 0.09 * n + 0.12 * place, 0.06) for n, band in enumerate(BANDS)}
        for place, s in enumerate(who)
        if s.role not in ("truth", "real")
    }
    frequencies = tuple(float(f) for f in np.linspace(0, 0.5, 65))
    spectra = {
        s.key: tuple(
            -math.inf if f == 0 else 2 - 2.2 * math.log10(f * 128) - (place % 5) * f + 0.05 * math.sin(90 * f)
            for f in frequencies
        )
        for place, s in enumerate(who)
    }
    return Frequency("ground truth", "haar", bands, frequencies, spectra)


def _stability(who: tuple[Subject, ...]) -> tuple[Stability, ...]:
    keys = [s.key for s in who if s.role in ("teacher", "student")]
    made = []
    for title, expected in (("shifted by 1 pixel", 0.0), ("JPEG quality 90", 1.3)):
        values = {key: interval(1.2 + 0.4 * n, 0.05) for n, key in enumerate(keys)}
        made.append(Stability(title, expected, values, _differences(values, who)))
    return tuple(made)


def _waves(number: int, side: int = 64) -> Pixels:
    y, x = np.mgrid[:side, :side] / side
    planes = [np.sin(2 * np.pi * (x * (3 + number) + y * channel)) for channel in range(3)]
    return ((np.stack(planes, -1) + 1) * 127.5).astype(np.uint8)


def _sample(
    folder: Path, direction: str, number: int, name: str, who: tuple[Subject, ...], photograph: Pixels
) -> Sample:
    place = Path("images", f"{direction}_{number}_{name}".replace("/", "_"))
    (folder / place.parent).mkdir(parents=True, exist_ok=True)
    height, width = photograph.shape[:2]

    def save(kind: str, pixels: Pixels) -> str:
        path = place.with_name(f"{place.stem}_{kind}.png").as_posix()
        Image.fromarray(pixels).save(folder / path)
        return path

    images, differences, missing = {}, {}, {}
    for n, subject in enumerate(who):
        factor = {"truth": 1, "teacher": 2}.get(subject.role, n + 1)
        small = Image.fromarray(photograph).resize((max(width // factor, 1), max(height // factor, 1)))
        pixels: Pixels = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
        if subject.role == "input":
            pixels = np.repeat(pixels.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
        images[subject.key] = save(subject.key, pixels)
        if subject.role in ("teacher", "student"):
            change = np.abs(pixels.astype(int) - photograph).mean(-1)
            differences[subject.key] = save(f"{subject.key}_difference", np.clip(change * 4, 0, 255).astype(np.uint8))
            missing[subject.key] = save(f"{subject.key}_missing", np.clip(change * 8, 0, 255).astype(np.uint8))
    relations, grid = {}, (0, 0)
    if number == 0:
        grid = (12, 16)
        relations = {
            s.key: save(f"{s.key}_relations", relation_matrix(photograph, grid, n))
            for n, s in enumerate(who)
            if s.role in ("teacher", "student")
        }
    return Sample(
        name,
        "median of zebra_small: 31.2 dB to the teacher",
        width,
        height,
        images,
        differences,
        missing,
        relations,
        grid,
    )


def relation_matrix(photograph: Pixels, grid: tuple[int, int], noise: float) -> Pixels:
    """Cosine similarities of the mean colours of cells, as 8-bit grey."""
    rows, columns = grid
    cells = np.asarray(Image.fromarray(photograph).resize((columns, rows))).reshape(-1, 3) - 110.0
    cells = cells + np.random.default_rng(0).normal(0, 1 + 8 * noise, cells.shape)
    cells = cells / np.linalg.norm(cells, axis=1, keepdims=True)
    return np.asarray(np.round((cells @ cells.T + 1) * 127.5).clip(0, 255), np.uint8)
