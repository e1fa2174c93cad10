"""Every loss compared with its equation, implemented in NumPy or another library, and with central differences.

The oracles follow the papers rather than the plugin's code, with loops over pixels, channels, parts or windows, full
spectra, dense kernels and explicit windows.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tensors import random
from numpy.lib.stride_tricks import sliding_window_view
from skimage.metrics import structural_similarity
from torch import nn

from kd_plugin import KDError
from kd_plugin.errors import ArgumentError, CheckpointError
from kd_plugin.losses import (
    DiscriminatorLoss,
    FrequencyLoss,
    PerceptualLoss,
    PixelLoss,
    SimilarityLoss,
    SsimLoss,
    TotalVariationLoss,
    attention_loss,
    discriminator_loss,
    feature_loss,
    frequency_loss,
    gram_loss,
    kernel_alignment_loss,
    perceptual_loss,
    pixel_loss,
    similarity_loss,
    ssim_loss,
    total_variation_loss,
)
from kd_plugin.networks.discriminator import Discriminator, load_discriminator
from kd_plugin.networks.generator import GeneratorSpec, build_generator

Array = np.ndarray
RESNET = GeneratorSpec("resnet", 3, 3, ngf=2, depth=2, norm="instance", dropout=False, bias=True)
UNET = GeneratorSpec("unet", 3, 3, ngf=2, depth=5, norm="instance", dropout=None, bias=True)


def agree(
    loss: Callable[[torch.Tensor], torch.Tensor],
    oracle: Callable[[Array], float],
    student: torch.Tensor,
    slope_of: Callable[[Array], float] | None = None,
) -> None:
    """Compare a loss with its oracle, and its gradient with the oracle's slope along two directions.

    ``slope_of`` stands for the oracle in the slopes, where a loss holds a part of itself constant.
    """
    s = student.clone().requires_grad_()
    value = loss(s)
    assert value.ndim == 0
    assert value.item() == pytest.approx(oracle(student.numpy()), rel=1e-10)
    (gradient,) = torch.autograd.grad(value, s)
    step = 1e-6
    for seed in (101, 102):
        direction = random(*student.shape, seed=seed)
        ahead, behind = ((slope_of or oracle)((student + sign * step * direction).numpy()) for sign in (1, -1))
        slope = (ahead - behind) / (2 * step)
        assert abs(slope) > 1e-4  # or the tolerance below would hide a wrong gradient
        # Values of about 1 are rounded by 1e-16: over the step, that is 1e-10 of the slope, and more for long sums.
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-6, abs=1e-8)


def rotation(size: int, seed: int = 9) -> torch.Tensor:
    return torch.linalg.qr(random(size, size, seed=seed))[0]


class TestPixel:
    EACH: dict[str, Callable[[float], float]] = {  # noqa: RUF012
        "l1": abs,
        "l2": lambda d: d * d,
        "smooth_l1": lambda d: d * d / 0.2 if abs(d) < 0.1 else abs(d) - 0.05,
        "charbonnier": lambda d: math.sqrt(d * d + 1e-6) - 1e-3,
    }

    @pytest.mark.parametrize("norm", EACH)
    def test_equals_the_sum_over_pixels(self, norm: str) -> None:
        """The differences lie on both sides of beta, so both branches of smooth L1 are taken."""
        s, t = 0.1 * random(2, 3, 4, 5, seed=1), 0.1 * random(2, 3, 4, 5, seed=2)
        near = ((s - t).abs() < 0.1).double().mean().item()
        assert 0.2 < near < 0.8

        def oracle(x: Array) -> float:
            return math.fsum(self.EACH[norm](a - b) for a, b in zip(x.flat, t.numpy().flat, strict=True)) / x.size

        agree(lambda x: pixel_loss(x, t, norm), oracle, s)  # type: ignore[arg-type]
        assert PixelLoss(norm)(s, t).item() == pytest.approx(oracle(s.numpy()), rel=1e-10)  # type: ignore[arg-type]

    @pytest.mark.parametrize("beta", [0.05, 1.0, 3.0])
    def test_equals_torch(self, beta: float) -> None:
        s, t = random(2, 3, 4, 5, seed=1), random(2, 3, 4, 5, seed=2)
        torch.testing.assert_close(pixel_loss(s, t), nn.functional.l1_loss(s, t), rtol=1e-12, atol=0)
        torch.testing.assert_close(pixel_loss(s, t, "l2"), nn.functional.mse_loss(s, t), rtol=1e-12, atol=0)
        # Smooth L1 is Huber's loss over beta.
        huber = nn.functional.huber_loss(s, t, delta=beta) / beta
        torch.testing.assert_close(pixel_loss(s, t, "smooth_l1", beta=beta), huber, rtol=1e-12, atol=0)

    @pytest.mark.parametrize(
        ("norm", "differences", "expected"),
        [
            ("l1", (0.3, -3.0, 0.05), 3.35 / 3),
            ("l2", (0.3, -3.0, 0.05), (0.09 + 9 + 0.0025) / 3),
            ("smooth_l1", (0.3, -3.0, 0.05), (0.25 + 2.95 + 0.0125) / 3),
            ("charbonnier", (3.0, -3.0, 0.0), (1 + 1 + 0) / 3),  # with epsilon 4: 5 - 4, 5 - 4 and 4 - 4
        ],
    )
    def test_worked_example(self, norm: str, differences: tuple[float, ...], expected: float) -> None:
        d = torch.tensor(differences, dtype=torch.float64).reshape(1, 1, 1, 3)
        value = pixel_loss(d, torch.zeros_like(d), norm, epsilon=4.0)  # type: ignore[arg-type]
        assert value.item() == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("norm", EACH)
    def test_the_order_of_the_images_does_not_matter(self, norm: str) -> None:
        s, t = random(1, 3, 4, 4, seed=1), random(1, 3, 4, 4, seed=2)
        assert pixel_loss(s, t, norm) == pixel_loss(t, s, norm)  # type: ignore[arg-type]

    def test_charbonnier_lies_below_l1_by_epsilon_at_most(self) -> None:
        s, t = random(1, 3, 4, 4, seed=1), random(1, 3, 4, 4, seed=2)
        gap = (pixel_loss(s, t) - pixel_loss(s, t, "charbonnier", epsilon=0.01)).item()
        assert 0 < gap < 0.01

    def test_unknown_norm(self) -> None:
        x = random(1, 1, 2, 2)
        for call in (lambda: pixel_loss(x, x, "l3"), lambda: PixelLoss("l3")):  # type: ignore[arg-type]
            with pytest.raises(ArgumentError, match=r"unknown pixel norm 'l3'.*charbonnier, l1, l2, smooth_l1"):
                call()


class TestFeature:
    def test_equals_the_sum_over_features(self) -> None:
        s, t = random(2, 3, 4, 5, seed=1), random(2, 3, 4, 5, seed=2)

        def oracle(x: Array) -> float:
            return math.fsum((a - b) ** 2 for a, b in zip(x.flat, t.numpy().flat, strict=True)) / (2 * 3 * 4 * 5)

        agree(lambda x: feature_loss(x, t), oracle, s)

    def test_worked_example(self) -> None:
        """Differences 1, 2, 3 and 4: no half, as in FitNets, before the mean of the squares."""
        s = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 2, 1, 2)
        assert feature_loss(s, torch.zeros_like(s)).item() == pytest.approx(30 / 4)

    def test_a_rotation_of_all_channels_changes_nothing(self) -> None:
        s, t = random(2, 4, 3, 3, seed=1), random(2, 4, 3, 3, seed=2)
        turned = [torch.einsum("dc,bchw->bdhw", rotation(4), f) for f in (s, t)]
        torch.testing.assert_close(feature_loss(*turned), feature_loss(s, t), rtol=1e-12, atol=0)


class TestAttention:
    @staticmethod
    def oracle(student: Array, teacher: Array) -> float:
        """Zagoruyko and Komodakis, activation-based attention with p = 2, one pixel after another."""

        def attention(image: Array) -> dict[tuple[int, int], float]:
            q = {(i, j): sum(v * v for v in image[:, i, j]) for i, j in np.ndindex(*image.shape[1:])}
            length = math.sqrt(sum(v * v for v in q.values()))
            return {place: v / length for place, v in q.items()}

        total = 0.0
        for own, other in zip(student, teacher, strict=True):
            a, b = attention(own), attention(other)
            total += sum((a[place] - b[place]) ** 2 for place in a)
        return total / len(student)

    @pytest.mark.parametrize("channels", [3, 5])
    def test_equals_the_sum_over_pixels(self, channels: int) -> None:
        s, t = random(2, 3, 4, 5, seed=1), random(2, channels, 4, 5, seed=2)
        agree(lambda x: attention_loss(x, t), lambda x: self.oracle(x, t.numpy()), s)

    def test_worked_example(self) -> None:
        """Squares 9 and 16 against 0 and 25: maps (9, 16) / sqrt 337 and (0, 1)."""
        s = torch.tensor([[3.0, 0.0], [0.0, 4.0]]).reshape(1, 2, 1, 2)  # channel by pixel
        t = torch.tensor([0.0, 5.0]).reshape(1, 1, 1, 2)
        assert attention_loss(s, t).item() == pytest.approx(2 - 2 * 16 / math.sqrt(337), rel=1e-6)

    def test_rotation_and_scale_change_nothing(self) -> None:
        f = random(2, 5, 4, 4)
        turned = -7 * torch.einsum("dc,bchw->bdhw", rotation(5), f)
        assert attention_loss(turned, f).item() == pytest.approx(0, abs=1e-28)  # squares of 1e-15

    def test_features_at_different_pixels_are_two_apart_at_any_resolution(self) -> None:
        for side in (2, 8):
            s = torch.zeros(1, 2, side, side, dtype=torch.float64)
            t = s.clone()
            s[..., : side // 2], t[..., side // 2 :] = 1, 3
            assert attention_loss(s, t).item() == pytest.approx(2, rel=1e-12)

    def test_an_image_of_zeros_has_the_map_zero(self) -> None:
        """Its distance is the squared length of the other map, 1, and its gradient is finite."""
        s = torch.zeros(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
        loss = attention_loss(s, random(1, 3, 4, 4))
        loss.backward()
        assert loss.item() == pytest.approx(1, rel=1e-12)
        assert s.grad is not None and s.grad.isfinite().all()


class TestSimilarity:
    @staticmethod
    def oracle(student: Array, teacher: Array, grid: int) -> float:
        """Tung and Mori on parts: inner products of what two parts have at the same place in them."""

        def matrix(features: Array) -> Array:
            high, wide = (math.ceil(n / grid) for n in features.shape[2:])
            parts = [
                image[:, i * high : (i + 1) * high, j * wide : (j + 1) * wide]
                for image in features
                for i, j in np.ndindex(grid, grid)
            ]
            g = np.zeros((len(parts), len(parts)))
            for a, b in np.ndindex(*g.shape):
                p, q = parts[a], parts[b]
                h, w = min(p.shape[1], q.shape[1]), min(p.shape[2], q.shape[2])
                g[a, b] = (p[:, :h, :w] * q[:, :h, :w]).sum()
            lengths = np.sqrt((g**2).sum(1))
            return np.stack([row / length if length else row for row, length in zip(g, lengths, strict=True)])

        g_s, g_t = matrix(student), matrix(teacher)
        return float(((g_t - g_s) ** 2).sum()) / len(g_s)

    @pytest.mark.parametrize(
        ("student", "teacher", "grid"),
        [
            ((3, 2, 4, 4), (3, 2, 4, 4), 1),  # the paper's
            ((2, 2, 6, 5), (2, 3, 6, 5), 1),
            ((1, 2, 8, 4), (1, 2, 8, 4), 4),
            ((2, 2, 4, 12), (2, 3, 4, 12), 4),
            ((2, 2, 7, 6), (2, 3, 7, 6), 4),  # 7 = 2 + 2 + 2 + 1, 6 = 2 + 2 + 2 + 0
            ((1, 3, 5, 9), (1, 2, 5, 9), 2),
        ],
    )
    def test_equals_the_paper(self, student: tuple[int, ...], teacher: tuple[int, ...], grid: int) -> None:
        s, t = random(*student, seed=1), random(*teacher, seed=2)
        agree(lambda x: similarity_loss(x, t, grid), lambda x: self.oracle(x, t.numpy(), grid), s)
        assert SimilarityLoss(grid)(s, t) == similarity_loss(s, t, grid)

    def test_worked_example(self) -> None:
        """Two pictures, alike in one (rows (1, 1) / sqrt 2) and orthogonal in the other (rows of the identity)."""
        alike, orthogonal = torch.ones(2, 1, 1, 1), torch.eye(2).reshape(2, 2, 1, 1)
        root = math.sqrt(0.5)
        expected = (1 - root) ** 2 + root**2  # in each of two rows, over two
        assert similarity_loss(alike, orthogonal, grid=1).item() == pytest.approx(expected, rel=1e-6)
        # The four pixels of a picture at grid 2: rows (1, 1, 1, 1) / 2 against those of the identity.
        alike, orthogonal = torch.ones(1, 1, 2, 2), torch.eye(4).reshape(1, 4, 2, 2)
        assert similarity_loss(alike, orthogonal, grid=2).item() == pytest.approx(1, rel=1e-6)

    def test_rotation_and_scale_change_nothing(self) -> None:
        f = random(2, 5, 8, 8)
        turned = -7 * torch.einsum("dc,bchw->bdhw", rotation(5), f)
        assert similarity_loss(turned, f).item() == pytest.approx(0, abs=1e-28)  # squares of 1e-15

    def test_a_larger_batch_does_not_make_it_smaller(self) -> None:
        """Opposite features are as far apart at any batch size, as documented; over n squared they would not be."""
        values = []
        for batch in (2, 8):
            s = torch.ones(batch, 1, 1, 1, dtype=torch.float64)
            t = s.clone()
            t[batch // 2 :] = -1
            values.append(similarity_loss(s, t, grid=1).item())
        # Half of the entries of each row differ, by 2 / sqrt n.
        assert values == pytest.approx([2, 2], rel=1e-12)

    def test_one_part_alone_is_refused(self) -> None:
        s = random(1, 2, 4, 4)
        with pytest.raises(ArgumentError, match=r"one image in one part.*similarity_grid 2.*batch size of 2"):
            similarity_loss(s, s, grid=1)
        assert similarity_loss(s, random(1, 2, 4, 4, seed=1), grid=2).item() > 0

    def test_bad_grid(self) -> None:
        x = random(1, 2, 4, 4)
        with pytest.raises(ArgumentError, match="similarity_grid is 5, but the features have 4x4 pixels: give 4 or"):
            similarity_loss(x, x, 5)  # before it makes a matrix of nothing but zeros, 5^4 of them
        for grid in (0, -2, 2.5):
            with pytest.raises(ArgumentError, match=f"similarity_grid is {grid}: give a whole number of 1 or more"):
                SimilarityLoss(grid)  # type: ignore[arg-type]
            with pytest.raises(ArgumentError, match=f"similarity_grid is {grid}"):
                similarity_loss(x, x, grid)  # type: ignore[arg-type]


class TestKernelAlignment:
    @staticmethod
    def oracle(student: Array, teacher: Array) -> float:
        """The alignment of two kernels over all pixels of the batch, <K, L> / |K| |L|: matrices n x n, not C x C."""
        x, y = (f.transpose(0, 2, 3, 1).reshape(-1, f.shape[1]) for f in (student, teacher))
        k, l = (np.einsum("ic,jc->ij", f, f) for f in (x, y))  # noqa: E741
        return float(1 - (k * l).sum() / math.sqrt((k * k).sum() * (l * l).sum()))

    @pytest.mark.parametrize(("batch", "channels"), [(1, 3), (2, 3), (2, 6), (3, 1)])
    def test_equals_the_alignment_of_kernels(self, batch: int, channels: int) -> None:
        s, t = random(batch, 3, 4, 5, seed=1), random(batch, channels, 4, 5, seed=2)
        agree(lambda x: kernel_alignment_loss(x, t), lambda x: self.oracle(x, t.numpy()), s)

    def test_worked_example(self) -> None:
        """X the identity and Y (1, 1): Y'X = (1, 1), so 2 over sqrt 2 times 2."""
        x, y = torch.eye(2).reshape(1, 2, 1, 2), torch.ones(1, 1, 1, 2)
        assert kernel_alignment_loss(x, y).item() == pytest.approx(1 - math.sqrt(0.5), rel=1e-6)

    def test_rotation_and_scale_change_nothing(self) -> None:
        f = random(2, 5, 4, 4)
        turned = -7 * torch.einsum("dc,bchw->bdhw", rotation(5), f)
        assert kernel_alignment_loss(turned, f).item() == pytest.approx(0, abs=1e-14)
        # Channels more than the rotation has: an isometry into a larger space.
        wider = torch.einsum("dc,bchw->bdhw", rotation(8)[:, :5], f)
        assert kernel_alignment_loss(wider, f).item() == pytest.approx(0, abs=1e-14)

    def test_encodings_of_different_pixels_are_one_apart(self) -> None:
        s = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
        t = s.clone()
        s[..., 0], t[..., 1] = 1, 1
        assert kernel_alignment_loss(s, t).item() == 1

    def test_zeros_are_one_apart_from_all(self) -> None:
        zeros, f = torch.zeros(1, 3, 4, 4, dtype=torch.float64), random(1, 3, 4, 4)
        s = zeros.clone().requires_grad_()
        for own, other in ((s, f), (f, zeros), (s, zeros)):
            assert kernel_alignment_loss(own, other).item() == 1
        kernel_alignment_loss(s, f).backward()
        assert s.grad is not None and s.grad.isfinite().all()

    def test_one_picture_does_not_make_it_constant(self) -> None:
        """As it would with a row for every picture, as CAT's code has it: a fraction of 1 whatever the student is."""
        t = random(1, 3, 4, 4)
        values = {round(kernel_alignment_loss(random(1, 3, 4, 4, seed=seed), t).item(), 6) for seed in (1, 2, 3)}
        assert len(values) == 3 and min(values) > 0.1


