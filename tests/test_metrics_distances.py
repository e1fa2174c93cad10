"""Distances of feature sets compared with torch-fidelity, SciPy, closed forms, and loops over all pairs."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers.launch import import_torchvision

from kd_plugin.errors import ArgumentError
from kd_plugin.metrics import distances
from kd_plugin.metrics.distances import (
    frechet_bias,
    frechet_bias_note,
    frechet_distance,
    frechet_resamples,
    kernel_distance,
    kernel_distance_subsets,
    kernel_resamples,
)


def gaussian(seed: int, count: int, scales: np.ndarray | int, mean: float = 0.0) -> np.ndarray:
    """Features (N, D) of independent Gaussians."""
    scales = np.ones(scales) if isinstance(scales, int) else scales
    return np.random.default_rng(seed).normal(size=(count, len(scales))) * scales + mean


def standardized(features: np.ndarray) -> np.ndarray:
    """Features whose sample mean is exactly 0 and sample covariance exactly 1."""
    features = features - features.mean(axis=0)
    return features @ np.linalg.inv(np.linalg.cholesky(np.cov(features, rowvar=False))).T


@pytest.fixture(scope="module")
def fidelity() -> dict[str, ModuleType]:
    """The modules of torch-fidelity that compute with given features; importing them needs torchvision."""
    for package in ("torchvision", "torch_fidelity", "tqdm"):
        if not importlib.util.find_spec(package):
            pytest.skip(f"{package} is not installed")
    import_torchvision()
    return {name: importlib.import_module(f"torch_fidelity.{name}") for name in ("metric_fid", "metric_kid")}


@pytest.mark.parametrize(("count", "size"), [(200, 16), (12, 30), (30, 30)])
def test_the_frechet_distance_is_that_of_torch_fidelity(
    fidelity: dict[str, ModuleType], count: int, size: int
) -> None:
    module = fidelity["metric_fid"]
    first, second = gaussian(1, count, size), gaussian(2, count + 5, size, 0.3) * 1.2
    statistics = [module.fid_features_to_statistics(torch.from_numpy(f)) for f in (first, second)]
    expected = module.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    # Its eigenvalues of a product have errors of about 1e-15, so the root of an eigenvalue of 0 one of 1e-7 at most.
    assert frechet_distance(first, second) == pytest.approx(expected, abs=2 * size * 1e-7, rel=1e-9)


def test_the_frechet_distance_is_the_formula_with_the_matrix_root_of_scipy() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    mixing = np.random.default_rng(3).normal(size=(2, 8, 8))
    first, second = gaussian(1, 100, 8) @ mixing[0], gaussian(2, 90, 8, 0.5) @ mixing[1]
    covariances = [np.cov(features, rowvar=False) for features in (first, second)]
    means = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    root = linalg.sqrtm(covariances[0] @ covariances[1])
    expected = means + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(np.real(expected), rel=1e-9)


@pytest.mark.parametrize("rotated", [False, True])
def test_commuting_covariances_have_the_distance_of_their_eigenvalues(rotated: bool) -> None:
    rotation = np.linalg.qr(gaussian(5, 6, 6))[0] if rotated else np.eye(6)
    scales, scales_2 = np.linspace(0.5, 3, 6), np.linspace(2, 0.1, 6)
    first = standardized(gaussian(1, 40, 6)) * scales @ rotation
    second = standardized(gaussian(2, 50, 6)) * scales_2 @ rotation + 0.7
    expected = 6 * 0.7**2 + ((scales - scales_2) ** 2).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [10, 200])
def test_equal_sets_have_no_frechet_distance_and_a_moved_set_has_that_of_the_means(count: int) -> None:
    features = gaussian(1, count, 20)
    rounding = 1e-13 * (features**2).sum()
    assert 0 <= frechet_distance(features, features[::-1]) < rounding
    assert frechet_distance(features, features + 0.5) == pytest.approx(20 * 0.25, abs=rounding)
    assert frechet_distance(features * 0, features) == pytest.approx(
        (features.mean(axis=0) ** 2).sum() + features.var(axis=0, ddof=1).sum()
    )


@pytest.mark.parametrize(("count", "other"), [(40, 30), (8, 30), (8, 7)])
def test_the_linear_draws_have_the_exact_derivative(count: int, other: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with finite differences in the weight of one image; an error of the order of the step."""
    first, second = gaussian(1, count, 10), gaussian(2, other, np.linspace(0.5, 2, 10), 0.3)
    _, influence, influence_2 = distances.frechet_influences(first, second)
    for sets, found, image in ((first, influence, 3), (second, influence_2, 5)):
        step = 1e-6
        weights = np.full(len(sets), 1 / len(sets)) * (1 - step)
        weights[image] += step
        values = [
            weighted_frechet(first, second, sets is first, w) for w in (weights, np.full(len(sets), 1 / len(sets)))
        ]
        assert (values[0] - values[1]) / step == pytest.approx(found[image], rel=1e-3, abs=1e-3)
        assert found.mean() == pytest.approx(0, abs=1e-12 * np.abs(found).sum())


