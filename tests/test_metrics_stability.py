"""Changes of outputs compared with closed forms of simple networks, and with Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from kd_plugin.errors import ArgumentError
from kd_plugin.metrics.stability import reencode_error, shift_error


def batch(seed: int, channels: int = 3, size: tuple[int, int] = (33, 41)) -> torch.Tensor:
    return torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Ramp(nn.Module):
    """Adds a value that grows by ``down`` with every row and by ``across`` with every column."""

    def __init__(self, down: float, across: float) -> None:
        super().__init__()
        self.down, self.across = down, across

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = (torch.arange(side, dtype=x.dtype) for side in x.shape[2:])
        return x + self.down * rows[:, None] + self.across * columns


class TimesRow(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.arange(x.shape[2], dtype=x.dtype)[:, None]


@pytest.mark.parametrize("pixels", [1, 3])
def test_a_network_that_sees_single_pixels_follows_a_shift(pixels: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Tanh(), nn.Conv2d(8, 3, 1))
    # Convolutions of other sizes may add in another order: an error of 1e-6 in float32.
    assert shift_error(network, batch(1), pixels, border=0) == pytest.approx([0, 0], abs=127.5 * 1e-6)


def test_padding_is_inside_the_border_alone() -> None:
    network = nn.Conv2d(3, 3, 7, padding=3)
    nn.init.constant_(network.weight, 0.1)
    inside, outside = (shift_error(network, batch(1), 1, border) for border in (3, 2))
    assert inside == pytest.approx([0, 0], abs=127.5 * 1e-6) and (outside > 1).all()


@pytest.mark.parametrize("pixels", [1, 4])
def test_a_network_that_adds_its_position_is_off_by_the_shift(pixels: int) -> None:
    found = shift_error(Ramp(0.25, 0.5), batch(1).double(), pixels, border=4)
    assert found == pytest.approx([0.75 * pixels * 127.5] * 2, rel=1e-12)


def test_a_network_that_multiplies_by_its_position_is_off_by_the_common_area() -> None:
    """At a row, the factors differ by the shift: the error is the shift times the common area's mean."""
    images = batch(1).double()
    common = images[:, :, 2 + 5 : -2 - 5, 2 + 5 : -2 - 5]
    expected = 2 * common.abs().mean((1, 2, 3)) * 127.5
    assert shift_error(TimesRow(), images, 2, border=5) == pytest.approx(expected.numpy(), rel=1e-12)


def test_the_windows_have_the_size_of_the_image_less_the_shift() -> None:
    sizes: list[torch.Size] = []
    network = nn.Identity()
    network.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape))
    shift_error(network, batch(1), 1, border=4)
    assert sizes == [(2, 3, 32, 40), (2, 3, 32, 40)]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_input_changes_as_pillow_encodes_it(channels: int) -> None:
    images = batch(1, channels)
    pixels = ((images[0] + 1) * 127.5).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    expected = np.abs(pixels.astype(float) - np.array(Image.open(file))).mean()
    for network, scale in ((nn.Identity(), 1.0), (Scaled(0.5), 0.5)):
        outputs, inputs = reencode_error(network, images)
        assert inputs[0] == pytest.approx(expected, rel=1e-5)
        assert outputs == pytest.approx(scale * inputs, rel=1e-5)
    assert (reencode_error(nn.Identity(), images, quality=30)[1] > inputs).all()


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def test_an_image_of_one_colour_survives_encoding() -> None:
    outputs, inputs = reencode_error(nn.Identity(), torch.full((1, 3, 16, 16), 1.0))
    assert outputs == inputs == 0


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="41x33 pixels leave nothing for a shift by 1 without a border of 16"):
        shift_error(nn.Identity(), batch(1)[:, :, :, :41], 1, border=16)
    with pytest.raises(ArgumentError, match="a shift by 0 pixels"):
        shift_error(nn.Identity(), batch(1), 0)
    with pytest.raises(ArgumentError, match="the network returns 20x16 pixels for 40x32"):
        shift_error(nn.MaxPool2d(2), batch(1), 1, border=0)
    with pytest.raises(ArgumentError, match="one or three channels, these have 2"):
        reencode_error(nn.Identity(), batch(1, 2))
    with pytest.raises(ArgumentError, match=r"the images run from 0 to 2: scale them to \[-1, 1\]"):
        reencode_error(nn.Identity(), torch.tensor([0.0, 2.0]).view(1, 1, 1, 2))
