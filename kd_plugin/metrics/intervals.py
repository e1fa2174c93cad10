"""Confidence intervals by bootstrap over images.

The images are the sample: they are drawn again with replacement, and a measure of every such draw is computed. Two
networks are compared by the same draws (paired), as most of the variation between images is common to both.

A mean has the interval of ``scipy.stats.bootstrap``, bias-corrected and accelerated (BCa) where this is defined. A
statistic of the whole set, such as a ratio of sums or a distance of distributions, has the interval of
:class:`Resamples`.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ArgumentError, KDError

RESAMPLES = 2000
_LEVEL = 0.95
_TAILS = ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2)
_BLOCK = 4_000_000  # values of a block of resamples, which bounds the memory


@dataclass(frozen=True)
class Interval:
    """A value and its interval.

    Attributes:
        value: the estimate.
        low: lower end of the 95 % confidence interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resamples:
    r"""A statistic of a set of images, and of sets drawn from it.

    The interval is a reverse percentile interval about the value, with *q* the quantiles and *m* the mean of the
    resamples:

    .. math:: [\text{value} - (q_{0.975} - m), \; \text{value} + (m - q_{0.025})]

    A percentile interval would not do: a draw has fewer distinct images than the set, so that distances between
    distributions are larger in nearly every draw, and the value could be below its own interval. The basic bootstrap
    (with the value in place of *m*) corrects this bias, and as much again for the bias of the value itself, so that
    the value could be above it. This interval has the width of both, and does not correct the bias: it covers
    the expected value for sets of this size, which is what networks measured with the same number of images share.

    Attributes:
        value: the statistic of all images.
        draws: (R,), the statistic of each draw. Resamples with the same seed and the same number of images are of
            the same images.
    """

    value: float
    draws: np.ndarray

    def interval(self) -> Interval:
        """Return the value with its interval, whose ends are NaN if a draw has no finite value."""
        if not (math.isfinite(self.value) and np.isfinite(self.draws).all()):
            return Interval(self.value, math.nan, math.nan)
        low, high = np.quantile(self.draws, _TAILS)
        mean = self.draws.mean()
        return Interval(self.value, float(self.value - (high - mean)), float(self.value + (mean - low)))

    def difference(self, other: Resamples) -> Interval:
        """Return the interval of ``self - other``, paired: both must be of the same draws.

        Raises:
            ArgumentError: If the numbers of draws differ.
        """
        if self.draws.shape != other.draws.shape:
            raise ArgumentError(
                f"cannot pair {len(self.draws)} resamples with {len(other.draws)}: use the same number"
            )
        with np.errstate(invalid="ignore"):  # inf - inf
            return Resamples(self.value - other.value, self.draws - other.draws).interval()


