"""Quality measures compared with scikit-image, PyWavelets and closed forms."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import pywt
import torch

from kd_plugin import KDError
from kd_plugin.metrics.quality import band_errors, l1_error, measure_quality, psnr, ssim

metrics = pytest.importorskip("skimage.metrics")


def batch(seed: int, shape: tuple[int, ...] = (3, 3, 24, 32)) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_against_scikit_image() -> None:
    generated, real = batch(1), batch(2)
    pairs = [(g.double().numpy(), r.double().numpy()) for g, r in zip(generated, real, strict=True)]
    expected = np.mean([metrics.peak_signal_noise_ratio(r, g, data_range=1) for g, r in pairs])
    assert psnr(generated, real) == pytest.approx(expected, rel=1e-9)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = np.mean(
        [metrics.structural_similarity(r, g, channel_axis=0, data_range=1, **settings) for g, r in pairs]
    )
    assert ssim(generated, real) == pytest.approx(expected, rel=1e-9)


def test_bands_against_pywavelets() -> None:
    generated, real = batch(1).double(), batch(2).double()
    (ga, gd), (ra, rd) = (pywt.dwt2(x.numpy(), "haar", mode="zero") for x in (generated, real))
    expected = [np.abs(g - r).sum() / np.abs(r).sum() for g, r in zip((ga, *gd), (ra, *rd), strict=True)]
    found = band_errors(generated, real)
    assert pytest.approx(expected, rel=1e-12) == [found.LL, found.LH, found.HL, found.HH]


def test_closed_forms() -> None:
    real = batch(3) * 0.5
    assert l1_error(real + 0.1, real) == pytest.approx(0.1)
    assert psnr(real + 0.1, real) == pytest.approx(20.0)
    shifted = band_errors(real + 0.1, real)
    assert (
        pytest.approx(0, abs=1e-6) == shifted.LH and pytest.approx(0.1 / real.mean().item(), rel=1e-5) == shifted.LL
    )
    empty = band_errors(real.mean((2, 3), keepdim=True).expand_as(real), real)  # an even image has no details
    assert pytest.approx([1, 1, 1], rel=1e-5) == [empty.LH, empty.HL, empty.HH]


def test_equal_images_are_perfect() -> None:
    quality = measure_quality(batch(1), batch(1))
    assert (quality.l1, quality.psnr) == (0, math.inf) and quality.ssim == pytest.approx(1)
    assert json.loads(json.dumps(quality.to_dict(), allow_nan=False))["psnr"] is None


@pytest.mark.parametrize(
    ("generated", "real", "message"),
    [
        (batch(1) * 2 - 1, batch(1), r"the generated images run from -.* scale them to \[0, 1\]"),
        (batch(1), batch(1)[:2], "differ in shape"),
        (batch(1) * float("nan"), batch(1), "the generated images run from nan"),
        (batch(1, (1, 3, 8, 8)), batch(1, (1, 3, 8, 8)), "at least 11x11"),
    ],
)
def test_bad_input(generated: torch.Tensor, real: torch.Tensor, message: str) -> None:
    with pytest.raises(KDError, match=message):
        measure_quality(generated, real)