class TestGram:
    @staticmethod
    def oracle(student: Array, teacher: Array) -> float:
        """Johnson et al., equations 3 and 4, entry by entry."""

        def entry(image: Array, c: int, d: int) -> float:
            return float((image[c] * image[d]).sum()) / image.size

        total = 0.0
        for own, other in zip(student, teacher, strict=True):
            for c, d in np.ndindex(len(own), len(own)):
                total += (entry(own, c, d) - entry(other, c, d)) ** 2
        return total / len(student)

    @pytest.mark.parametrize("size", [(4, 5), (8, 3), (1, 1)])
    def test_equals_the_sum_over_entries(self, size: tuple[int, int]) -> None:
        s, t = 2 * random(2, 3, 4, 5, seed=1), random(2, 3, *size, seed=2)
        agree(lambda x: gram_loss(x, t), lambda x: self.oracle(x, t.numpy()), s)

    def test_worked_example(self) -> None:
        """Channels (1, 2) and (3, 4): products 5, 11, 11, 25 over four values, against none."""
        s = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 1, 2)
        expected = (5**2 + 2 * 11**2 + 25**2) / 16
        assert gram_loss(s, torch.zeros(1, 2, 1, 1)).item() == pytest.approx(expected, rel=1e-6)

    def test_the_places_of_pixels_do_not_matter(self) -> None:
        """Neither their order nor their number, where each is repeated as often."""
        s, t = random(2, 3, 4, 4, seed=1), random(2, 3, 4, 4, seed=2)
        order = torch.randperm(16, generator=torch.Generator().manual_seed(3))
        shuffled = s.flatten(2)[..., order].reshape(2, 3, 2, 8).repeat_interleave(3, -1)
        torch.testing.assert_close(gram_loss(shuffled, t), gram_loss(s, t), rtol=1e-12, atol=0)

    def test_is_of_the_fourth_degree(self) -> None:
        s, t = random(2, 3, 4, 4, seed=1), random(2, 3, 4, 4, seed=2)
        torch.testing.assert_close(gram_loss(3 * s, 3 * t), 81 * gram_loss(s, t), rtol=1e-12, atol=0)