def mean_interval(values: np.ndarray, seed: int = 0) -> Interval:
    """Return the mean over images and its interval.

    ==============================  ==================================================================
    values                          interval
    ==============================  ==================================================================
    finite                          BCa; percentile where the acceleration is not defined
    equal (several images)          zero width
    one image                       NaN: the variation between images is unknown
    with an infinity (PSNR)         percentile of draws: an end is infinite if the draws there are
    with NaN, or both infinities    value and ends are NaN
    ==============================  ==================================================================

    Args:
        values: (N,), a value per image.
        seed: of the draws.

    Raises:
        ArgumentError: If there are no values, or not one per image.
        KDError: If SciPy is not installed.
    """
    values = _checked(values)
    if not np.isfinite(values).all():
        return _infinite_mean(values, seed)
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    if (values == values[0]).all():
        mean = float(values[0])  # without rounding
        return Interval(mean, mean, mean)
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a degenerate BCa gives NaN, which is looked at
            found = (
                _stats()
                .bootstrap(
                    (values,),
                    np.mean,
                    n_resamples=RESAMPLES,
                    batch=max(1, _BLOCK // len(values)),
                    confidence_level=_LEVEL,
                    method=method,
                    random_state=np.random.default_rng(seed),
                )
                .confidence_interval
            )
        if math.isfinite(found.low) and math.isfinite(found.high):
            break
    return Interval(mean, float(found.low), float(found.high))


def difference_interval(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Interval:
    """Return the mean of ``first - second`` over images and its interval, paired.

    Two equal infinities (an image that both networks reproduce exactly) have the difference 0.

    Args:
        first, second: (N,), a value per image, of the same images.
        seed: of the draws.

    Raises:
        ArgumentError: If there are no values, or the numbers of images differ.
        KDError: If SciPy is not installed.
    """
    first, second = _checked(first), _checked(second)
    if len(first) != len(second):
        raise ArgumentError(f"cannot pair {len(first)} images with {len(second)}: measure both networks on the same")
    with np.errstate(invalid="ignore"):  # inf - inf
        return mean_interval(np.where(first == second, 0.0, first - second), seed)


def statistic_interval(
    statistic: Callable[[np.ndarray], float], count: int, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return a statistic of a set of images and its interval (:class:`Resamples`).

    A paired difference is a statistic that computes both values from the same indices.

    Args:
        statistic: takes indices (N,) of images, with repetitions, and returns the value of these images.
        count: number of images N.
        resamples: number of draws: the statistic is called once for each, and once for all images.
        seed: of the draws.
    """
    value = float(statistic(np.arange(count)))
    if count == 1:
        return Interval(value, math.nan, math.nan)
    generator = np.random.default_rng(seed)
    draws = [float(statistic(generator.integers(count, size=count))) for _ in range(resamples)]
    return Resamples(value, np.array(draws)).interval()


def resample_sums(
    sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], resamples: int = RESAMPLES, seed: int = 0
) -> list[Resamples]:
    """Return statistics that are functions of sums over images, such as ratios of sums, and their resamples.

    Args:
        sums: (N, K), numbers of each image that are summed over the images.
        statistic: takes sums (R, K) of R draws and returns (R, S), S statistics of each.
        resamples: number of draws.
        seed: of the draws.

    Returns:
        S statistics. With one image, the draws are NaN.
    """
    sums = np.asarray(sums, dtype=np.float64)
    values = statistic(sums.sum(axis=0, keepdims=True))[0]  # (S,)
    if len(sums) == 1:
        draws = np.full((1, len(values)), math.nan)
    else:
        block = max(1, _BLOCK // max(sums.shape))
        draws = np.concatenate([statistic(w @ sums) for w in draw_counts(len(sums), resamples, seed, block)])
    return [Resamples(float(value), column) for value, column in zip(values, draws.T, strict=True)]


def draw_counts(count: int, resamples: int, seed: int | Sequence[int], block: int) -> Iterator[np.ndarray]:
    """Yield how often each image is in each draw: (R, N), float64, in blocks of R <= ``block`` draws.

    The draws depend on the seed and the number of images only, not on the block.
    """
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ArgumentError(f"expected one value per image (N,), got the shape {values.shape}")
    return values


def _infinite_mean(values: np.ndarray, seed: int) -> Interval:
    """Return the percentile interval if values are infinite, by order statistics, as infinities have no average."""
    with np.errstate(invalid="ignore"):  # inf - inf
        value = float(values.sum())  # inf, -inf or NaN
    if math.isnan(value) or len(values) == 1:
        return Interval(value, math.nan, math.nan)
    infinite = np.isinf(values)
    finite = np.where(infinite, 0.0, values)
    block = max(1, _BLOCK // len(values))
    counts = draw_counts(len(values), RESAMPLES, seed, block)
    means = np.concatenate([np.where(w @ infinite > 0, value, w @ finite / len(values)) for w in counts])
    low, high = np.quantile(means, _TAILS, method="inverted_cdf")
    return Interval(value, float(low), float(high))


def _stats() -> Any:
    try:
        return importlib.import_module("scipy.stats")
    except ImportError:
        raise KDError('confidence intervals need SciPy: pip install "kd_plugin[report]"') from None
