"""The two papers' losses compared with independent libraries, identities, closed forms and worked examples."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import pywt
import torch
from helpers.tensors import random

from kd_plugin import KDError
from kd_plugin.losses import semantic_relation_loss, wavelet_decompose, wavelet_loss

MODES = ("zero", "symmetric", "reflect", "constant", "periodic", "periodization")


def pywt_loss(student: np.ndarray, teacher: np.ndarray, levels: int, wavelet: str, mode: str, bands: str) -> float:
    """The equation, written with two PyWavelets transforms."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # many levels on small images: all boundary, still defined
        s = pywt.wavedec2(student, wavelet, mode=mode, level=levels)
        t = pywt.wavedec2(teacher, wavelet, mode=mode, level=levels)
    low = np.abs(s[0] - t[0]).mean()
    high = sum(np.abs(np.stack(a) - np.stack(b)).mean() for a, b in zip(s[1:], t[1:], strict=True))
    return {"low": low, "high": high, "all": low + high}[bands]


def dense_relation_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The equation, for a whole batch at once, row by row."""

    def relations(f: torch.Tensor) -> torch.Tensor:
        f = f.permute(0, 2, 3, 1).reshape(len(f), -1, f.shape[1])
        a = torch.einsum("bic,bjc->bij", f, f)
        return torch.nn.functional.normalize(a, dim=2)

    return (relations(teacher) - relations(student)).abs().mean()


class TestWavelet:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("size", [(32, 32), (17, 22), (5, 3)])
    @pytest.mark.parametrize("wavelet", ["haar", "db4", "sym5", "bior2.4", "rbio3.3", "coif2", "dmey"])
    def test_transform_equals_pywt(self, wavelet: str, size: tuple[int, int], mode: str) -> None:
        levels = 2
        x = random(2, 3, *size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            expected = pywt.wavedec2(x.numpy(), wavelet, mode=mode, level=levels)
        approximation, details = wavelet_decompose(x, levels, wavelet, mode)  # type: ignore[arg-type]
        np.testing.assert_allclose(approximation.numpy(), expected[0], atol=1e-11)
        for ours, theirs in zip(reversed(details), expected[1:], strict=True):
            np.testing.assert_allclose(ours.numpy(), np.stack(theirs, axis=2), atol=1e-11)

    @pytest.mark.parametrize("bands", ["high", "low", "all"])
    @pytest.mark.parametrize(("wavelet", "levels"), [("haar", 4), ("db3", 2)])
    def test_value_and_gradient_equal_pywt(self, wavelet: str, levels: int, bands: str) -> None:
        s, t = random(2, 3, 16, 16, seed=1).requires_grad_(), random(2, 3, 16, 16, seed=2)
        loss = wavelet_loss(s, t, levels, wavelet, bands=bands)  # type: ignore[arg-type]
        reference = pywt_loss(s.detach().numpy(), t.numpy(), levels, wavelet, "zero", bands)
        assert loss.item() == pytest.approx(reference, rel=1e-12)
        loss.backward()
        # The gradient by central differences of the PyWavelets value, along random directions.
        step = 1e-6
        for seed in range(3):
            direction = random(2, 3, 16, 16, seed=10 + seed)
            ahead, behind = (
                pywt_loss((s + sign * step * direction).detach().numpy(), t.numpy(), levels, wavelet, "zero", bands)
                for sign in (1, -1)
            )
            slope = (ahead - behind) / (2 * step)
            # Linear between the zeros of the coefficients: only rounding, about 1e-16 / step, is left.
            assert (s.grad * direction).sum().item() == pytest.approx(slope, rel=1e-7, abs=1e-8)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4", "bior2.2", "rbio1.3", "coif1"])
    @pytest.mark.parametrize("bands", ["high", "low", "all"])
    def test_own_gradient_equals_autograds(self, wavelet: str, mode: str, bands: str) -> None:
        """The adjoint transform of signs, against the graph of the transform; borders, odd sides, several levels."""
        for shape in ((2, 3, 16, 24), (1, 2, 13, 10)):
            s, t = random(*shape, seed=1).requires_grad_(), random(*shape, seed=2)
            low, details = wavelet_decompose(s - t, 2, wavelet, mode)  # type: ignore[arg-type]
            high = sum(band.abs().mean() for band in details)
            expected = {"low": low.abs().mean(), "high": high, "all": low.abs().mean() + high}[bands]
            value = wavelet_loss(s, t, 2, wavelet, mode, bands)  # type: ignore[arg-type]
            torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
            ours, theirs = (torch.autograd.grad(v, s)[0] for v in (3 * value, 3 * expected))
            # Entries are sums of a few signs times filter products: rounding is relative to the largest.
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13 * theirs.abs().max().item())

    @pytest.mark.parametrize("mode", MODES)
    def test_every_discrete_wavelet(self, mode: str) -> None:
        """In both types; the 24 bits of float32 leave 1e-5 after filters of 102 taps and sums of a thousand."""
        s, t = random(1, 2, 21, 26, seed=1), random(1, 2, 21, 26, seed=2)
        for wavelet in pywt.wavelist(kind="discrete"):
            expected = pywt_loss(s.numpy(), t.numpy(), 2, wavelet, mode, "all")
            for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
                value = wavelet_loss(s.to(dtype), t.to(dtype), 2, wavelet, mode, "all")  # type: ignore[arg-type]
                assert value.item() == pytest.approx(expected, rel=tolerance), wavelet

    def test_gradient_reaches_both_images(self) -> None:
        s, t = random(1, 1, 8, 8, seed=1).requires_grad_(), random(1, 1, 8, 8, seed=2).requires_grad_()
        wavelet_loss(s, t, 2).backward()
        assert s.grad is not None and t.grad is not None
        assert torch.equal(s.grad, -t.grad) and s.grad.abs().max() > 0

    def test_inputs_are_left_as_they_are(self) -> None:
        """The fast path works in place, in buffers of its own."""
        s, t = random(1, 3, 16, 16, seed=1), random(1, 3, 16, 16, seed=2)
        before = s.clone(), t.clone()
        wavelet_loss(s, t)
        assert torch.equal(s, before[0]) and torch.equal(t, before[1])

    def test_two_backward_passes(self) -> None:
        s = random(1, 1, 8, 8, seed=1).requires_grad_()
        value = wavelet_loss(s, random(1, 1, 8, 8, seed=2))
        first, second = (torch.autograd.grad(value, s, retain_graph=True)[0] for _ in range(2))
        assert torch.equal(first, second)

    def test_worked_example(self) -> None:
        """A 2x2 image under Haar has the details (a+b-c-d)/2, (a-b+c-d)/2 and (a-b-c+d)/2."""
        s, t = torch.tensor([[[[1.0, 2.0], [4.0, 9.0]]]]), torch.zeros(1, 1, 2, 2)
        assert wavelet_loss(s, t, levels=1).item() == pytest.approx((5 + 3 + 2) / 3)
        assert wavelet_loss(s, t, levels=1, bands="low").item() == pytest.approx(8.0)

    def test_constant_offset_is_no_detail(self) -> None:
        s = random(1, 3, 16, 16)
        assert wavelet_loss(s, s + 0.5, levels=4).item() == pytest.approx(0.0, abs=1e-12)
        assert wavelet_loss(s, s + 0.5, levels=4, bands="low").item() == pytest.approx(0.5 * 2**4)

    def test_one_transform_of_the_difference_is_two_transforms(self) -> None:
        s, t = random(2, 3, 32, 32, seed=1), random(2, 3, 32, 32, seed=2)
        two = sum(
            (a - b).abs().mean()
            for a, b in zip(wavelet_decompose(s, 3, "db2")[1], wavelet_decompose(t, 3, "db2")[1], strict=True)
        )
        torch.testing.assert_close(wavelet_loss(s, t, 3, "db2"), two)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"wavelet": "harr"}, "did you mean 'haar'"),
            ({"wavelet": "morl"}, "'morl' is continuous"),
            ({"levels": 0}, "levels is 0"),
            ({"levels": 2.5}, "levels is 2.5"),
            ({"mode": "zeros"}, "did you mean 'zero'"),
            ({"bands": "hi"}, "unknown bands 'hi'"),
            ({"mode": "reflect", "levels": 6}, "use fewer levels"),
        ],
    )
    def test_bad_settings(self, settings: dict, message: str) -> None:
        x = random(1, 1, 8, 8)
        with pytest.raises(KDError, match=message):
            wavelet_loss(x, x, **settings)


class TestSemanticRelation:
    def test_equals_dense_formula(self) -> None:
        s, t = random(2, 3, 5, 4, seed=1).requires_grad_(), random(2, 7, 5, 4, seed=2)
        loss, expected = semantic_relation_loss(s, t), dense_relation_loss(s, t)
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
        ours, theirs = (torch.autograd.grad(value, s)[0] for value in (loss, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)

    @pytest.mark.parametrize("count", [511, 512, 1030])
    def test_tiles_equal_dense_formula(self, count: int) -> None:
        """One tile, exactly one, and several of unequal sizes; both gradients."""
        s, t = random(1, 3, 1, count, seed=1).requires_grad_(), random(1, 5, 1, count, seed=2).requires_grad_()
        loss, expected = semantic_relation_loss(s, t), dense_relation_loss(s, t)
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
        for ours, theirs in zip(*(torch.autograd.grad(value, (s, t)) for value in (loss, expected)), strict=True):
            # Entries are sums over all pixels that nearly cancel: rounding is relative to the largest.
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11 * theirs.abs().max().item())

    def test_float32_keeps_its_digits_beside_large_pixels(self) -> None:
        """A row's norm comes from sums over all pixels, where a thousandth of a pixel would be lost in float32."""
        s, t = random(1, 8, 16, 16, seed=1), random(1, 8, 16, 16, seed=2)
        s[..., ::2] *= 1e-3
        expected = dense_relation_loss(s, t).item()
        assert semantic_relation_loss(s.float(), t.float()).item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("scale", [1e-6, 1e6])
    def test_gradient_at_any_scale_of_the_features(self, scale: float) -> None:
        """Relations ignore the scale, so the gradient is inverse to it; no part of it may leave float32."""
        s, t = random(1, 4, 6, 6, seed=1, dtype=torch.float32), random(1, 4, 6, 6, seed=2, dtype=torch.float32)
        grads = []
        for factor in (1.0, scale):
            scaled = (s * factor).requires_grad_()
            grads.append(torch.autograd.grad(semantic_relation_loss(scaled, t), scaled)[0] * factor)
        torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-5 * grads[0].abs().max().item())

    def test_pooled_sizes(self) -> None:
        s, t = random(2, 3, 8, 8, seed=1).requires_grad_(), random(2, 5, 16, 12, seed=2)
        pooled = [torch.nn.functional.adaptive_avg_pool2d(f, 4) for f in (s, t)]
        value, expected = semantic_relation_loss(s, t, size=4), dense_relation_loss(*pooled)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
        ours, theirs = (torch.autograd.grad(v, s)[0] for v in (value, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-14)
        for size in (1, 9):
            with pytest.raises(KDError, match=f"srp_size is {size}"):
                semantic_relation_loss(s, t, size=size)

    def test_worked_example(self) -> None:
        """Orthogonal pixels relate to themselves alone; equal pixels to all alike: |1 - 1/sqrt 2|, |1/sqrt 2|."""
        orthogonal = torch.eye(2).reshape(1, 2, 1, 2)
        equal = torch.ones(1, 3, 1, 2)
        root = 0.5**0.5
        assert semantic_relation_loss(equal, orthogonal).item() == pytest.approx((1 - root + root) / 2)

    def test_invariances(self) -> None:
        """Relations do not change with the scale of the features, nor under a rotation of the channels."""
        f = random(1, 6, 4, 4)
        rotation = torch.linalg.qr(random(6, 6, seed=3))[0]
        rotated = torch.einsum("dc,bchw->bdhw", rotation, 5 * f)
        assert semantic_relation_loss(rotated, f).item() == pytest.approx(0.0, abs=1e-13)

    def test_batch_is_the_mean_of_its_images(self) -> None:
        s, t = random(3, 4, 4, 4, seed=1), random(3, 2, 4, 4, seed=2)
        single = torch.stack([semantic_relation_loss(s[i : i + 1], t[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(semantic_relation_loss(s, t), single.mean())

    def test_a_larger_image_has_smaller_entries(self) -> None:
        """Rows of unit length: four times as many pixels of the same kinds, half the loss, as documented."""
        s, t = random(1, 4, 4, 4, seed=1), random(1, 4, 4, 4, seed=2)
        large = [f.repeat_interleave(2, 2).repeat_interleave(2, 3) for f in (s, t)]
        torch.testing.assert_close(2 * semantic_relation_loss(*large), semantic_relation_loss(s, t))

    def test_zero_pixels_relate_to_nothing(self) -> None:
        s = random(1, 3, 4, 4)
        s[..., 0, :] = 0
        s.requires_grad_()
        loss = semantic_relation_loss(s, random(1, 3, 4, 4, seed=2))
        loss.backward()
        assert s.grad is not None and s.grad.isfinite().all() and loss.item() > 0
        silent = torch.zeros(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
        semantic_relation_loss(silent, silent.detach()).backward()
        assert (silent.grad == 0).all()

    def test_sizes_that_differ_are_refused_with_both_shapes(self) -> None:
        with pytest.raises(KDError, match=r"\(1, 3, 4, 4\).*\(1, 3, 8, 8\).*or give srp_size"):
            semantic_relation_loss(random(1, 3, 4, 4), random(1, 3, 8, 8))

    def test_one_pixel_is_refused(self) -> None:
        with pytest.raises(KDError, match="more than one pixel"):
            semantic_relation_loss(random(2, 3, 1, 1), random(2, 3, 1, 1))