class TestSsim:
    @staticmethod
    def library(student: Array, teacher: Array) -> float:
        """scikit-image in the settings of the paper; its mean leaves out a border of five pixels."""
        values = [
            structural_similarity(
                own,
                other,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=2,
                channel_axis=0,
            )
            for own, other in zip(student, teacher, strict=True)
        ]
        return 1 - float(np.mean(values))

    @staticmethod
    def windows(student: Array, teacher: Array) -> float:
        """The equation, window by window."""
        offsets = np.arange(-5, 6)
        weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
        weights /= weights.sum()
        c1, c2 = 0.02**2, 0.06**2
        values = []
        planes = (images.reshape(-1, *images.shape[2:]) for images in (student, teacher))
        for own, other in zip(*planes, strict=True):
            for i, j in np.ndindex(own.shape[0] - 10, own.shape[1] - 10):
                x, y = own[i : i + 11, j : j + 11], other[i : i + 11, j : j + 11]
                mx, my = (weights * x).sum(), (weights * y).sum()
                vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
                cov = (weights * (x - mx) * (y - my)).sum()
                values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2)))
        return 1 - float(np.mean(values))

    @pytest.mark.parametrize("shape", [(2, 3, 13, 12), (1, 1, 11, 11), (1, 2, 11, 16)])
    def test_equals_scikit_image_and_the_windows(self, shape: tuple[int, ...]) -> None:
        s = (0.4 * random(*shape, seed=1)).clamp(-1, 1)
        t = (0.6 * s + 0.2 * random(*shape, seed=2)).clamp(-1, 1)
        agree(lambda x: ssim_loss(x, t), lambda x: self.library(x, t.numpy()), s)
        agree(lambda x: ssim_loss(x, t), lambda x: self.windows(x, t.numpy()), s)
        assert SsimLoss()(s, t) == ssim_loss(s, t)

    def test_scikit_image_leaves_out_a_border_of_five(self) -> None:
        """Why its mean is the one over windows that lie within the picture: its map, without the border."""
        a, b = random(14, 15, seed=1).numpy() / 4, random(14, 15, seed=2).numpy() / 4
        mean, full = structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=2, full=True
        )
        assert mean == pytest.approx(full[5:-5, 5:-5].mean(), rel=1e-12)
        assert mean != pytest.approx(full.mean(), rel=1e-3)

    def test_worked_example(self) -> None:
        """Flat images have no variance: the luminance of 1 and 1/2 is left; that of 1 and -1 is nearly opposite."""
        ones = torch.ones(1, 3, 12, 12, dtype=torch.float64)
        assert ssim_loss(ones, ones / 2).item() == pytest.approx(1 - 1.0004 / 1.2504, rel=1e-10)
        assert ssim_loss(ones, -ones).item() == pytest.approx(1 + 1.9996 / 2.0004, rel=1e-10)

    def test_mirrors_and_order_change_nothing(self) -> None:
        s, t = 0.4 * random(2, 3, 13, 14, seed=1), 0.4 * random(2, 3, 13, 14, seed=2)
        expected = ssim_loss(s, t)
        torch.testing.assert_close(ssim_loss(t, s), expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(ssim_loss(-s.flip(-1), -t.flip(-1)), expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(ssim_loss(s.mT, t.mT), expected, rtol=1e-12, atol=0)

    @pytest.mark.parametrize("size", [(10, 20), (20, 10)])
    def test_images_smaller_than_the_window_are_refused(self, size: tuple[int, int]) -> None:
        x = random(1, 1, *size)
        with pytest.raises(ArgumentError, match=rf"at least 11x11 pixels, these are {size[1]}x{size[0]}"):
            ssim_loss(x, x)


class TestTotalVariation:
    @staticmethod
    def oracle(images: Array) -> float:
        across, down = [], []
        for b, c, i, j in np.ndindex(*images.shape):
            if j + 1 < images.shape[3]:
                across.append(abs(images[b, c, i, j + 1] - images[b, c, i, j]))
            if i + 1 < images.shape[2]:
                down.append(abs(images[b, c, i + 1, j] - images[b, c, i, j]))
        return sum(math.fsum(values) / len(values) for values in (across, down) if values)

    @pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 6), (1, 2, 6, 1)])
    def test_equals_the_sum_over_pixels(self, shape: tuple[int, ...]) -> None:
        agree(total_variation_loss, self.oracle, random(*shape))

    def test_worked_example(self) -> None:
        """Along the rows 1 and 5, down the columns 3 and 7, each a mean of two."""
        x = torch.tensor([[[[1.0, 2.0], [4.0, 9.0]]]])
        assert total_variation_loss(x).item() == pytest.approx((1 + 5) / 2 + (3 + 7) / 2)

    def test_the_variation_of_a_ramp_is_its_height_whatever_lies_between(self) -> None:
        """Monotone rows: the sum of the steps is the height of the ramp, however the steps are spread."""
        rows = random(1, 2, 5, 8).abs().cumsum(-1)
        rows = rows - rows[..., :1]
        expected = (rows[..., -1] / 7).mean() + rows.diff(dim=-2).abs().mean()
        torch.testing.assert_close(total_variation_loss(rows), expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(total_variation_loss(1 - rows.mT), expected, rtol=1e-12, atol=0)

    def test_flat_images_and_single_pixels_have_none(self) -> None:
        assert total_variation_loss(torch.full((2, 3, 4, 4), 0.3)).item() == 0
        assert total_variation_loss(random(2, 3, 1, 1)).item() == 0

    def test_the_term_does_not_look_at_the_teacher(self) -> None:
        s = random(1, 3, 4, 4)
        for seed in (1, 2):
            assert TotalVariationLoss()(s, random(1, 3, 4, 4, seed=seed)) == total_variation_loss(s)

    def test_the_term_checks_the_shapes(self) -> None:
        with pytest.raises(ArgumentError, match=r"\(1, 3, 4, 4\).*\(1, 3, 8, 8\) differ"):
            TotalVariationLoss()(random(1, 3, 4, 4), random(1, 3, 8, 8))


class TestFrequency:
    @staticmethod
    def oracle(
        student: Array, teacher: Array, alpha: float, cutoff: float = 0.0, weighed_at: Array | None = None
    ) -> float:
        """Jiang et al. over the full spectrum; ``weighed_at`` gives the student the weights are taken from."""
        height, width = student.shape[2:]
        total = 0.0
        for b, c in np.ndindex(*student.shape[:2]):
            spectrum = np.fft.fft2(student[b, c] - teacher[b, c], norm="ortho")
            focal = spectrum if weighed_at is None else np.fft.fft2(weighed_at[b, c] - teacher[b, c], norm="ortho")
            kept = [
                (u, v)
                for u, v in np.ndindex(height, width)
                if math.hypot(min(u, height - u) / height, min(v, width - v) / width) >= cutoff / 2
            ]
            peak = max(abs(focal[place]) for place in kept)
            total += sum((abs(focal[place]) / peak) ** alpha * abs(spectrum[place]) ** 2 for place in kept)
        return total / student.size

    @pytest.mark.parametrize("size", [(8, 6), (5, 7), (6, 5), (7, 4), (1, 4), (3, 1)])
    @pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0, 0.5])
    def test_equals_the_full_spectrum(self, alpha: float, size: tuple[int, int]) -> None:
        """With the weights as constants of the gradient: the slopes are those of the oracle with weights held."""
        s, t = random(2, 3, *size, seed=1), random(2, 3, *size, seed=2)
        agree(
            lambda x: frequency_loss(x, t, alpha),
            lambda x: self.oracle(x, t.numpy(), alpha),
            s,
            lambda x: self.oracle(x, t.numpy(), alpha, weighed_at=s.numpy()),
        )

    @pytest.mark.parametrize("size", [(8, 6), (5, 7)])
    @pytest.mark.parametrize("cutoff", [0.3, 0.7, 0.95])
    def test_cutoff_leaves_low_frequencies_out(self, cutoff: float, size: tuple[int, int]) -> None:
        """Of the sum and of the peak that the weights are relative to: a large offset is no peak."""
        s, t = random(2, 2, *size, seed=1) + 50, random(2, 2, *size, seed=2)
        agree(
            lambda x: frequency_loss(x, t, 1.0, cutoff),
            lambda x: self.oracle(x, t.numpy(), 1.0, cutoff),
            s,
            lambda x: self.oracle(x, t.numpy(), 1.0, cutoff, weighed_at=s.numpy()),
        )
        assert FrequencyLoss(1.0, cutoff)(s, t) == frequency_loss(s, t, 1.0, cutoff)

    def test_the_weights_are_constants_of_the_gradient(self) -> None:
        """At alpha 1 the free slope would be another: the two must be told apart for the test above to mean much."""
        s, t, direction = (random(1, 1, 6, 6, seed=seed) for seed in (1, 2, 3))
        x = s.clone().requires_grad_()
        frequency_loss(x, t, 1.0).backward()
        assert x.grad is not None
        ahead, behind = (self.oracle((s + sign * 1e-6 * direction).numpy(), t.numpy(), 1.0) for sign in (1, -1))
        assert (x.grad * direction).sum().item() != pytest.approx((ahead - behind) / 2e-6, rel=1e-2)

    @pytest.mark.parametrize("size", [(8, 6), (5, 7), (1, 1)])
    def test_alpha_zero_is_the_mean_squared_difference(self, size: tuple[int, int]) -> None:
        """Parseval: an orthonormal transform keeps the sum of squares."""
        s, t = random(2, 3, *size, seed=1), random(2, 3, *size, seed=2)
        torch.testing.assert_close(frequency_loss(s, t, 0.0), pixel_loss(s, t, "l2"), rtol=1e-12, atol=0)

    @pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
    def test_worked_example(self, alpha: float) -> None:
        """Waves of amplitude 4 and 2 have powers 8 and 2; the smaller is weighed by (2 / 4) to the alpha.

        Three waves in 16 pixels are 3/8 of Nyquist's frequency, and five 5/8: a cutoff between leaves the second, now
        the largest, with the weight 1.
        """
        column = torch.arange(16, dtype=torch.float64) * 2 * math.pi / 16
        wave = (4 * (3 * column).cos() + 2 * (5 * column).sin()).expand(1, 2, 4, 16)
        nothing = torch.zeros_like(wave)
        assert frequency_loss(wave, nothing, alpha).item() == pytest.approx(8 + 2 * 0.5**alpha, rel=1e-10)
        assert frequency_loss(wave, nothing, alpha, 0.5).item() == pytest.approx(2, rel=1e-10)
        assert frequency_loss(wave, nothing, alpha, 0.7).item() == pytest.approx(0, abs=1e-20)

    def test_cutoff_keeps_the_frequency_it_names(self) -> None:
        """Nyquist's itself, pixels that alternate, at a cutoff of 1; it is its own mirror image and counts once."""
        wave = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 4, 8)
        assert frequency_loss(wave, torch.zeros_like(wave), 1.0, 1.0).item() == pytest.approx(1, rel=1e-6)
        assert frequency_loss(wave.mT, torch.zeros_like(wave.mT), 1.0, 1.0).item() == pytest.approx(1, rel=1e-6)

    def test_moving_the_picture_around_changes_nothing(self) -> None:
        """A cyclic shift turns phases alone."""
        s, t = random(2, 3, 6, 7, seed=1), random(2, 3, 6, 7, seed=2)
        rolled = (x.roll((2, 3), (-2, -1)) for x in (s, t))
        torch.testing.assert_close(frequency_loss(*rolled), frequency_loss(s, t), rtol=1e-12, atol=0)

    def test_equal_images_have_a_gradient(self) -> None:
        s = random(1, 3, 4, 4).requires_grad_()
        loss = frequency_loss(s, s.detach(), 0.5)
        loss.backward()
        assert loss.item() == 0 and s.grad is not None and (s.grad == 0).all()

    @pytest.mark.parametrize(
        ("alpha", "cutoff", "message"),
        [
            (-0.1, 0.0, "frequency_alpha is -0.1: give a finite value of 0 or more"),
            (math.inf, 0.0, "frequency_alpha is inf"),
            (math.nan, 0.0, "frequency_alpha is nan"),
            (1.0, -0.1, "frequency_cutoff is -0.1: give a fraction of the Nyquist frequency"),
            (1.0, 1.5, "frequency_cutoff is 1.5"),
            (1.0, math.nan, "frequency_cutoff is nan"),
        ],
    )
    def test_bad_settings(self, alpha: float, cutoff: float, message: str) -> None:
        x = random(1, 1, 4, 4)
        with pytest.raises(ArgumentError, match=message):
            frequency_loss(x, x, alpha, cutoff)
        with pytest.raises(ArgumentError, match=message):
            FrequencyLoss(alpha, cutoff)


