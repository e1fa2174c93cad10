"""Columns of distances between the distributions of features of generated and real images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from ...metrics.distances import frechet_bias_note, frechet_resamples, kernel_resamples
from ...metrics.features import INCEPTION, FeatureNetwork
from ..measuring import Measured, Part
from ..results import Measure, Subject
from .quality import differences

_LEAST = 2  # images


def features_part(network: FeatureNetwork, keys: tuple[str, ...], size: int) -> Part:
    """Return the part that computes the features of each image of about ``size`` pixels.

    Results are stored under the features of a fixed image, so that another network, or other weights, under the same
    name is another part.
    """
    generator = torch.Generator().manual_seed(0)
    features = network(torch.rand(1, 3, size, size, generator=generator))
    name = f"features 1, {network.description.name}, {hashlib.sha256(features.tobytes()).hexdigest()}"
    return Part(name, lambda batch: list(network(batch.images)), keys)


def distance_measures(
    measured: Measured,
    part: Part,
    network: FeatureNetwork,
    real: np.ndarray,
    paired: bool,
    subjects: Sequence[Subject],
    protocol: dict[str, str],
) -> list[Measure]:
    """Return the kernel distance and the Frechet distance; with Inception, they are called KID and FID.

    Args:
        measured: features of the generated images.
        part: the part that computed them.
        network: the network.
        real: features (M, D) of the real images.
        paired: whether the real images are the ground truth of the inputs.
        subjects: for their roles.
        protocol: what the values depend on.
    """
    features = {key: array for key, array in measured.arrays[part.name, ""].items() if key != "truth"}
    if len(measured.items) < _LEAST or len(real) < _LEAST:
        return []
    described = network.description
    is_inception = described.name == INCEPTION
    suffix = "" if is_inception else f" ({described.name})"
    titles = ("KID", "FID") if is_inception else ("kernel distance", "Frechet distance")
    measures = []
    for key, title, resample, digits in (
        ("kernel", titles[0], kernel_resamples, 5),
        ("frechet", titles[1], frechet_resamples, 2),
    ):
        resamples = dict(zip(features, resample(list(features.values()), real, paired), strict=True))
        measures.append(
            Measure(
                f"{key}_real",
                title + suffix,
                "",
                False,
                "real images",
                digits,
                {name: drawn.interval() for name, drawn in resamples.items()},
                differences(subjects, list(resamples), lambda a, b, r=resamples: r[a].difference(r[b])),  # type: ignore[misc]
                {
                    "network": described.name,
                    "library": f"{described.library} {described.version}",
                    "resize": described.resize,
                    **protocol,
                },
                frechet_bias_note(next(iter(features.values())), real, paired) if key == "frechet" else "",
            )
        )
    return measures
