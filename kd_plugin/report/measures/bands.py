"""The frequency study of the wavelet paper: errors of wavelet bands, and power spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...metrics.frequency import BandSums, band_sums, radial_spectrum
from ...metrics.intervals import Resamples
from ..measuring import Batch, Measured, Part
from ..results import Difference, Frequency, Subject
from .quality import compared, differences, references

_LEVELS, _WAVELET = 3, "haar"
_NAMES = (f"LL{_LEVELS}", *(f"{band}{level}" for level in range(_LEVELS, 0, -1) for band in ("LH", "HL", "HH")))
_RINGS = 32  # of a spectrum; images may have different sizes


class BandStudy:
    """Errors of wavelet bands against the ground truth, or the teacher without one, and power spectra.

    Attributes:
        parts: what is computed for each image.
        label: what the bands are compared with; "" without a reference.
    """

    def __init__(self, subjects: Sequence[Subject]) -> None:
        reference = next(iter(references(subjects)), None)
        self._spectra = Part(f"spectrum 2, {_RINGS}", _spectra, _keys(subjects))
        self.parts = [self._spectra]
        self._subjects = subjects
        self._bands: Part | None = None
        self.label = ""
        if reference:
            name = f"bands 1, {_WAVELET}, {_LEVELS} levels"
            self._bands = Part(name, _sums, compared(subjects, reference), reference.key)
            self.parts.append(self._bands)
            self.label = reference.label

    def finish(self, measured: Measured) -> Frequency:
        """Return the study."""
        sums = measured.arrays[self._bands.name, self._bands.against] if self._bands else {}
        drawn = {key: BandSums(_NAMES, array[:, 0], array[:, 1]).resamples() for key, array in sums.items()}
        spectra = measured.arrays[self._spectra.name, ""]  # (N, 2, F): frequencies and power
        frequencies = next(iter(spectra.values()))[0, 0]
        with np.errstate(divide="ignore"):  # the logarithm of no power
            powers = {key: np.log10(array[:, 1].mean(axis=0)) for key, array in spectra.items()}
        return Frequency(
            self.label,
            _WAVELET,
            {key: {name: errors[name].interval() for name in _NAMES} for key, errors in drawn.items()},
            tuple(map(float, frequencies)),
            {key: tuple(map(float, power)) for key, power in powers.items()},
            {name: self._differences(drawn, name) for name in _NAMES if drawn},
        )

    def _differences(self, drawn: Mapping[str, Mapping[str, Resamples]], name: str) -> tuple[Difference, ...]:
        return differences(self._subjects, list(drawn), lambda a, b: drawn[a][name].difference(drawn[b][name]))


def _keys(subjects: Sequence[Subject]) -> tuple[str, ...]:
    return tuple(subject.key for subject in subjects)


def _sums(batch: Batch) -> list[np.ndarray]:
    found = band_sums(batch.images, batch.reference, _LEVELS, _WAVELET)
    return list(np.stack([found.difference, found.real], axis=1))  # (2, K) each


def _spectra(batch: Batch) -> list[np.ndarray]:
    images = batch.images
    rings = min(_RINGS, *(side // 2 for side in images.shape[2:]))
    frequencies, power = radial_spectrum(images, rings)
    # Small images have fewer rings, and others between them.
    wanted = (np.arange(_RINGS) + 0.5) / (2 * _RINGS)
    return [np.stack([wanted, np.interp(wanted, frequencies, one)]) for one in power]
