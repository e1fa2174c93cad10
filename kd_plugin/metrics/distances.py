r"""Distances between two sets of images, given the features of each image: Frechet and kernel distance.

.. math::
    F &= |\mu_1 - \mu_2|^2 + \operatorname{tr}\big(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2}\big) \\
    K &= \frac{\sum_{i \ne j} k(x_i, x_j)}{n (n - 1)} + \frac{\sum_{i \ne j} k(y_i, y_j)}{m (m - 1)}
         - \frac{2 \sum_{i, j} k(x_i, y_j)}{n m}, \qquad k(x, y) = \Big(\frac{x \cdot y}{D} + 1\Big)^3

With the features of the Inception network, *F* is the FID (Heusel et al., NIPS 2017) and *K* the KID (Binkowski et
al., ICLR 2018). *F* is biased upwards for few images, *K* is not. The KID of the paper and most libraries is the mean
over random subsets of 1,000 images (:func:`kernel_distance_subsets`); here *K* is over all pairs, which has the same
expected value and less variance.

**Frechet distance.** With the centred features as rows of *X* and *Y* (divided by the roots of n - 1 and m - 1), the
trace of the root is the nuclear norm of :math:`X Y^T`, a real number also if a covariance is singular. The rows are
reduced to at most *D* by a QR decomposition, so the singular values are those of a matrix of side min(n, D).

**Intervals.** The functions of resamples return draws of images that are paired between the networks of a call. The
distance of a draw is linear in its numbers of copies of each image (the infinitesimal jackknife: Efron, 1982), with
the exact derivatives at the whole set. With *T* the optimal transport map from the first Gaussian to the second,

.. math::
    \phi_F(x_i) &= 2 (\mu_1 - \mu_2) \cdot (x_i - \mu_1) + (x_i - \mu_1)^T (I - T) (x_i - \mu_1) - \text{mean} \\
    \phi_K(x_i) &= \frac{2 \sum_{j \ne i} k(x_i, x_j)}{n - 1} - \frac{2 \sum_j k(x_i, y_j)}{m} - \text{mean}

and a draw has the distance of the set plus the mean of :math:`\phi` over its images. :math:`T (x_i - \mu_1)` is
computed from singular vectors and defined for singular covariances too. Distances computed anew for every draw would
take seconds each with 2,048 features, and be worse: copies of an image count as evidence there. For Gaussians with 16
to 256 features and 40 to 500 images, the standard deviation of such draws was 1.3 to 2 times that of independent sets
for *F* and 1.3 to 1.7 times for *K* (pairs of copies left out), that of linear draws 1.0 to 1.5 times for both: the
intervals are rather too wide than too narrow. Of two networks of equal quality, the paired difference of either
distance excluded 0 in 1 to 5 of 100 trials.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ArgumentError
from .intervals import RESAMPLES, Resamples, draw_counts

SMALL_SET = 2000  # images below which a Frechet distance has a note on its bias
_ROWS = 512  # rows of a kernel matrix at a time
_BIAS_FRACTIONS = (1.0, 3 / 4, 3 / 5, 1 / 2)  # 1 / f is equidistant
_BIAS_REPEATS = 3


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Frechet distance of Gaussians with the mean and covariance of the features.

    Args:
        first, second: features (N, D) and (M, D) of two sets of images, N, M >= 2.

    Returns:
        A value of 0 or more; lower is better.

    Raises:
        ArgumentError: If the shapes do not fit or a feature is not finite.
    """
    first, second = _checked(first, second)
    (mean, rows), (mean_2, rows_2) = _centred(first), _centred(second)
    shared = np.linalg.svd(_factor(rows) @ _factor(rows_2).T, compute_uv=False).sum()
    return _frechet(mean, mean_2, rows, rows_2, shared)


def frechet_resamples(
    firsts: Sequence[np.ndarray],
    second: np.ndarray,
    paired: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Resamples]:
    """Return the Frechet distance of several networks from one reference, resampled.

    Images are drawn from both sets, so that the intervals include the noise of the reference, which is common to all
    networks and cancels in their differences. The draws are linear (see the module's docstring).

    Args:
        firsts: features (N, D) of each network for the same N inputs.
        second: features (M, D) of the reference.
        paired: whether the reference's images belong to the same inputs, such as the teacher's: they are then drawn
            with them.
        resamples: number of draws.
        seed: of the draws.

    Raises:
        ArgumentError: As :func:`frechet_distance`; or the numbers of images differ.
    """
    _check_counts(firsts, second, paired)
    found = []
    for features in firsts:
        value, influence, influence_2 = frechet_influences(features, second)
        found.append(_resampled(value, influence, influence_2, paired, resamples, seed))
    return found


