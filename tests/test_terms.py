"""Requirements on every registered term, which apply to new terms automatically."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.tensors import random
from torch import nn
from torch.autograd import gradcheck

from kd_plugin import Distiller, GeneratorSpec, KDError
from kd_plugin.losses import Term, get_term, term_names
from kd_plugin.networks.generator import build_generator

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


SOURCE = random(1, 3, 16, 16, seed=3).bfloat16()  # values exact in every dtype


def pair(dtype: torch.dtype = torch.float64, batch: int = 2, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    return random(batch, 3, side, side, seed=1, dtype=dtype), random(batch, 3, side, side, seed=2, dtype=dtype)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Settings of the terms that need a file, by term."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    torch.save(
        build_generator(GeneratorSpec("resnet", 3, 3, 2, 1, "none", False, False)).state_dict(), folder / "G.pth"
    )
    layers = nn.Sequential(
        nn.Conv2d(6, 4, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(4, 8, 4, 1, 1), nn.InstanceNorm2d(8), nn.LeakyReLU(0.2),
        nn.Conv2d(8, 1, 4, 1, 1),
    )  # fmt: skip
    torch.save({f"model.{key}": value for key, value in layers.state_dict().items()}, folder / "D.pth")
    return {"perceptual": {"network": str(folder / "G.pth")}, "discriminator": {"file": str(folder / "D.pth")}}


@pytest.fixture(params=term_names())
def term(request: pytest.FixtureRequest, files: dict[str, dict[str, str]]) -> Term:
    return get_term(request.param)(**files.get(request.param, {}))


def loss_of(term: Term) -> Loss:
    """The term as a function of the two; what they were made from, where it is looked at, is always the same."""

    def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        more: list[Any] = []
        if term.reads == "translation":
            more = [
                SOURCE[..., : student.shape[-2], : student.shape[-1]]
                .expand(len(student), -1, -1, -1)
                .to(student.dtype)
            ]
        return term(student, teacher, *more)

    return loss


def test_zero_for_equal_inputs(term: Term) -> None:
    s, _ = pair()
    value = loss_of(term)(s, s.clone()).item()
    assert value == 0 if term.compares else value > 0


def test_a_prior_ignores_the_teacher(term: Term) -> None:
    s, t = pair()
    equal = torch.equal(loss_of(term)(s, t), loss_of(term)(s, t.flip(-1) * 2))
    assert equal is not term.compares


def test_positive_and_scalar(term: Term) -> None:
    value = loss_of(term)(*pair())
    assert value.item() > 0 and value.shape == ()


def test_gradcheck(term: Term) -> None:
    s, t = pair(batch=1)
    if (
        term.name == "frequency"
    ):  # its weights are constants for the gradient, by definition; checked in its own tests
        term = type(term)(alpha=0.0)
    assert gradcheck(lambda x: loss_of(term)(x, t), (s.requires_grad_(),), fast_mode=True)


def test_repeating_the_batch_changes_nothing(term: Term) -> None:
    """A mean over the batch, so that a weight means the same at any batch size."""
    s, t = pair(batch=1)
    repeated = loss_of(term)(s.repeat(4, 1, 1, 1), t.repeat(4, 1, 1, 1))
    torch.testing.assert_close(repeated, loss_of(term)(s, t))


def test_one_picture_has_something_to_learn(term: Term) -> None:
    """The hosts train at batch size 1: a term that is constant there would do nothing, unnoticed."""
    s, t = pair(batch=1)
    loss_of(term)(s.requires_grad_(), t).backward()
    assert s.grad is not None and s.grad.abs().max() > 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_is_laid_out_as_its_input(term: Term, layout: torch.memory_format) -> None:
    """Else PyTorch's instance norm, behind which features mostly stand, goes wrong at batch size 1."""
    if term.reads != "features":
        pytest.skip("images come from a convolution, which takes any layout")
    s, t = (x.contiguous(memory_format=layout) for x in pair(batch=1))
    (gradient,) = torch.autograd.grad(loss_of(term)(s.requires_grad_(), t), s)
    assert gradient.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("batch", [1, 2])
