"""The contents of a report: ``report.json`` is these dataclasses, ``index.html`` is drawn from them alone.

Paths are relative to the folder of the report. A value that could not be computed is absent, never a substitute, and
:class:`Problem` says why.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..metrics.intervals import Interval

Role = Literal["input", "teacher", "student", "truth", "real"]


@dataclass(frozen=True)
class Problem:
    """Something that was left out.

    Attributes:
        what: the image, network or measure.
        reason: why, and what to do about it.
        fatal: whether data are missing, so that the exit status is 1; False for a note.
    """

    what: str
    reason: str
    fatal: bool = True


@dataclass(frozen=True)
class Latency:
    """Time of a forward pass.

    Attributes:
        device: name of the device.
        size: side of the images in pixels.
        batch: number of images of a pass.
        seconds: median, with the quartiles as its interval.
        rounds: number of timed passes.
    """

    device: str
    size: int
    batch: int
    seconds: Interval
    rounds: int


@dataclass(frozen=True)
class NetworkCost:
    """Cost of a network.

    Attributes:
        file_size: size of the file in bytes.
        params: number of parameters; None if the format does not tell.
        macs: multiply-accumulates for an image of ``size``; None if they cannot be counted.
        size: side of that image in pixels.
        peak_memory: parameters, buffers and activations in bytes, at the moment of a forward pass with the most.
        latencies: measured times.
    """

    file_size: int
    params: int | None
    macs: int | None
    size: int
    peak_memory: int | None
    latencies: tuple[Latency, ...] = ()


@dataclass(frozen=True)
class Subject:
    """A source of images that the report compares.

    Attributes:
        key: identifier, of letters, digits and "_".
        label: name for the reader; any text.
        role: what it is. ``"input"`` are the unchanged inputs, ``"truth"`` their ground truth.
        source: the path that the user gave.
        description: e.g. ``"resnet_9blocks, ngf 24"`` or ``"finished images"``.
        cost: None for images.
    """

    key: str
    label: str
    role: Role
    source: str = ""
    description: str = ""
    cost: NetworkCost | None = None


@dataclass(frozen=True)
class Difference:
    """A measure's paired difference of two subjects: ``first - second``.

    Attributes:
        first: key of a subject.
        second: key of a subject.
        value: the difference with its interval.
    """

    first: str
    second: str
    value: Interval

    @property
    def exceeds_noise(self) -> bool:
        """Whether the interval excludes 0."""
        return self.value.low > 0 or self.value.high < 0


@dataclass(frozen=True)
class Measure:
    """A column: a measure of every subject.

    Attributes:
        key: identifier, e.g. ``"psnr_teacher"``.
        title: e.g. ``"PSNR"``; of features of a network that is not Inception, the title names it.
        unit: e.g. ``"dB"``; may be empty.
        higher_is_better: direction.
        against: what the images are compared with: ``"ground truth"``, ``"teacher"``, ``"real images"`` or
            ``"labels"``.
        digits: decimals to print.
        values: by key of the subject.
        differences: paired differences of subjects.
        protocol: how it was computed: library, version, network, resize, number and SHA-256 of the images, real set.
        note: a caution about the values; may be empty.
    """

    key: str
    title: str
    unit: str
    higher_is_better: bool
    against: str
    digits: int
    values: dict[str, Interval]
    differences: tuple[Difference, ...] = ()
    protocol: dict[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Frequency:
    """The frequency study of the wavelet paper.

    Attributes:
        against: what the bands are compared with: ``"ground truth"`` or ``"teacher"``.
        wavelet: name of the wavelet.
        bands: by key of the subject, by name of the band (``"LL3"``, ``"LH1"``: band and level, level 1 the finest),
            in order of frequency: normalised L1 error. 0 is perfect, an empty band has the error 1.
        frequencies: radial frequencies in cycles per pixel.
        spectra: by key of the subject: mean power at each frequency, in ``log10``.
        differences: by name of the band: paired differences of the errors of networks.
    """

    against: str
    wavelet: str
    bands: dict[str, dict[str, Interval]]
    frequencies: tuple[float, ...]
    spectra: dict[str, tuple[float, ...]]
    differences: dict[str, tuple[Difference, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Stability:
    """How much outputs change if the input changes in a way that the output should follow.

    Attributes:
        title: the change, e.g. ``"shifted by 1 pixel"``, ``"JPEG quality 90"``.
        expected: change of the input itself, in 8-bit steps (mean absolute difference); 0 for a shift.
        values: by key of the subject: mean absolute difference of the outputs beyond the shift, in 8-bit steps.
        differences: paired differences of subjects.
    """

    title: str
    expected: float
    values: dict[str, Interval]
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Sample:
    """An image of the report.

    Attributes:
        name: name of the input file.
        reason: the rule that chose it, e.g. ``"median of zebra_small: 31.2 dB to the teacher"``.
        width: width of the images in pixels.
        height: height of the images in pixels.
        images: path by key of the subject.
        differences: path of a heat map by key of the subject: absolute difference from the teacher (or ground truth).
        missing_detail: path of a heat map by key of the subject: fine detail that the reference has and it has not.
        relations: path of the relation matrix by key of the subject, a grey PNG of n x n pixels, 0 to 255 for cosine
            similarities -1 to 1, n = ``grid[0] * grid[1]``, rows and columns in raster order.
        grid: height and width of the encoding that the relations are between; (0, 0) without relations.
    """

    name: str
    reason: str
    width: int
    height: int
    images: dict[str, str]
    differences: dict[str, str] = field(default_factory=dict)
    missing_detail: dict[str, str] = field(default_factory=dict)
    relations: dict[str, str] = field(default_factory=dict)
    grid: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Direction:
    """The results of one direction of translation.

    Attributes:
        name: ``"AtoB"`` or ``"BtoA"``.
        images: number of inputs.
        sha256: digest of the inputs.
        subjects: in the order of display: input, teacher, students, truth.
        measures: the columns.
        frequency: None if not asked for.
        stability: one entry per change.
        samples: images to look at.
    """

    name: str
    images: int
    sha256: str
    subjects: tuple[Subject, ...]
    measures: tuple[Measure, ...] = ()
    frequency: Frequency | None = None
    stability: tuple[Stability, ...] = ()
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        title: heading of the page.
        directions: one or, for both directions of a CycleGAN, two.
        settings: what the results depend on, for the reader: preprocessing, mode of the networks, versions, hardware.
        problems: what was left out.
        texts: paragraphs for the top of the page.
        commands: commands that made the results.
    """

    title: str
    directions: tuple[Direction, ...]
    settings: dict[str, str]
    problems: tuple[Problem, ...] = ()
    texts: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON, with None for numbers that are not finite, which JSON does not have."""
        return _finite(asdict(self))  # type: ignore[no-any-return]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
