"""The frequency study of the wavelet paper: errors of wavelet bands, and power spectra."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..metrics.frequency import band_error_intervals, band_sums, radial_spectrum
from .measuring import Batch, Measured, Part
from .quality import compared, references
from .results import Frequency, Subject

_LEVELS, _WAVELET = 3, "haar"


class BandStudy:
    """Errors of wavelet bands against the ground truth, or the teacher without one, and power spectra."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._reference = next(iter(references(subjects)), None)
        self._bands = self._reference and Part(
            f"bands 1, {_WAVELET}, {_LEVELS} levels", _sums, compared(subjects, self._reference), self._reference.key
        )
        self._spectra = Part("spectrum 1", _spectra, tuple(s.key for s in subjects))
        self.parts = [part for part in (self._bands, self._spectra) if part]

    def finish(self, measured: Measured) -> Frequency:
        """Return the study."""
        bands = {}
        if self._bands:
            arrays = measured.arrays[self._bands.name, self._bands.against]
            bands = {key: band_error_intervals(array, _LEVELS) for key, array in arrays.items()}
        spectra = measured.arrays[self._spectra.name, ""]
        frequencies = next(iter(spectra.values()))[0, 0]
        return Frequency(
            self._reference.label if self._reference else "",
            _WAVELET,
            bands,
            tuple(map(float, frequencies)),
            {key: tuple(map(float, np.log10(array[:, 1].mean(axis=0)))) for key, array in spectra.items()},
        )
