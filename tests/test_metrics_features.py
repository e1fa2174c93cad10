"""Networks of features: what they are given and return, and what is said where one is missing.

The libraries are stood in for by modules of their interface: their weights are not for a test to fetch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kd_plugin.errors import ArgumentError, KDError
from kd_plugin.metrics import features
from kd_plugin.metrics.features import inception, load_features, lpips_network

FIDELITY = "torch_fidelity.feature_extractor_inceptionv3"


def batch(channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, 8, 8, generator=torch.Generator().manual_seed(1))


class Extractor(nn.Module):
    """As torch-fidelity's: returns a tuple of one tensor for bytes."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str | None) -> None:
        super().__init__()
        if feature_extractor_weights_path is None:
            raise OSError("no network")
        assert features_list == ["2048"]
        self.weight = nn.Parameter(torch.load(feature_extractor_weights_path, weights_only=True))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        assert images.dtype == torch.uint8
        return (images.float().mean((2, 3)) * self.weight,)


class Lpips(nn.Module):
    """As lpips': distances (B, 1, 1, 1) of images in [-1, 1]."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        if net == "vgg":
            raise OSError("no network")

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        if first.shape[2] < 8:
            raise RuntimeError("Kernel size can't be greater than actual input size\nand more")
        return (first - second).square().mean((1, 2, 3), keepdim=True)


def module_with(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> None:
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    module_with(monkeypatch, "torch_fidelity")
    module_with(monkeypatch, FIDELITY, FeatureExtractorInceptionV3=Extractor)
    module_with(monkeypatch, "lpips", LPIPS=Lpips)


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module_with(monkeypatch, "my_features", mean=lambda images: images.mean((2, 3)), number=3)
    return sys.modules["my_features"]


@pytest.mark.parametrize("channels", [1, 3])
def test_inception_gets_bytes_of_three_channels(libraries: None, tmp_path: Path, channels: int) -> None:
    torch.save(torch.tensor(2.0), tmp_path / "weights.pth")
    network = inception(tmp_path / "weights.pth")
    expected = (batch(channels) * 255).round().mean((2, 3)).expand(-1, 3) * 2
    found = network(batch(channels))
    assert found.dtype == np.float32 and found == pytest.approx(expected.numpy(), rel=1e-6)
    described = network.description
    assert (described.name, described.library) == ("Inception", "torch-fidelity")
    assert described.resize == "299x299, bilinear as in TensorFlow 1"


def test_missing_weights_of_inception_are_an_error_of_one_line(libraries: None, tmp_path: Path) -> None:
    remedy = "give their file, or name a function that returns features of images"
    with pytest.raises(KDError, match=rf"cannot be fetched \(no network\): {remedy}$"):
        inception()
    missing = tmp_path / "none.pth"
    with pytest.raises(KDError, match=rf"are not at {missing}: {remedy}$"):
        inception(missing)
    missing.write_bytes(b"damaged")
    with pytest.raises(KDError, match=rf"cannot be read from {missing} \(.*\): {remedy}$"):
        inception(missing)


@pytest.mark.parametrize(
    ("name", "build", "message"),
    [
        (FIDELITY, inception, r"FID and KID need torch-fidelity, which cannot be imported \(.*or name a function"),
        ("lpips", lpips_network, r"LPIPS needs lpips, which cannot be imported \(.*or leave this measure out"),
    ],
)
def test_a_missing_library_is_an_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, name: str, build: Any, message: str
) -> None:
    monkeypatch.setitem(sys.modules, name.partition(".")[0], None)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(KDError, match=message) as raised:
        build()
    assert 'pip install "kd_plugin[fid]"' in str(raised.value)


def test_a_torchvision_of_another_build_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nat line 3")

    monkeypatch.setattr(features.importlib, "import_module", fail)
    for build in (inception, lpips_network):
        with pytest.raises(
            KDError, match=r"cannot be imported \(operator torchvision::nms does not exist at line 3\)"
        ):
            build()


def test_lpips_gets_images_from_minus_one_to_one(libraries: None) -> None:
    first, second = batch(1), 1 - batch(1)
    network = lpips_network()
    expected = ((2 * first - 2 * second) ** 2).mean((1, 2, 3))
    assert network(first, second) == pytest.approx(expected.numpy(), rel=1e-5)
    assert network(first[:1], second[:1]).shape == (1,)
    assert (network.description.name, network.description.resize) == ("LPIPS (alex)", "none")
    with pytest.raises(ArgumentError, match=r"LPIPS \(alex\) cannot be computed for 8x4 pixels: Kernel size can't"):
        network(first[:, :, :4], second[:, :, :4])
    with pytest.raises(ArgumentError, match="cannot compare images"):
        network(first, second[:1])


def test_missing_weights_of_lpips_are_an_error_of_one_line(libraries: None) -> None:
    with pytest.raises(KDError, match=r"the weights of LPIPS \(vgg\) cannot be fetched \(no network\): put the file"):
        lpips_network("vgg")
    with pytest.raises(ArgumentError, match="unknown trunk of LPIPS 'alexnet': did you mean 'alex'"):
        lpips_network("alexnet")  # type: ignore[arg-type]


def test_a_function_of_the_user_carries_its_name(user: ModuleType) -> None:
    network = load_features("my_features:mean")
    assert network(batch()) == pytest.approx(batch().mean((2, 3)).numpy(), rel=1e-6)
    assert network(batch(1)).shape == (2, 3)
    assert (network.description.name, network.description.version) == ("my_features:mean", "unknown")
    assert load_features("numpy:mean").description.version == np.__version__


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("my_features", "is 'my_features': name a function as package.module:function"),
        ("my_features:none", "cannot be imported: AttributeError"),
        ("no_such_module:mean", "cannot be imported: ModuleNotFoundError"),
        ("my_features:number", "my_features:number is a int: name a function"),
    ],
)
def test_a_function_that_cannot_be_imported_is_refused(user: ModuleType, source: str, problem: str) -> None:
    with pytest.raises(ArgumentError, match=f"the function of features {problem}"):
        load_features(source)


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (lambda x: x, r"returns the shape \(2, 3, 8, 8\) for 2 images: return features \(B, D\)"),
        (lambda x: x.mean((2, 3))[:1], r"returns the shape \(1, 3\) for 2 images"),
        (lambda x: x.mean((2, 3))[:, :0], r"returns the shape \(2, 0\) for 2 images"),
        (lambda x: x.mean((2, 3)).numpy(), "returns a ndarray: return a tensor"),
        (lambda x: x.mean((2, 3)) / 0, "returns features that are not finite"),
        (lambda x: x @ x.new_zeros(3, 3), "fails for images of 2x3x8x8: .*shape"),
    ],
)
def test_features_of_another_form_are_refused(user: ModuleType, returned: Any, problem: str) -> None:
    vars(user)["given"] = returned
    with pytest.raises(ArgumentError, match=f"^my_features:given {problem}"):
        load_features("my_features:given")(batch())


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        (torch.zeros(2, 2, 8, 8), "one or three channels, these have 2"),
        (torch.full((1, 3, 8, 8), -1.0), r"run from -1 to -1: scale them to \[0, 1\]"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "expected floating-point values"),
    ],
)
def test_images_of_another_form_are_refused(user: ModuleType, images: torch.Tensor, problem: str) -> None:
    with pytest.raises(ArgumentError, match=problem):
        load_features("my_features:mean")(images)
