"""Wavelet bands against PyWavelets, spectra against closed forms, and maps of detail that is known to be missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt
import torch

from kd_plugin.errors import ArgumentError
from kd_plugin.metrics.frequency import (
    BandSums,
    band_sums,
    join_band_sums,
    missing_detail,
    power_spectrum,
    radial_spectrum,
)
from kd_plugin.metrics.quality import band_errors


def batch(seed: int, shape: tuple[int, ...] = (3, 3, 24, 32)) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_sums_of_bands_are_those_of_pywavelets(wavelet: str) -> None:
    generated, real = batch(1, (3, 3, 25, 32)), batch(2, (3, 3, 25, 32))
    found = band_sums(generated, real, 2, wavelet)
    assert found.names == ("LL2", "LH2", "HL2", "HH2", "LH1", "HL1", "HH1")
    for image in range(3):
        transforms = [pywt.wavedec2(x[image].numpy(), wavelet, mode="zero", level=2) for x in (generated, real)]
        (g, r) = ([approximation, *coarse, *fine] for approximation, coarse, fine in transforms)
        assert found.difference[image] == pytest.approx([np.abs(a - b).sum() for a, b in zip(g, r, strict=True)])
        assert found.real[image] == pytest.approx([np.abs(b).sum() for b in r])


def test_errors_of_one_level_are_those_of_the_quality_measures() -> None:
    generated, real = batch(1), batch(2)
    found, expected = band_sums(generated, real, 1).errors(), band_errors(generated, real)
    assert found == {"LL1": expected.LL, "LH1": expected.LH, "HL1": expected.HL, "HH1": expected.HH}


def test_sums_of_batches_join_to_those_of_all_images() -> None:
    generated, real = batch(1), batch(2)
    parts = [band_sums(generated[part], real[part]) for part in (slice(0, 2), slice(2, 3))]
    joined, whole = join_band_sums(parts), band_sums(generated, real)
    assert joined.names == whole.names
    assert np.array_equal(joined.difference, whole.difference) and np.array_equal(joined.real, whole.real)
    with pytest.raises(ArgumentError, match="cannot join sums of different bands"):
        join_band_sums([whole, band_sums(generated, real, 1)])


def test_the_draws_of_a_ratio_have_its_delta_method_error() -> None:
    """The error of a ratio of sums is that of the mean of (d - e r) / mean(r), to first order in 1 / N."""
    generator = np.random.default_rng(1)
    real = generator.uniform(1, 2, size=(400, 1))
    difference = 0.3 * real + generator.normal(size=(400, 1)) * 0.05
    found = BandSums(("HH1",), difference, real).resamples()["HH1"]
    error = difference.sum() / real.sum()
    assert found.value == pytest.approx(error)
    expected = ((difference - error * real) / real.mean()).std() / math.sqrt(400)
    # A standard deviation of 2,000 draws has one of 1 / sqrt(4000); five of these.
    assert found.draws.std() == pytest.approx(expected, rel=5 / math.sqrt(4000))


def test_empty_bands_have_the_error_zero_if_both_are_empty_else_infinity() -> None:
    even = torch.full((2, 1, 8, 8), 0.5, dtype=torch.float64)
    assert band_sums(even, even).errors()["HH1"] == 0
    errors = band_sums(batch(1, (2, 1, 8, 8)), even).errors()
    assert errors["HH1"] == math.inf and errors["LL3"] < 1
    assert math.isnan(band_sums(batch(1, (2, 1, 8, 8)), even).resamples()["HH1"].interval().low)
    assert band_sums(even, batch(1, (2, 1, 8, 8))).errors()["HH1"] == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (1, 1, 15, 22)])
def test_the_mean_of_the_spectrum_is_the_variance_under_the_window(shape: tuple[int, ...]) -> None:
    images = batch(1, shape)
    height, width = shape[2:]
    window = np.outer(*(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side) for side in (height, width)))
    values = images.numpy()
    centred = values - ((values * window).sum((2, 3)) / window.sum())[..., None, None]
    expected = ((centred * window) ** 2).sum((2, 3)) / (window**2).sum()
    found = power_spectrum(images)
    assert found.mean((1, 2)).numpy() == pytest.approx(expected.mean(axis=1), rel=1e-12)
    assert found[:, 0, 0].numpy() == pytest.approx(0, abs=1e-25)


def test_white_noise_has_a_flat_spectrum() -> None:
    """Except at the lowest ring, where the window leaks the mean's frequency, which was removed."""
    count, noise = 100, batch(1, (100, 1, 32, 32))
    frequencies, power = radial_spectrum(noise)
    assert frequencies == pytest.approx(np.arange(1, 17) / 32) and power.shape == (count, 16)
    error = power.std(axis=0) / math.sqrt(count)
    assert (np.abs(power.mean(axis=0) - 1 / 12)[2:] < 4 * error[2:]).all()