def numpy_features(layers: Sequence[nn.Module], images: Array) -> list[Array]:
    """Run convolutions, norms in eval mode and activations in NumPy; the output of every layer."""
    outputs = []
    x = images
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight.detach().double().numpy()
            (side, _), (step, _), (margin, _) = layer.kernel_size, layer.stride, layer.padding
            x = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
            places = sliding_window_view(x, (side, side), axis=(2, 3))[:, :, ::step, ::step]
            x = np.einsum("bchwij,ocij->bohw", places, weight)
            if layer.bias is not None:
                x = x + layer.bias.detach().double().numpy()[:, None, None]
        elif isinstance(layer, nn.BatchNorm2d):
            mean, var, weight, bias = (
                v.detach().double().numpy()[:, None, None]
                for v in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
            )
            x = (x - mean) / np.sqrt(var + 1e-5) * weight + bias
        elif isinstance(layer, nn.InstanceNorm2d):
            mean, var = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
            x = (x - mean) / np.sqrt(var + 1e-5)
        elif isinstance(layer, nn.LeakyReLU):
            x = np.where(x > 0, x, 0.2 * x)
        elif isinstance(layer, nn.ReLU):
            x = np.maximum(x, 0)
        else:
            assert isinstance(layer, nn.Identity)
        outputs.append(x)
    return outputs