def test_the_gradient_of_a_generator_is_the_slope(term: Term, batch: int) -> None:
    """Through a whole generator with instance norm, as hosts train it, against finite differences."""
    if term.name in ("discriminator", "perceptual", "frequency"):
        pytest.skip("needs a network of its own, or has weights that are constants for the gradient")
    torch.manual_seed(0)
    student, teacher = (
        build_generator(GeneratorSpec("resnet", 3, 3, ngf, 1, "instance", False, True)).double() for ngf in (2, 3)
    )
    distiller = Distiller(student, teacher.requires_grad_(False), {term.name: 1.0})
    distiller.adapters.double()
    images = torch.rand(batch, 3, 32, 32, dtype=torch.float64)
    parameters = [p for p in student.parameters() if p.ndim > 1]
    total = distiller(images).total
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    pairs = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]
    norm = torch.stack([g.norm() for _, g in pairs]).norm()
    values = []
    for side in (1, -1):
        with torch.no_grad():
            for p, g in pairs:
                p += side * 1e-6 / norm * g
            values.append(distiller(images).total.item())
            for p, g in pairs:
                p -= side * 1e-6 / norm * g
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(norm.item(), rel=1e-2)


def test_a_step_along_the_gradient_lowers_it(term: Term) -> None:
    s, t = pair(batch=1)
    loss = loss_of(term)
    before = loss(s.requires_grad_(), t)
    (gradient,) = torch.autograd.grad(before, s)
    assert loss((s - 1e-4 * gradient / gradient.norm()).detach(), t) < before


def test_float32_agrees_with_float64(term: Term) -> None:
    s, t = pair()
    expected = loss_of(term)(s, t)
    torch.testing.assert_close(loss_of(term)(s.float(), t.float()).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(term: Term, dtype: torch.dtype) -> None:
    s, t = (x.to(dtype) for x in pair())
    loss = loss_of(term)
    result = loss(s.requires_grad_(), t)
    assert result.dtype == torch.float32
    (gradient,) = torch.autograd.grad(result, s)
    assert gradient.dtype == dtype and gradient.isfinite().all()
    wide = [x.detach().float() for x in (s, t)]
    torch.testing.assert_close(result, loss(*wide), rtol=1e-6, atol=0)
    with torch.autocast("cpu", dtype):
        assert torch.equal(loss(s, t), result)
        torch.testing.assert_close(loss(*wide), result, rtol=1e-6, atol=0)


@pytest.mark.parametrize("side", [12, 16])  # of which four levels of Haar need borders, and none
def test_memory_layout_does_not_matter(term: Term, side: int) -> None:
    s, t = pair(side=side)
    loss = loss_of(term)
    expected = loss(s, t)
    for other in (s.to(memory_format=torch.channels_last), torch.stack((s, s), dim=-1)[..., 0], s.mT.contiguous().mT):
        assert other.stride() != s.stride()
        other = other.detach().requires_grad_()
        torch.testing.assert_close(loss(other, t.to(memory_format=torch.channels_last)), expected)
        gradients = [torch.autograd.grad(loss(x, t), x)[0] for x in (other, s.detach().requires_grad_())]
        torch.testing.assert_close(*gradients)


def test_nan_is_passed_on(term: Term) -> None:
    """To the guard, which can name it; a term that swallows it would hide a run that is lost."""
    s, t = pair()
    s[0, 0, 0, 0] = float("nan")
    assert loss_of(term)(s, t).isnan()


def test_pickles(term: Term) -> None:
    s, t = pair()
    expected = loss_of(term)(s, t)
    assert loss_of(pickle.loads(pickle.dumps(term)))(s, t) == expected  # noqa: S301 - our own bytes


@pytest.mark.slow
def test_compiles_without_a_graph_break(term: Term) -> None:
    if term.name == "perceptual":
        pytest.skip("it reads a network of the user's through hooks, which torch.compile does not follow")
    if torch.__version__.startswith("2.2.") and term.name in ("wavelet", "srp", "discriminator"):
        pytest.skip("PyTorch 2.2 does not follow autograd functions, nor iterators")
    s, t = pair(torch.float32)
    loss = loss_of(term)
    expected = loss(s.requires_grad_(), t)  # and whatever is loaded once
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    value = compiled(s, t)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    gradients = [torch.autograd.grad(v, s)[0] for v in (value, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6 * gradients[1].abs().max().item())


@pytest.mark.parametrize(
    ("shape", "message"),
    [((0, 3, 12, 12), "non-empty"), ((3, 12, 12), r"\(B, C, H, W\)"), ((3, 3, 12, 12), "3, 3, 12")],
)
def test_bad_shapes(term: Term, shape: tuple[int, ...], message: str) -> None:
    other = (2, 3, 12, 12) if len(shape) == 4 and shape[0] else shape
    with pytest.raises(KDError, match=message):
        loss_of(term)(torch.zeros(shape), torch.zeros(other))


def test_integer_images_are_refused(term: Term) -> None:
    x = torch.zeros(1, 3, 12, 12, dtype=torch.uint8)
    with pytest.raises(KDError, match="floating-point"):
        loss_of(term)(x, x)