def frechet_influences(first: np.ndarray, second: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the Frechet distance, and what each image adds to it: the influences of the module's docstring.

    A set drawn from these images has the distance plus the mean of its images' influences, to first order. So
    intervals, also of functions of several distances, can be computed without the features.

    Args:
        first, second: features (N, D) and (M, D) of two sets of images, N, M >= 2.

    Returns:
        The distance, and the influences (N,) and (M,) of the images of the two sets, each of mean 0.

    Raises:
        ArgumentError: As :func:`frechet_distance`.
    """
    first, second = _checked(first, second)
    (mean, rows), (mean_2, rows_2) = _centred(first), _centred(second)
    (basis, factor), (basis_2, factor_2) = _reduced(rows), _reduced(rows_2)
    left, values, right = np.linalg.svd(factor @ factor_2.T, full_matrices=False)
    influences = []
    for direction, own, base, vectors in (
        (mean - mean_2, rows, basis, left),
        (mean_2 - mean, rows_2, basis_2, right.T),
    ):
        projected = vectors if base is None else base @ vectors  # (N, S)
        # N times, as these are parts of a sum over images, and the influence is that of a mean.
        quadratic = len(own) * ((own**2).sum(axis=1) - (projected**2 * values).sum(axis=1))
        linear = 2 * np.sqrt(len(own) - 1) * (own @ direction)
        influences.append(linear + quadratic - quadratic.mean())
    return _frechet(mean, mean_2, rows, rows_2, values.sum()), influences[0], influences[1]


def frechet_bias(first: np.ndarray, second: np.ndarray, paired: bool = False, seed: int = 0) -> float:
    r"""Estimate the bias of the Frechet distance for these numbers of images.

    The bias is proportional to the inverse of the number of images, to first order (Chong and Forsyth, "Effectively
    Unbiased FID and Inception Score and Where to Find Them", CVPR 2020). So the distance of random fractions *f* of
    both sets lies on a line in :math:`1 / f`, whose slope is the bias at :math:`f = 1`. With fewer images than
    features, higher orders matter, and this is rather the least that the bias can be.

    Args:
        first, second: features (N, D) and (M, D), N, M >= 4.
        paired: whether the images belong to the same inputs; the same fractions are then chosen.
        seed: of the choice.
    """
    first, second = _checked(first, second)
    if min(len(first), len(second)) < 4:
        raise ArgumentError(f"the bias of {min(len(first), len(second))} images cannot be estimated: give 4 or more")
    generator = np.random.default_rng(seed)
    inverses, distances = [], []
    for fraction in _BIAS_FRACTIONS:
        for _ in range(_BIAS_REPEATS if fraction < 1 else 1):
            chosen = generator.permutation(len(first))[: round(fraction * len(first))]
            other = chosen if paired else generator.permutation(len(second))[: round(fraction * len(second))]
            inverses.append(len(first) / len(chosen))
            distances.append(frechet_distance(first[chosen], second[other]))
    slope, _ = np.polyfit(inverses, distances, 1)
    return float(slope)


def frechet_bias_note(first: np.ndarray, second: np.ndarray, paired: bool = False, seed: int = 0) -> str:
    """Return a sentence on the bias of the Frechet distance of fewer than 2,000 images; empty for more.

    Args:
        first, second, paired, seed: as in :func:`frechet_bias`.
    """
    count = min(len(first), len(second))
    if count >= SMALL_SET:
        return ""
    if count < 4:
        return f"The Frechet distance of {count} images is mostly bias."
    value, bias = frechet_distance(first, second), frechet_bias(first, second, paired, seed)
    share = f" ({bias / value:.0%})" if 0 < bias < value else ""
    least = "at least " if count <= np.shape(first)[1] else ""  # higher orders matter
    return (
        f"The Frechet distance of {count} images is biased: of {value:.4g}, {least}about {bias:.3g}{share} would "
        f"vanish with more images. Compare it only with distances of as many images."
    )


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased squared maximum mean discrepancy with the cubic polynomial kernel, over all pairs.

    Args:
        first, second: features (N, D) and (M, D) of two sets of images, N, M >= 2.

    Returns:
        A value that may be slightly negative for equal distributions; lower is better.

    Raises:
        ArgumentError: If the shapes do not fit or a feature is not finite.
    """
    first, second = _checked(first, second)
    between, _ = _kernels_between(first, second)
    return float(_kernels_within(first).mean() + _kernels_within(second).mean() - 2 * between.mean())


def kernel_resamples(
    firsts: Sequence[np.ndarray],
    second: np.ndarray,
    paired: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Resamples]:
    """Return the kernel distance of several networks from one reference, resampled.

    As :func:`frechet_resamples`. The kernel matrices are computed in blocks of rows, so memory does not grow with
    their size.

    Args:
        firsts: features (N, D) of each network for the same N inputs.
        second: features (M, D) of the reference.
        paired: whether the reference's images belong to the same inputs; they are then drawn with them.
        resamples: number of draws.
        seed: of the draws.

    Raises:
        ArgumentError: As :func:`kernel_distance`; or the numbers of images differ.
    """
    _check_counts(firsts, second, paired)
    found, within_2 = [], None
    for features in firsts:
        features, second = _checked(features, second)
        within, (between, between_2) = _kernels_within(features), _kernels_between(features, second)
        within_2 = _kernels_within(second) if within_2 is None else within_2
        value = float(within.mean() + within_2.mean() - 2 * between.mean())
        influence, influence_2 = 2 * (within - between), 2 * (within_2 - between_2)
        influence, influence_2 = influence - influence.mean(), influence_2 - influence_2.mean()
        found.append(_resampled(value, influence, influence_2, paired, resamples, seed))
    return found


def kernel_distance_subsets(
    first: np.ndarray, second: np.ndarray, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """Return mean and standard deviation of the kernel distance over random subsets, the protocol of the KID's paper.

    With its default seed, torch-fidelity chooses the same subsets. The standard deviation is that of a subset, not
    of the mean: it says nothing about the noise of the result.

    Args:
        first, second: features (N, D) and (M, D).
        subsets: number of subsets.
        size: images in each.
        seed: of the choice.

    Raises:
        ArgumentError: If there are fewer images than ``size``; or as :func:`kernel_distance`.
    """
    first, second = _checked(first, second)
    if min(len(first), len(second)) < size:
        raise ArgumentError(f"subsets of {size} images need as many, got {len(first)} and {len(second)}")
    generator = np.random.RandomState(seed)
    distances = []
    for _ in range(subsets):
        chosen = [generator.choice(len(features), size, replace=False) for features in (first, second)]
        distances.append(kernel_distance(first[chosen[0]], second[chosen[1]]))
    return float(np.mean(distances)), float(np.std(distances))


def _checked(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    for features in (first, second):
        if np.ndim(features) != 2 or len(features) < 2:
            raise ArgumentError(f"expected features (N, D) of two or more images, got the shape {np.shape(features)}")
    if first.shape[1] != second.shape[1]:
        raise ArgumentError(f"the two sets have {first.shape[1]} and {second.shape[1]} features: use one network")
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    for features in (first, second):
        if not np.isfinite(features).all():
            image = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
            raise ArgumentError(f"the features of image {image} are not finite: leave it out")
    return first, second


def _check_counts(firsts: Sequence[np.ndarray], second: np.ndarray, paired: bool) -> None:
    counts = {len(features) for features in firsts} | ({len(second)} if paired else set())
    if len(counts) != 1:
        raise ArgumentError(
            f"cannot pair sets of {' and '.join(map(str, sorted(counts)))} images: use the images of the same inputs"
        )


def _centred(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (D,) and rows (N, D) whose Gram matrix is the covariance."""
    mean = features.mean(axis=0)
    return mean, (features - mean) / np.sqrt(len(features) - 1)


def _frechet(mean: np.ndarray, mean_2: np.ndarray, rows: np.ndarray, rows_2: np.ndarray, shared: float) -> float:
    distance = ((mean - mean_2) ** 2).sum() + (rows**2).sum() + (rows_2**2).sum() - 2 * shared
    return max(0.0, float(distance))  # equal sets: rounding may leave a negative value


def _factor(rows: np.ndarray) -> np.ndarray:
    """Return rows (at most D, D) with the same Gram matrix."""
    return np.asarray(np.linalg.qr(rows, mode="r")) if len(rows) > rows.shape[1] else rows


def _reduced(rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Return an orthonormal basis (N, D) of the rows' space and a factor (D, D); None and the rows if N <= D."""
    if len(rows) <= rows.shape[1]:
        return None, rows
    basis, factor = np.linalg.qr(rows)
    return basis, factor


def _resampled(
    value: float, influence: np.ndarray, influence_2: np.ndarray, paired: bool, resamples: int, seed: int
) -> Resamples:
    """Return linear draws: the value, plus the means of what each image of the draw adds."""
    if paired:
        draws = _mean_draws(influence + influence_2, resamples, seed)
    else:
        draws = _mean_draws(influence, resamples, seed) + _mean_draws(influence_2, resamples, [seed, 1])
    return Resamples(value, value + draws)


def _mean_draws(influence: np.ndarray, resamples: int, seed: int | Sequence[int]) -> np.ndarray:
    block = max(1, 4_000_000 // len(influence))
    counts = draw_counts(len(influence), resamples, seed, block)
    return np.concatenate([drawn @ influence for drawn in counts]) / len(influence)


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    kernel: np.ndarray = first @ second.T
    kernel /= first.shape[1]
    kernel += 1
    kernel *= kernel * kernel
    return kernel


def _kernels_within(features: np.ndarray) -> np.ndarray:
    """Return the mean kernel of each image with all others, (N,)."""
    sums = np.zeros(len(features))
    for start in range(0, len(features), _ROWS):
        stop = min(start + _ROWS, len(features))
        kernel = _kernel(features[start:stop], features[start:])
        np.fill_diagonal(kernel, 0)
        sums[start:stop] += kernel.sum(axis=1)
        sums[stop:] += kernel[:, stop - start :].sum(axis=0)  # the matrix is symmetric
    return sums / (len(features) - 1)


def _kernels_between(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean kernel of each image with all of the other set, (N,) and (M,)."""
    rows, columns = np.zeros(len(first)), np.zeros(len(second))
    for start in range(0, len(first), _ROWS):
        kernel = _kernel(first[start : start + _ROWS], second)
        rows[start : start + _ROWS] = kernel.mean(axis=1)
        columns += kernel.sum(axis=0) / len(first)
    return rows, columns