def weighted_frechet(first: np.ndarray, second: np.ndarray, is_first: bool, weights: np.ndarray) -> float:
    """The distance with weighted images in one set, from covariances with the factor n / (n - 1) of equal weights."""
    parts = []
    for features, weighted in ((first, is_first), (second, not is_first)):
        count = len(features)
        w = weights if weighted else np.full(count, 1 / count)
        mean = w @ features
        parts.append((mean, np.sqrt(w * count / (count - 1))[:, None] * (features - mean)))
    (mean, rows), (mean_2, rows_2) = parts
    shared = np.linalg.svd(rows @ rows_2.T, compute_uv=False).sum()
    return float(((mean - mean_2) ** 2).sum() + (rows**2).sum() + (rows_2**2).sum() - 2 * shared)


def test_the_kernel_distance_is_that_of_torch_fidelity(fidelity: dict[str, ModuleType]) -> None:
    first, second = gaussian(1, 50, 8), gaussian(2, 60, 8, 0.2)
    settings = {"kid_subsets": 4, "kid_subset_size": 30, "verbose": False}
    found = fidelity["metric_kid"].kid_features_to_metric(*map(torch.from_numpy, (first, second)), **settings)
    mean, deviation = kernel_distance_subsets(first, second, subsets=4, size=30)
    assert mean == pytest.approx(found["kernel_inception_distance_mean"], rel=1e-9)
    assert deviation == pytest.approx(found["kernel_inception_distance_std"], rel=1e-9)


def test_the_kernel_distance_is_the_sum_over_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = gaussian(1, 13, 4), gaussian(2, 9, 4, 0.5)
    assert kernel_distance(first, second) == pytest.approx(by_loop(first, second), rel=1e-12)
    monkeypatch.setattr(distances, "_ROWS", 5)  # blocks that do not divide the rows
    assert kernel_distance(first, second) == pytest.approx(by_loop(first, second), rel=1e-12)


