"""What a report is of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..networks.translator import Mode
from ..pictures import Preprocessing
from ..progress import Phase
from .experiments import Experiment
from .networks import Loader


@dataclass(frozen=True)
class Settings:
    """What to report, and how.

    Attributes:
        experiments: teacher, if any, and students.
        preprocessing: of inputs and ground truth.
        sections: parts of the report: cost, quality, frequency, relations, stability, samples.
        mode: of checkpoints.
        device: of networks in PyTorch.
        batch: number of images at a time.
        title: heading; "" for one from the names.
        load: loads a checkpoint.
        features: ``package.module:function`` of the network for distances of features; None for Inception.
        inception: file of Inception's weights; None for those of its library.
        distances: whether to compute distances of features.
        lpips: whether to compute LPIPS.
        segmenter: ``package.module:function`` that segments images; None for no scores.
        labels: folder of label maps.
        sizes: sides of the images to measure latency with.
        batches: batches to measure latency with.
        limit: maximum number of inputs.
        names: names of the inputs; None for all.
        command: the command of the report.
        before: completed phases of a program that ends with the report, for its progress line.
    """

    experiments: tuple[Experiment, ...]
    preprocessing: Preprocessing
    sections: tuple[str, ...]
    load: Loader
    mode: Mode = "train"
    device: torch.device = torch.device("cpu")
    batch: int = 8
    title: str = ""
    features: str | None = None
    inception: Path | None = None
    distances: bool = True
    lpips: bool = False
    segmenter: str | None = None
    labels: Path | None = None
    sizes: tuple[int, ...] = (256,)
    batches: tuple[int, ...] = (1,)
    limit: int | None = None
    names: frozenset[str] | None = None
    command: str = ""
    before: tuple[Phase, ...] = ()