def fill(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network weights, and statistics that are not those of a new one, without global random numbers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
                if tensor.ndim == 1:  # biases, and norms: variances must be positive
                    tensor.abs_().add_(0.1)
    return network.eval()


class TestPerceptual:
    NETWORKS = """
from torch import nn

def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, stride=2))

def loaded():
    network = tiny()
    nn.init.constant_(network[0].weight, 0.1)  # as from a file; the last layer is new
    return network

def number():
    return 3
"""

    @pytest.fixture
    def tiny(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """How a user names a network of their own, a function of a module that can be imported."""
        (tmp_path / "networks_of_a_user.py").write_text(self.NETWORKS)
        monkeypatch.syspath_prepend(tmp_path)
        yield "networks_of_a_user:tiny"
        sys.modules.pop("networks_of_a_user", None)

    @staticmethod
    def network() -> nn.Sequential:
        network = fill(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, stride=2)), seed=4)
        assert isinstance(network, nn.Sequential)
        return network.requires_grad_(False)

    @staticmethod
    def oracle(student: Array, teacher: Array, network: nn.Sequential, layers: Sequence[int], scaling: str) -> float:
        def look(images: Array) -> list[Array]:
            if scaling == "imagenet":
                if images.shape[1] == 1:
                    images = np.concatenate([images] * 3, 1)
                scaled = np.empty_like(images)
                for c, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
                    scaled[:, c] = ((images[:, c] + 1) / 2 - mean) / std
                images = scaled
            return numpy_features(list(network), images)

        own, other = look(student), look(teacher)
        return sum(float(((own[n] - other[n]) ** 2).mean()) for n in layers) / len(layers)

    @pytest.mark.parametrize("layers", [[0], [2], [1, 2], [2, 0, 1]])
    @pytest.mark.parametrize(("scaling", "channels"), [("imagenet", 3), ("imagenet", 1), ("image", 3)])
    def test_equals_the_network_in_numpy(self, scaling: str, channels: int, layers: list[int]) -> None:
        network, names = self.network(), [str(n) for n in layers]
        s, t = (0.4 * random(2, channels, 8, 7, seed=seed) for seed in (1, 2))
        agree(
            lambda x: perceptual_loss(x, t, network, names, scaling),  # type: ignore[arg-type]
            lambda x: self.oracle(x, t.numpy(), network, layers, scaling),
            s,
        )

    def test_worked_example(self) -> None:
        """A value of 0.2 is 0.6 in [0, 1], above the mean of every channel; -1 is 0, below it, which a ReLU stops."""
        s, t = torch.full((1, 3, 2, 2), 0.2, dtype=torch.float64), -torch.ones(1, 3, 2, 2, dtype=torch.float64)
        network = nn.Sequential(nn.ReLU())
        by_hand = [((0.6 - 0.485) / 0.229) ** 2, ((0.6 - 0.456) / 0.224) ** 2, ((0.6 - 0.406) / 0.225) ** 2]
        assert perceptual_loss(s, t, network, ["0"]).item() == pytest.approx(sum(by_hand) / 3, rel=1e-10)
        assert perceptual_loss(s, t, network, ["0"], "image").item() == pytest.approx(0.04, rel=1e-10)

    def test_grey_images_are_three_equal_channels(self) -> None:
        s, t = (0.4 * random(2, 1, 6, 6, seed=seed) for seed in (1, 2))
        colour = [x.repeat(1, 3, 1, 1) for x in (s, t)]
        network = self.network()
        torch.testing.assert_close(
            perceptual_loss(s, t, network, ["2"]), perceptual_loss(*colour, network, ["2"]), rtol=1e-12, atol=0
        )

    def test_a_network_that_looks_at_the_image_alone_gives_l2(self) -> None:
        s, t = random(2, 3, 4, 4, seed=1), random(2, 3, 4, 4, seed=2)
        value = perceptual_loss(s, t, nn.Sequential(nn.Identity()), ["0"], "image")
        torch.testing.assert_close(value, pixel_loss(s, t, "l2"), rtol=1e-12, atol=0)

    def test_a_function_with_weights_from_a_file(self, tiny: str, tmp_path: Path) -> None:
        network = self.network()
        torch.save(network.state_dict(), tmp_path / "weights.pt")
        term = PerceptualLoss(tiny, str(tmp_path / "weights.pt"), "0, 2")
        s, t = (0.4 * random(2, 3, 8, 7, seed=seed) for seed in (1, 2))
        agree(lambda x: term(x, t), lambda x: self.oracle(x, t.numpy(), network, [0, 2], "imagenet"), s)
        assert term.network is not None
        assert not term.network.training and not any(p.requires_grad for p in term.network.parameters())

    def test_a_function_that_loads_its_weights_keeps_what_it_built(self, tiny: str) -> None:
        """The scaling can be chosen, and building the network leaves the random numbers of the run alone."""
        term = PerceptualLoss(tiny.replace("tiny", "loaded"), "own", layers="2", scaling="image")
        before = torch.get_rng_state()
        term.load()
        assert torch.equal(before, torch.get_rng_state())
        network = term.network
        term.load()
        assert term.network is network and isinstance(network, nn.Sequential)
        assert network[0].weight.unique().tolist() == pytest.approx([0.1]) and term.drawn() is None
        s, t = random(1, 3, 8, 8, seed=1), random(1, 3, 8, 8, seed=2)
        expected = self.oracle(s.numpy(), t.numpy(), network, [2], "image")
        assert term(s, t).item() == pytest.approx(expected, rel=1e-10)

    def test_a_function_that_loads_none_is_refused(self, tiny: str) -> None:
        with pytest.raises(
            ArgumentError, match=r"perceptual_weights is own, but networks_of_a_user:tiny initialises all weights"
        ):
            PerceptualLoss(tiny, "own", layers="2").load()

    def test_random_weights_are_always_the_same(self, tiny: str) -> None:
        """Whatever was drawn before, as by another process of the run; and nothing that comes after is changed."""
        states = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            term = PerceptualLoss(tiny, "random", layers="2")
            term.load()
            assert torch.equal(torch.get_rng_state(), before)
            assert term.drawn() is term.network is not None
            states.append(list(term.network.state_dict().values()))
        assert all(torch.equal(one, other) and one.unique().numel() > 1 for one, other in zip(*states, strict=True))

    @pytest.mark.parametrize("layers", ["", "model.1,model.9"])
    def test_a_generator(self, layers: str, tmp_path: Path) -> None:
        """Its encoder by default: all up to the last layer before the residual blocks, the tenth; not scaled."""
        generator = fill(build_generator(RESNET), seed=5)
        torch.save(generator.state_dict(), tmp_path / "latest_net_G.pth")
        term = PerceptualLoss(str(tmp_path / "latest_net_G.pth"), layers=layers)
        s, t = (0.4 * random(2, 3, 12, 8, seed=seed) for seed in (1, 2))
        modules = list(generator.double().model)  # type: ignore[arg-type]

        def features(x: torch.Tensor, end: int) -> torch.Tensor:
            for module in modules[:end]:
                x = module(x.clone())  # activations in place must not reach what was kept
            return x.detach()

        parts = [(features(s, n) - features(t, n)).square().mean().item() for n in ((2, 10) if layers else (10,))]
        assert term(s, t).item() == pytest.approx(sum(parts) / len(parts), rel=1e-10)
        assert term.scaling == "image"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, "perceptual_network is '': name the function"),
            ({"network": "networks"}, "perceptual_network is 'networks'"),
            ({"network": "networks:"}, "perceptual_network is 'networks:'"),
            ({"network": ":tiny"}, "perceptual_network is ':tiny'"),
            ({"network": "a:b"}, "perceptual_layers is empty: name modules of a:b"),
            (
                {"network": "a:b", "layers": "0"},
                "perceptual_weights is empty, .* a:b .* give a file of its state dict, own if .*, or random",
            ),
            ({"network": "G.pth", "weights": "w.pt"}, "perceptual_weights w.pt has no effect: G.pth contains"),
            ({"network": "G.pth", "weights": "random"}, "perceptual_weights random has no effect: G.pth contains"),
            (
                {"network": "a:b", "layers": "0", "weights": "own", "scaling": "imagnet"},
                "unknown perceptual_input.*mean 'imagenet'",
            ),
        ],
    )
    def test_bad_settings(self, settings: dict, message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            PerceptualLoss(**settings)

    @pytest.mark.parametrize(
        ("network", "layers", "message"),
        [
            ("networks_of_no_user:tiny", "0", "networks_of_no_user:tiny cannot be built: ModuleNotFoundError"),
            ("networks_of_a_user:huge", "0", "networks_of_a_user:huge cannot be built: .* has no attribute 'huge'"),
            ("networks_of_a_user:number", "0", "networks_of_a_user:number: returned a int, expected a network"),
            ("networks_of_a_user:tiny", "3", "there is no module '3' in the Sequential"),
        ],
    )
    def test_what_cannot_be_built(self, network: str, layers: str, message: str, tiny: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            PerceptualLoss(network, "random", layers).load()

    def test_weights_that_do_not_fit(self, tiny: str, tmp_path: Path) -> None:
        torch.save(nn.Conv2d(3, 4, 3).state_dict(), tmp_path / "other.pt")
        with pytest.raises(
            ArgumentError, match=r"perceptual_weights .*other.pt does not fit the network: .*0\.weight"
        ):
            PerceptualLoss(tiny, str(tmp_path / "other.pt"), "0").load()
        (tmp_path / "text.pt").write_text("no weights")
        with pytest.raises(CheckpointError, match=r"text\.pt: is not a PyTorch checkpoint"):
            PerceptualLoss(tiny, str(tmp_path / "text.pt"), "0").load()

    def test_missing_files(self, tiny: str, tmp_path: Path) -> None:
        with pytest.raises(KDError, match=r"^perceptual_weights .*nowhere\.pt does not exist: give a file, own"):
            PerceptualLoss(tiny, str(tmp_path / "nowhere.pt"), "0").load()
        with pytest.raises(KDError, match=r"nowhere\.pth: no such file"):
            PerceptualLoss(str(tmp_path / "nowhere.pth")).load()

    def test_a_discriminator_is_no_generator(self, tmp_path: Path) -> None:
        save(patchgan(1, "batch"), tmp_path / "latest_net_D.pth")
        with pytest.raises(CheckpointError, match="no first layer of a ResNet or U-Net generator"):
            PerceptualLoss(str(tmp_path / "latest_net_D.pth")).load()

    def test_no_such_layer(self) -> None:
        x = random(1, 3, 6, 6)
        with pytest.raises(ArgumentError, match="there is no module 'features' in the Sequential"):
            perceptual_loss(x, x, self.network(), ["features"])


def norm_layer(norm: str, width: int) -> nn.Module:
    return {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": lambda _: nn.Identity()}[norm](width)


def patchgan(n_layers: int, norm: str, input_nc: int = 3, ndf: int = 2) -> nn.Sequential:
    """The family's PatchGAN, from the pix2pix paper and the names in its files."""
    layers = [nn.Conv2d(input_nc, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for n in range(1, n_layers + 1):
        width = ndf * min(2**n, 8)
        before, step = ndf * min(2 ** (n - 1), 8), 2 if n < n_layers else 1
        layers += [nn.Conv2d(before, width, 4, step, padding=1, bias=norm == "instance")]
        layers += [norm_layer(norm, width), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(width, 1, 4, stride=1, padding=1)]
    network = fill(nn.Sequential(*layers), seed=6)
    assert isinstance(network, nn.Sequential)
    return network


def pixelgan(norm: str, input_nc: int = 3, ndf: int = 2) -> nn.Sequential:
    bias = norm == "instance"
    network = fill(
        nn.Sequential(
            nn.Conv2d(input_nc, ndf, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(ndf, 2 * ndf, 1, bias=bias),
            norm_layer(norm, 2 * ndf),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * ndf, 1, 1, bias=bias),
        ),
        seed=7,
    )
    assert isinstance(network, nn.Sequential)
    return network


def save(network: nn.Sequential, file: Path, prefix: str = "model.") -> Path:
    torch.save({prefix + key: value for key, value in network.state_dict().items()}, file)
    return file


NORMS = ("batch", "instance", "none")
DISCRIMINATORS = {
    **{f"n_layers_{n}-{norm}": (partial(patchgan, n, norm), "model.") for n in (1, 3) for norm in NORMS},
    **{f"pixel-{norm}": (partial(pixelgan, norm), "net.") for norm in NORMS},
}


class TestDiscriminator:
    @staticmethod
    def oracle(student: Array, teacher: Array, source: Array | None, layers: nn.Sequential) -> float:
        """Mean squared differences after every activation, the mean of them all."""
        own, other = (
            numpy_features(list(layers), images if source is None else np.concatenate((source, images), 1))
            for images in (student, teacher)
        )
        places = [i for i, layer in enumerate(layers) if isinstance(layer, nn.LeakyReLU)]
        return sum(float(((own[i] - other[i]) ** 2).mean()) for i in places) / len(places)

    @pytest.mark.parametrize("kind", DISCRIMINATORS)
    @pytest.mark.parametrize("wrapper", ["", "module."])
    def test_features_are_those_of_the_network_in_the_file(self, kind: str, wrapper: str, tmp_path: Path) -> None:
        build, prefix = DISCRIMINATORS[kind]
        network = build()
        before = torch.get_rng_state()
        loaded = load_discriminator(save(network, tmp_path / "latest_net_D.pth", wrapper + prefix))
        assert torch.equal(before, torch.get_rng_state())
        assert loaded.input_nc == 3 and not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        expected, x = [], random(2, 3, 32, 32, dtype=torch.float32)
        images = x
        for layer in network:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                expected.append(x)
        features = loaded(images)
        assert len(features) == len(expected)
        for ours, theirs in zip(features, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)  # the same operations

    @pytest.mark.parametrize("conditional", [False, True])
    @pytest.mark.parametrize("kind", DISCRIMINATORS)
    def test_equals_the_network_in_numpy(self, kind: str, conditional: bool, tmp_path: Path) -> None:
        """A conditional one is shown the input first: two channels of it, then three of the output."""
        build, prefix = DISCRIMINATORS[kind]
        network = build(input_nc=5 if conditional else 3)
        file = save(network, tmp_path / "latest_net_D.pth", prefix)
        side = 24 if "n_layers_3" in kind else 8
        s, t, source = (0.5 * random(2, c, side, side, seed=seed) for c, seed in ((3, 1), (3, 2), (2, 3)))
        shown = source.numpy() if conditional else None
        discriminator, term = load_discriminator(file), DiscriminatorLoss(str(file))
        agree(
            lambda x: discriminator_loss(x, t, source, discriminator),
            lambda x: self.oracle(x, t.numpy(), shown, network),
            s,
        )
        assert term(s, t, source) == discriminator_loss(s, t, source, discriminator)

    def test_worked_example(self) -> None:
        """One channel through weights 2, then 3, then the score: 1 gives 2 and 6, -1 gives -0.4 and -0.24."""
        layers = pixelgan("none", 1, 1)
        for place, weight in ((0, 2.0), (2, 3.0), (5, 1.0)):
            layers[place].weight.data.fill_(weight)
        layers[0].bias.data.zero_()
        layers[2].weight.data = layers[2].weight.data[:1]  # one channel of the two
        ones = torch.ones(1, 1, 2, 2, dtype=torch.float64)
        loss = discriminator_loss(ones, -ones, ones, Discriminator(layers, 1))
        assert loss.item() == pytest.approx((2.4**2 + 6.24**2) / 2, rel=1e-6)

    def test_what_is_shown_alike_is_no_difference(self) -> None:
        """An unconditional discriminator does not look at the input, a conditional one does."""
        s, t = random(1, 3, 8, 8, seed=1), random(1, 3, 8, 8, seed=2)
        sources = [random(1, 3, 8, 8, seed=seed) for seed in (3, 4)]
        alone, pairs = (Discriminator(patchgan(1, "none", nc), nc).requires_grad_(False) for nc in (3, 6))
        assert discriminator_loss(s, t, sources[0], alone) == discriminator_loss(s, t, sources[1], alone)
        assert discriminator_loss(s, t, sources[0], pairs) != discriminator_loss(s, t, sources[1], pairs)
        assert discriminator_loss(s, s.clone(), sources[0], pairs).item() == 0

    @pytest.mark.parametrize("input_nc", [1, 4, 7])
    def test_other_channels_are_refused(self, input_nc: int) -> None:
        x = random(1, 3, 8, 8)
        discriminator = Discriminator(patchgan(1, "none", input_nc), input_nc)
        with pytest.raises(ArgumentError, match=rf"takes {input_nc} channels, expected 3 .* or 6 .*this teacher"):
            discriminator_loss(x, x, x, discriminator)

    def test_bad_input_pictures(self) -> None:
        x = random(1, 3, 8, 8)
        discriminator = Discriminator(patchgan(1, "none"), 3)
        with pytest.raises(ArgumentError, match=r"expected a batch \(B, C, H, W\)"):
            discriminator_loss(x, x, x[0], discriminator)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ArgumentError, match=r"none is given: give .* as discriminator_file"):
            DiscriminatorLoss().load()
        for file in (str(tmp_path / "latest_net_D.pth"), str(tmp_path)):
            with pytest.raises(ArgumentError, match=rf"'{file}' is not a file: give .* as discriminator_file"):
                DiscriminatorLoss(file).load()
        with pytest.raises(CheckpointError, match="no such file"):
            load_discriminator(tmp_path / "latest_net_D.pth")

    @pytest.mark.parametrize("spec", [RESNET, UNET], ids=["resnet", "unet"])
    def test_a_generator_is_refused(self, spec: GeneratorSpec, tmp_path: Path) -> None:
        file = tmp_path / "latest_net_G.pth"
        torch.save(build_generator(spec).state_dict(), file)
        with pytest.raises(
            CheckpointError, match=r"latest_net_G\.pth: is not a discriminator of the family.*model\.0"
        ):
            DiscriminatorLoss(str(file)).load()

    @pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
    def test_a_truncated_file_is_refused(self, part: float, tmp_path: Path) -> None:
        file = save(patchgan(1, "batch"), tmp_path / "latest_net_D.pth")
        content = file.read_bytes()
        file.write_bytes(content[: int(part * len(content))])
        with pytest.raises(CheckpointError, match=r"latest_net_D\.pth: (is empty|cannot be read|is damaged)"):
            load_discriminator(file)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda s: {k: v for k, v in s.items() if k != "model.3.running_mean"}, r"Missing key.*3\.running_mean"),
            (lambda s: {**s, "model.3.weight": torch.ones(7)}, r"size mismatch for 3\.weight"),
            (lambda s: {**s, "model.5.weight": torch.ones(2, 4, 4, 4)}, "does not end in a convolution to one score"),
            (lambda s: {k: v for k, v in s.items() if not k.startswith("model.5")}, "does not end in a convolution"),
            (
                lambda s: {**s, "model.2.weight": torch.ones(4, 2, 3, 3)},
                r"'2\.weight' does not have the index or the shape",
            ),
            (
                lambda s: {k.replace("model.2.", "model.1."): v for k, v in s.items()},
                r"'1\.weight' does not have the index",
            ),
            (lambda s: {**s, "model.2.weight": torch.ones(4, 2, 4, 1)}, r"size mismatch|as large as"),
            (lambda s: {**s, "model.0.weight": torch.ones(2, 3)}, "does not end|does not have the index"),
        ],
    )
    def test_other_networks_are_refused(self, change: Callable, message: str, tmp_path: Path) -> None:
        file = save(patchgan(1, "batch"), tmp_path / "latest_net_D.pth")
        load_discriminator(file)
        torch.save(change(torch.load(file, weights_only=True)), file)
        with pytest.raises(
            CheckpointError, match=rf"latest_net_D\.pth: is not a discriminator of the family.*{message}"
        ):
            load_discriminator(file)

    @pytest.mark.parametrize(
        ("teacher", "expected"),
        [
            ("runs/pix2pix/latest_net_G.pth", "runs/pix2pix/latest_net_D.pth"),
            ("runs/cycle/latest_net_G_A.pth", "runs/cycle/latest_net_D_A.pth"),
            ("runs/cycle/20_net_G_B.pth", "runs/cycle/20_net_D_B.pth"),
            ("old_net_G/5_net_G.pth", "old_net_G/5_net_D.pth"),  # the folder keeps its name
        ],
    )
    def test_lies_beside_the_generator(self, teacher: str, expected: str) -> None:
        """CycleGAN's D_A judges what G_A made."""
        assert DiscriminatorLoss.implied_options(Path(teacher)) == {"discriminator_file": str(Path(expected))}


FEATURES = {
    "feature": feature_loss,
    "attention": attention_loss,
    "similarity": similarity_loss,
    "kernel_alignment": kernel_alignment_loss,
    "gram": gram_loss,
}
IMAGES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "pixel": pixel_loss,
    "ssim": ssim_loss,
    "frequency": frequency_loss,
    "perceptual": lambda s, t: perceptual_loss(s, t, nn.Sequential(nn.Identity()), ["0"]),
    "discriminator": lambda s, t: discriminator_loss(s, t, s, Discriminator(pixelgan("none"), 3)),
}


