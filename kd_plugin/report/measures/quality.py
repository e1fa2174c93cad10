"""Columns of image quality: what differs from the ground truth, or from the teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import combinations

import numpy as np
import torch

from ...errors import KDError
from ...metrics.features import PerceptualNetwork
from ...metrics.intervals import Interval, difference_interval, mean_interval
from ...metrics.quality import l1_error, psnr, ssim
from ..measuring import Batch, Measured, Part
from ..results import Difference, Measure, Subject

# dB. The noise of rounding is a twelfth of a squared step of 1/255. Without a limit, one image that is equal to its
# reference, such as a black one, would make the mean infinite.
MOST_PSNR = 10 * math.log10(12 * 255**2)

# Title, unit, whether higher is better, decimals, library if it is not scikit-image.
_COLUMNS = (
    ("PSNR", "dB", True, 2, f"kd_plugin, range 1, at most {MOST_PSNR:.1f} dB: the rounding to 8 bits"),
    ("SSIM", "", True, 3, ""),
    ("L1", "", False, 4, "kd_plugin, mean absolute difference, range 1"),
)


@dataclass(frozen=True)
class Reference:
    """What images are compared with.

    Attributes:
        key: key of the subject.
        label: ``"ground truth"`` or ``"teacher"``.
    """

    key: str
    label: str


def references(subjects: Sequence[Subject]) -> list[Reference]:
    """Return the references among the subjects."""
    labels = {"truth": "ground truth", "teacher": "teacher"}
    return [Reference(s.key, labels[s.role]) for role in labels for s in subjects if s.role == role]


def compared(subjects: Sequence[Subject], reference: Reference) -> tuple[str, ...]:
    """Return the keys of the subjects that are compared with a reference."""
    return tuple(s.key for s in subjects if s.key != reference.key and s.role != "truth")


def quality_part(subjects: Sequence[Subject], reference: Reference) -> Part:
    """Return the part that computes PSNR, SSIM and L1 of each image."""
    return Part(f"quality 2, {_library()}", _quality, compared(subjects, reference), reference.key)


def _quality(batch: Batch) -> list[np.ndarray]:
    pairs = zip(torch.split(batch.images, 1), torch.split(batch.reference, 1), strict=True)
    return [np.array([min(psnr(*pair), MOST_PSNR), ssim(*pair), l1_error(*pair)]) for pair in pairs]


def quality_measures(
    measured: Measured, protocol: dict[str, str], part: Part, reference: Reference, subjects: Sequence[Subject]
) -> list[Measure]:
    """Return the columns of :func:`quality_part`."""
    arrays = measured.arrays[part.name, part.against]
    measures = []
    for column, (title, unit, higher, digits, library) in enumerate(_COLUMNS):
        values = {key: array[:, column] for key, array in arrays.items()}
        named = {"library": library or _library(), **protocol}
        measures.append(_mean_measure(title, unit, higher, digits, reference, values, subjects, named))
    return measures


def lpips_part(network: PerceptualNetwork, subjects: Sequence[Subject], reference: Reference) -> Part:
    """Return the part that computes the LPIPS of each image."""
    described = network.description
    name = f"{described.name} 1, {described.library} {described.version}"
    keys = compared(subjects, reference)
    return Part(name, lambda batch: list(network(batch.images, batch.reference)), keys, reference.key)


def lpips_measures(
    measured: Measured,
    protocol: dict[str, str],
    part: Part,
    network: PerceptualNetwork,
    reference: Reference,
    subjects: Sequence[Subject],
) -> list[Measure]:
    """Return the column of :func:`lpips_part`."""
    described = network.description
    named = {"network": described.name, "library": f"{described.library} {described.version}", **protocol}
    values = measured.arrays[part.name, part.against]
    return [_mean_measure("LPIPS", "", False, 4, reference, values, subjects, named)]


def _mean_measure(
    title: str,
    unit: str,
    higher_is_better: bool,
    digits: int,
    reference: Reference,
    values: Mapping[str, np.ndarray],
    subjects: Sequence[Subject],
    protocol: dict[str, str],
) -> Measure:
    """Return the column of a measure of single images."""
    return Measure(
        f"{title.lower()}_{reference.key}",
        title,
        unit,
        higher_is_better,
        reference.label,
        digits,
        {key: mean_interval(array) for key, array in values.items()},
        differences(subjects, list(values), lambda a, b: difference_interval(values[a], values[b])),
        protocol,
    )


def differences(
    subjects: Sequence[Subject], keys: Sequence[str], difference: Callable[[str, str], Interval]
) -> tuple[Difference, ...]:
    """Return the differences of all pairs of networks: students from the teacher, and from each other."""
    networks = [s.key for s in subjects if s.role in ("teacher", "student") and s.key in keys]
    return tuple(Difference(b, a, difference(b, a)) for a, b in combinations(networks, 2))


def _library() -> str:
    try:
        version = metadata.version("scikit-image")
    except metadata.PackageNotFoundError:
        raise KDError('a report needs scikit-image: pip install "kd_plugin[report]"') from None
    return f"scikit-image {version}, Gaussian window, sigma 1.5, range 1"