def by_loop(first: np.ndarray, second: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The definition; weights (N,) of the first set in place of 1 / N, for both means that have them."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    n, m = len(first), len(second)
    w = np.full(n, 1 / n) if weights is None else weights
    within = sum(w[i] * w[j] * kernel(first[i], first[j]) for i in range(n) for j in range(n) if i != j)
    within_2 = sum(kernel(second[i], second[j]) for i in range(m) for j in range(m) if i != j)
    between = sum(w[i] * kernel(first[i], second[j]) for i in range(n) for j in range(m))
    return within * n / (n - 1) + within_2 / (m * (m - 1)) - 2 * between / m


def test_linear_draws_of_the_kernel_distance_have_its_exact_derivative() -> None:
    """Compared with finite differences in the weight of one image; an error of the order of the step."""
    first, second, step = gaussian(1, 12, 4), gaussian(2, 9, 4, 0.5), 1e-6
    within, (between, _) = distances._kernels_within(first), distances._kernels_between(first, second)
    influence = 2 * (within - between) - 2 * (within - between).mean()
    weights = np.full(12, 1 / 12) * (1 - step)
    weights[3] += step
    derivative = (by_loop(first, second, weights) - by_loop(first, second)) / step
    assert derivative == pytest.approx(influence[3], rel=1e-4)


@pytest.mark.parametrize("resamples", [frechet_resamples, kernel_resamples])
@pytest.mark.parametrize("paired", [False, True])
def test_the_spread_of_the_draws_is_the_noise_between_independent_sets(resamples, paired: bool) -> None:  # type: ignore[no-untyped-def]
    """Of sets far apart, whose distance is nearly linear; chi has 40 degrees of freedom, so a deviation of 11 %."""

    def sets(seed: int) -> tuple[np.ndarray, np.ndarray]:
        first = gaussian(seed, 150, 3)
        return first, (first * 1.5 if paired else gaussian(1000 + seed, 200, 3) * 1.5) + 3

    found = [resamples([sets(seed)[0]], sets(seed)[1], paired, 300) for seed in range(40)]
    expected = np.std([result[0].value for result in found], ddof=1)
    drawn = np.mean([result[0].draws.std() for result in found])
    assert drawn == pytest.approx(expected, rel=4 * 0.11)


@pytest.mark.parametrize("resamples", [frechet_resamples, kernel_resamples])
def test_networks_are_compared_by_the_same_draws(resamples) -> None:  # type: ignore[no-untyped-def]
    first, second = gaussian(1, 300, 4, 1.0), gaussian(2, 200, 4)
    same, other = resamples([first, first + 0.01], second)
    interval = same.difference(same)
    assert (interval.value, interval.low, interval.high) == (0, 0, 0)
    paired, alone = same.difference(other), same.interval()
    assert paired.high - paired.low < 0.05 * (alone.high - alone.low) and paired.high < 0
    assert alone.low < alone.value < alone.high
    assert np.array_equal(resamples([first + 0.01], second)[0].draws, other.draws)  # whoever else is in the call
    assert not np.array_equal(resamples([first], second, seed=1)[0].draws, same.draws)


def test_the_bias_is_that_of_sets_of_one_distribution() -> None:
    """Their distance is 0, so the mean of distances of 30 sets is the bias, known with its standard error."""
    pairs = [(gaussian(seed, 150, 8), gaussian(100 + seed, 150, 8)) for seed in range(30)]
    values = np.array([frechet_distance(*pair) for pair in pairs])
    found = np.array([frechet_bias(*pair) for pair in pairs])
    error = np.hypot(values.std(), found.std()) / np.sqrt(30)
    assert abs(found.mean() - values.mean()) < 4 * error < 0.5 * values.mean()


def test_the_note_on_the_bias_has_its_number_for_small_sets() -> None:
    first, second = gaussian(1, 150, 8), gaussian(2, 150, 8, 1.0)
    note = frechet_bias_note(first, second)
    assert note.startswith("The Frechet distance of 150 images is biased: of ") and "at least" not in note
    assert f"{frechet_distance(first, second):.4g}, about {frechet_bias(first, second):.3g} (" in note
    assert "at least about" in frechet_bias_note(first[:8], second[:8])
    assert frechet_bias_note(first[:3], second) == "The Frechet distance of 3 images is mostly bias."
    assert frechet_bias_note(np.zeros((2000, 2)), np.zeros((2000, 2))) == ""


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_features_that_do_not_fit_are_refused(distance) -> None:  # type: ignore[no-untyped-def]
    features = gaussian(1, 5, 3)
    spoilt = features.copy()
    spoilt[2, 1] = np.nan
    for first, second, problem in (
        (features[:1], features, r"two or more images, got the shape \(1, 3\)"),
        (features[0], features, r"got the shape \(3,\)"),
        (features, features[:, :2], "3 and 2 features: use one network"),
        (features, spoilt, "the features of image 2 are not finite"),
    ):
        with pytest.raises(ArgumentError, match=problem):
            distance(first, second)
    with pytest.raises(ArgumentError, match="cannot pair sets of 4 and 5 images"):
        frechet_resamples([features, features[:4]], features)
    with pytest.raises(ArgumentError, match="subsets of 6 images need as many, got 5 and 5"):
        kernel_distance_subsets(features, features, size=6)
    with pytest.raises(ArgumentError, match="the bias of 3 images cannot be estimated"):
        frechet_bias(features[:3], features)