@pytest.mark.parametrize(("across", "down"), [(5, 0), (0, 9), (6, 8)])
def test_a_sinusoid_peaks_at_its_frequency(across: int, down: int) -> None:
    """With a Hann window over N samples, it is in the frequencies within 1 / N, and nowhere else."""
    y, x = torch.meshgrid(*[torch.arange(32.0, dtype=torch.float64)] * 2, indexing="ij")
    image = 0.5 + 0.4 * torch.cos(2 * math.pi * (across * x + down * y) / 32)
    frequencies, power = radial_spectrum(image[None, None])
    radius = math.hypot(across, down)
    assert frequencies[power[0].argmax()] == radius / 32
    far = np.abs(frequencies * 32 - radius) > math.sqrt(2) + 0.5
    assert far.any() and power[0][far].max() < 1e-12 * power.max()


def test_a_trend_across_the_image_does_not_cover_the_high_frequencies() -> None:
    """Without a window, the spectrum of a ramp falls as 1 / f^2 only."""
    ramp = torch.linspace(0, 1, 64, dtype=torch.float64).expand(1, 1, 64, 64)
    _, power = radial_spectrum(ramp)
    assert power[0, -1] < 1e-6 * power[0, 0]


def test_images_of_different_sizes_have_the_same_frequencies_with_the_same_number_of_rings() -> None:
    first, second = radial_spectrum(batch(1), bins=10), radial_spectrum(batch(2, (2, 1, 40, 30)), bins=10)
    assert np.array_equal(first[0], second[0]) and first[1].shape == (3, 10) and np.isfinite(second[1]).all()


def test_missing_detail_is_where_the_generated_image_is_blurred() -> None:
    checkerboard = (torch.arange(8)[:, None] + torch.arange(10)) % 2 * torch.ones(2, 3, 1, 1, dtype=torch.float64)
    blurred = checkerboard.clone()
    blurred[1, :, 2:6, 4:8] = 0.5
    found = missing_detail(blurred, checkerboard)
    assert found.shape == (2, 8, 10) and not found[0].any()
    expected = torch.zeros(8, 10, dtype=torch.float64)
    expected[2:6, 4:8] = 1
    torch.testing.assert_close(found[1], expected)
    assert not missing_detail(checkerboard, blurred).any()  # more detail is not missing
    assert not missing_detail(1 - checkerboard, checkerboard).any()  # nor is detail of another sign


def test_missing_detail_of_odd_sides_has_their_shape_and_no_border() -> None:
    real = torch.full((1, 1, 7, 9), 0.8)
    found = missing_detail(real * 0, real)
    assert found.shape == (1, 7, 9) and found.max() < 1e-15  # rounding


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="the generated images run from 0 to 2"):
        band_sums(torch.tensor([0.0, 2.0]).view(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))
    with pytest.raises(ArgumentError, match="the given images run from -1 to 0"):
        radial_spectrum(torch.tensor([-1.0, 0.0]).expand(1, 1, 2, 2))
    with pytest.raises(ArgumentError, match="bins is 13: images of 32x24 pixels have 1 to 12 rings"):
        radial_spectrum(batch(1), bins=13)
    with pytest.raises(ArgumentError, match="3x3 pixels or more, got 2x9"):
        power_spectrum(torch.zeros(1, 1, 9, 2))
