"""Intervals compared with SciPy, closed forms of the bootstrap, and their definition."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from kd_plugin.errors import ArgumentError, KDError
from kd_plugin.metrics import intervals
from kd_plugin.metrics.intervals import (
    Interval,
    Resamples,
    difference_interval,
    draw_counts,
    mean_interval,
    resample_sums,
    statistic_interval,
)

pytest.importorskip("scipy")
INF = math.inf


def sample(seed: int, count: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=count)


def ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def test_the_mean_has_an_interval_of_the_width_of_its_standard_error() -> None:
    values = sample(1, 2000)
    interval, error = mean_interval(values), values.std() / math.sqrt(len(values))
    assert interval.value == pytest.approx(values.mean(), rel=1e-12)
    # A quantile of R draws has a standard deviation of 0.06 standard errors, sqrt(p (1 - p) / R) / density; 4 of it.
    expected = values.mean() - 1.96 * error, values.mean() + 1.96 * error
    assert ends(interval) == pytest.approx(expected, abs=0.25 * error)


def test_a_skewed_mean_has_a_longer_side_as_bca_gives_it() -> None:
    low, high = ends(mean_interval(sample(1, 30)))
    middle = sample(1, 30).mean()
    assert high - middle > middle - low


def test_the_same_seed_gives_the_same_interval_and_another_one_does_not() -> None:
    assert mean_interval(sample(1), 3) == mean_interval(sample(1), 3) != mean_interval(sample(1), 4)


def test_equal_values_have_an_interval_of_zero_width() -> None:
    assert mean_interval(np.full(7, 0.1)) == Interval(0.1, 0.1, 0.1)


def test_one_image_has_no_interval() -> None:
    interval = mean_interval(np.array([3.0]))
    assert interval.value == 3 and all(map(math.isnan, ends(interval)))
    assert all(map(math.isnan, ends(statistic_interval(lambda indices: 1.0, 1))))
    assert all(map(math.isnan, ends(resample_sums(np.ones((1, 2)), lambda sums: sums)[0].interval())))


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0, 1.0, 2.0], [0.0, 1.0], [1e300, 1e300, -1e300]])
def test_unusual_values_have_finite_intervals_around_the_mean(values: list[float]) -> None:
    interval = mean_interval(np.array(values))
    assert interval.low <= interval.value <= interval.high and all(map(math.isfinite, ends(interval)))


def test_infinite_values_make_the_mean_infinite_and_the_ends_where_draws_have_them() -> None:
    """A draw of N images misses one of them with the probability (1 - 1/N)^N, more than the lower tail."""
    values = np.array([*sample(1, 20), INF])
    interval = mean_interval(values)
    assert interval.value == interval.high == INF and values[:-1].min() < interval.low < values[:-1].max()
    many = np.array([*sample(1, 10), *[INF] * 10])  # missed by 0.001 of the draws
    assert mean_interval(many) == Interval(INF, INF, INF) == mean_interval(np.full(3, INF))
    assert mean_interval(-many) == Interval(-INF, -INF, -INF)
    assert all(map(math.isnan, ends(mean_interval(np.array([INF, -INF, 1.0])))))
    assert math.isnan(mean_interval(np.array([math.nan, 1.0])).value)


def test_the_difference_is_paired() -> None:
    first, noise = sample(1) * 100, sample(2)
    assert difference_interval(first + noise, first).value == pytest.approx(noise.mean())
    assert ends(difference_interval(first + noise, first)) == pytest.approx(ends(mean_interval(noise)))
    infinite = np.array([INF, *first])
    assert difference_interval(infinite, infinite) == Interval(0, 0, 0)


def test_statistics_of_indices_and_of_sums_agree_with_the_mean() -> None:
    """The three draw differently, so their ends differ by the noise of quantiles, 0.06 standard errors a draw."""
    values = np.random.default_rng(5).normal(size=500)
    expected, tolerance = mean_interval(values), 6 * 0.06 * values.std() / math.sqrt(500)
    by_index = statistic_interval(lambda indices: values[indices].mean(), 500)
    by_sums = resample_sums(values[:, None], lambda sums: sums / 500)[0].interval()
    for interval in (by_index, by_sums):
        assert interval.value == pytest.approx(expected.value, rel=1e-9)
        assert ends(interval) == pytest.approx(ends(expected), abs=tolerance)


def test_the_interval_of_a_biased_statistic_contains_its_value() -> None:
    """The square of a mean: in draws it is larger by the variance of the mean, here more than its whole spread."""
    values = np.random.default_rng(1).normal(size=(40, 400))
    values -= values.mean(axis=0)

    def squares(indices: np.ndarray) -> float:
        return float((values[indices].mean(axis=0) ** 2).sum())

    draws = [squares(np.random.default_rng(i).integers(40, size=40)) for i in range(50)]
    interval = statistic_interval(squares, 40, resamples=200)
    assert min(draws) > interval.high  # so that a percentile interval would not contain it
    assert interval.low < interval.value < interval.high


def test_the_reverse_interval_mirrors_the_draws() -> None:
    draws = np.random.default_rng(3).gamma(1.0, size=1000) + 5
    interval, (low, high) = Resamples(2.0, draws).interval(), np.quantile(draws, [0.025, 0.975])
    assert ends(interval) == pytest.approx((2 - (high - draws.mean()), 2 + (draws.mean() - low)))
    assert Resamples(2.0, draws).difference(Resamples(1.0, draws)) == Interval(1, 1, 1)
    with pytest.raises(ArgumentError, match="cannot pair 1000 resamples with 10"):
        Resamples(2.0, draws).difference(Resamples(2.0, draws[:10]))


def test_draws_have_as_many_images_as_the_set_whatever_the_block() -> None:
    whole = np.concatenate(list(draw_counts(11, 50, 7, 50)))
    assert whole.shape == (50, 11) and (whole.sum(axis=1) == 11).all()
    assert np.array_equal(whole, np.concatenate(list(draw_counts(11, 50, 7, 8))))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"one value per image \(N,\), got the shape \(0,\)"):
        mean_interval(np.array([]))
    with pytest.raises(ArgumentError, match="cannot pair 2 images with 3"):
        difference_interval(np.ones(2), np.ones(3))


def test_without_scipy_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(KDError, match=r"need SciPy: pip install \"kd_plugin\[report\]\""):
        mean_interval(sample(1))
    assert intervals.resample_sums(np.ones((3, 1)), lambda sums: sums)[0].value == 3  # needs numpy alone