class TestShapes:
    """What every function refuses, where the shared test of the terms does not reach the function itself."""

    BAD = (
        (torch.zeros(3, 16, 16), r"expected a batch \(B, C, H, W\), got the shape \(3, 16, 16\)"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), r"expected floating-point values, got torch.uint8"),
        (torch.zeros(0, 3, 16, 16), r"expected a non-empty batch, got the shape \(0, 3, 16, 16\)"),
    )

    @pytest.mark.parametrize(("bad", "message"), BAD)
    @pytest.mark.parametrize("name", [*FEATURES, *IMAGES])
    def test_no_batch(self, name: str, bad: torch.Tensor, message: str) -> None:
        loss, good = {**FEATURES, **IMAGES}[name], torch.zeros(1, 3, 16, 16)
        for pair in ((bad, good), (good, bad), (bad, bad)):
            with pytest.raises(ArgumentError, match=message):
                loss(*pair)

    @pytest.mark.parametrize(("bad", "message"), BAD)
    def test_no_batch_to_smooth(self, bad: torch.Tensor, message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            total_variation_loss(bad)

    @pytest.mark.parametrize("shape", [(2, 3, 16, 16), (1, 1, 16, 16), (1, 3, 16, 12), (1, 3, 12, 16)])
    @pytest.mark.parametrize("name", IMAGES)
    def test_images_of_other_shapes(self, name: str, shape: tuple[int, ...]) -> None:
        """Also those that would broadcast."""
        with pytest.raises(
            ArgumentError, match=r"the student's shape \(1, 3, 16, 16\) and the teacher's \(.* differ"
        ):
            IMAGES[name](torch.zeros(1, 3, 16, 16), torch.zeros(shape))

    @pytest.mark.parametrize(
        ("names", "shape", "kind"),
        [
            (("feature", "attention", "similarity", "kernel_alignment", "gram"), (2, 3, 16, 16), "batch size"),
            (("feature", "gram"), (1, 1, 16, 16), "channels"),
            (("feature", "attention", "similarity", "kernel_alignment"), (1, 3, 16, 1), "resolution"),
            (("feature", "attention", "similarity", "kernel_alignment"), (1, 3, 1, 16), "resolution"),
            (("feature",), (1, 2, 1, 16), "channels and resolution"),
        ],
    )
    def test_features_of_other_shapes(self, names: tuple[str, ...], shape: tuple[int, ...], kind: str) -> None:
        numbers = ", ".join(str(n) for n in shape)
        message = rf"student's are \(1, 3, 16, 16\), the teacher's \({numbers}\).*same ({kind})"
        for name in names:
            with pytest.raises(ArgumentError, match=message):
                FEATURES[name](torch.zeros(1, 3, 16, 16), torch.zeros(shape))


@pytest.mark.parametrize("name", ["attention", "similarity", "kernel_alignment"])
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_float32_at_any_scale_of_the_features(name: str, scale: float) -> None:
    """These losses do not depend on the scale of the features, but powers of them would leave float32 on the way."""
    s, t = random(1, 4, 8, 8, seed=1).float(), random(1, 4, 8, 8, seed=2).float()
    expected = FEATURES[name](s, t).item()
    assert FEATURES[name](s * scale, t * scale).item() == pytest.approx(expected, rel=1e-4)
    assert FEATURES[name](s * scale, s * scale).item() == pytest.approx(0, abs=1e-6)


class TestErrorsFoundInReview:
    """What once came as a traceback."""

    def test_source_of_another_size(self, tmp_path: Path) -> None:
        judge = Discriminator(nn.Sequential(nn.Conv2d(6, 2, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(2, 1, 4, 1, 1)), 6)
        images, source = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 30, 30)
        with pytest.raises(ArgumentError, match=r"\(1, 3, 30, 30\) and \(1, 3, 32, 32\).*a multiple of 4"):
            discriminator_loss(images, images, source, judge)

    @pytest.mark.parametrize("layers", [1, 2, 3])
    def test_the_smallest_image_of_a_discriminator(self, layers: int) -> None:
        widths = [3, *(2 for _ in range(layers + 1))]
        parts: list[nn.Module] = []
        for n, (before, width) in enumerate(pairwise(widths)):
            parts.append(nn.Conv2d(before, width, 4, 2 if n < layers else 1, 1))
            parts += [nn.InstanceNorm2d(width)] if n else []
            parts.append(nn.LeakyReLU(0.2))
        judge = Discriminator(nn.Sequential(*parts, nn.Conv2d(2, 1, 4, 1, 1)), 3)
        side = judge.smallest_side
        small, large = torch.zeros(1, 3, side - 1, 64), torch.rand(1, 3, side, side)
        with pytest.raises(ArgumentError, match=f"needs images of at least {side} pixels, got 64x{side - 1}"):
            discriminator_loss(small, small, small, judge)
        assert discriminator_loss(large, large * 0.5, large, judge) > 0
        with pytest.raises(ValueError, match="more than 1 spatial element"):
            judge(torch.zeros(1, 3, side - 1, side - 1))  # so the bound is no larger than it must be

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("torch:float32", "own", "0"), "torch:float32 cannot be built: TypeError: "),
            (("torch.nn:Conv2d", "own", "0"), "torch.nn:Conv2d cannot be built: TypeError: .*missing"),
            ((".foo:bar", "", "0"), "perceptual_network is '.foo:bar': name the function"),
        ],
    )
    def test_functions_that_build_nothing(self, arguments: tuple[str, str, str], message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            PerceptualLoss(*arguments).load()

    def test_layers_of_commas(self) -> None:
        with pytest.raises(ArgumentError, match="perceptual_layers is empty"):
            PerceptualLoss("torch.nn:Identity", layers=",")
        x = torch.zeros(1, 3, 8, 8)
        with pytest.raises(ArgumentError, match="no layer is given"):
            perceptual_loss(x, x, nn.Identity(), [])

    def test_channels_imagenet_does_not_have(self) -> None:
        x = torch.zeros(1, 4, 8, 8)
        with pytest.raises(ArgumentError, match="these have 4 channels: set perceptual_input to image"):
            perceptual_loss(x, x, nn.Sequential(nn.Conv2d(4, 1, 1)), ["0"])

    def test_unknown_scaling(self) -> None:
        x = torch.zeros(1, 3, 8, 8)
        with pytest.raises(ArgumentError, match="did you mean 'imagenet'"):
            perceptual_loss(x, x, nn.Sequential(nn.Conv2d(3, 1, 1)), ["0"], "imagnet")  # type: ignore[arg-type]

    def test_widths_of_the_pixel_norms(self) -> None:
        x = torch.zeros(1, 3, 8, 8)
        with pytest.raises(ArgumentError, match="give positive widths"):
            pixel_loss(x, x, "smooth_l1", beta=-1)
        with pytest.raises(ArgumentError, match="give positive widths"):
            pixel_loss(x, x, "charbonnier", epsilon=0)

    @pytest.mark.parametrize(
        ("key", "shape", "message"),
        [
            ("model.2.weight", (4, 5, 4, 4), "'2.weight' does not have the index"),
            ("model.9.extra", (3,), "'9.extra' is unexpected"),
        ],
    )
    def test_discriminators_that_do_not_hang_together(
        self, tmp_path: Path, key: str, shape: tuple[int, ...], message: str
    ) -> None:
        layers = nn.Sequential(
            nn.Conv2d(3, 2, 4), nn.LeakyReLU(), nn.Conv2d(2, 4, 4), nn.InstanceNorm2d(4), nn.LeakyReLU(),
            nn.Conv2d(4, 1, 4),
        )  # fmt: skip
        state = {f"model.{name}": value for name, value in layers.state_dict().items()}
        torch.save(state, tmp_path / "good.pth")
        load_discriminator(tmp_path / "good.pth")
        torch.save({**state, key: torch.zeros(shape)}, tmp_path / "bad.pth")
        with pytest.raises(CheckpointError, match=message):
            load_discriminator(tmp_path / "bad.pth")


class TestPerceptualNetworksThatObject:
    """What a network does with a picture is its own affair; the user gets one line."""

    @staticmethod
    def loss(network: nn.Module, layers: list[str], images: torch.Tensor) -> torch.Tensor:
        return perceptual_loss(images, images * 0.5, network, layers, "image")

    def test_too_few_channels(self) -> None:
        with pytest.raises(ArgumentError, match="does not accept images of 8x8 of 3 channels: "):
            self.loss(nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU()), ["0"], torch.ones(1, 3, 8, 8))

    def test_too_small_a_picture(self) -> None:
        with pytest.raises(ArgumentError, match="8x8 of 3 channels: Expected more than 1 spatial element"):
            self.loss(nn.Sequential(nn.Conv2d(3, 2, 8), nn.InstanceNorm2d(2)), ["1"], torch.ones(1, 3, 8, 8))

    def test_a_layer_that_gives_no_tensor(self) -> None:
        class Two(nn.Module):
            def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                return x, x

        with pytest.raises(ArgumentError, match="module '0' of the perceptual network returns no tensor"):
            self.loss(nn.Sequential(Two(), nn.Identity()), ["0"], torch.ones(1, 3, 8, 8))

    def test_what_comes_after_the_last_layer_is_not_run(self) -> None:
        """VGG's layers of fixed size need not fit the pictures, nor take any time."""
        network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(5, 5))
        assert self.loss(network, ["0"], torch.ones(1, 3, 8, 8)) > 0
        assert not any(module._forward_hooks for module in network.modules())

    def test_a_layer_twice(self) -> None:
        network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
        x = torch.ones(1, 3, 8, 8)
        assert torch.equal(self.loss(network, ["0", "0"], x), self.loss(network, ["0"], x))
