"""Build discriminators of the host family, and rebuild them from checkpoints to compare images by their features.

The family has two: PatchGAN (``basic`` and ``n_layers``) and ``pixel``, distinguished by the shapes in the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from ..errors import CheckpointError, in_one_line
from .checkpoint import fill_network, find_stray, read_state_dict


def find_discriminator(generator: Path) -> Path | None:
    """Return the path of a generator's discriminator: ``latest_net_D_A.pth`` for ``latest_net_G_A.pth``.

    Without that file it is the first of those named after the images that they judge, as in joliGEN:
    ``latest_net_D_B_basic.pth``. The file may not exist. None if the generator's file is not named as in the hosts.
    """
    if "_net_G" not in generator.name:
        return None
    file = generator.with_name(generator.name.replace("_net_G", "_net_D"))
    epoch, _, net = generator.stem.removesuffix("_ema").partition("_net_")
    judged = {"G_A": "B", "G_B": "A"}.get(net)
    if judged and not file.is_file():
        return next(iter(sorted(generator.parent.glob(f"{epoch}_net_D_{judged}_*.pth"))), file)
    return file


class Discriminator(nn.Module):
    """A frozen discriminator that maps (B, input_nc, H, W) images in [-1, 1] to its features."""

    def __init__(self, layers: nn.Sequential, input_nc: int) -> None:
        super().__init__()
        self.layers = layers
        self.input_nc = input_nc

    @property
    def smallest_side(self) -> int:
        """The smallest height and width of an image, in pixels, that gives the norms more than one pixel."""
        side = 2
        for layer in reversed(list(self.layers)[:-1]):
            if isinstance(layer, nn.Conv2d):
                side = (side - 1) * layer.stride[0] + layer.kernel_size[0] - 2 * int(layer.padding[0])
        return side

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the features after every activation, first to last, without the scores: (B, C, H', W') each."""
        features = []
        for layer in list(self.layers)[:-1]:  # the last computes the scores
            images = layer(images)
            if isinstance(layer, nn.LeakyReLU):
                features.append(images)
        return features


def load_discriminator(path: str | os.PathLike[str]) -> Discriminator:
    """Load a discriminator, ``*_net_D*.pth``, frozen and in eval mode; its architecture is read from the file.

    Raises:
        CheckpointError: If the file is not a discriminator of the family.
    """
    state = read_state_dict(path)
    try:
        prefix = next((p for p in ("model.", "net.") if f"{p}0.weight" in state), None)
        if prefix is None:
            raise CheckpointError("there is no 'model.0.weight'")
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        with torch.device("meta"):  # draws no random numbers
            layers = _assemble(state)
        fill_network(layers, state)
        if stray := find_stray(state, layers.state_dict()):
            raise CheckpointError(f"'{stray}' is unexpected")
    except (RuntimeError, CheckpointError) as error:
        reason = in_one_line(error)
        raise CheckpointError(f"{path}: is not a discriminator of the family, *_net_D*.pth: {reason}") from None
    network = Discriminator(layers, state["0.weight"].shape[1])
    return network.requires_grad_(False).eval()


def build_discriminator(input_nc: int, ndf: int = 64, n_layers: int = 3) -> nn.Sequential:
    """Return a PatchGAN with instance norm and the hosts' initial weights, (B, input_nc, H, W) -> (B, 1, H', W').

    Its layers and their names are those of the family's ``basic`` (70x70 pixels with three layers).

    Args:
        input_nc: channels of the images.
        ndf: channels of the first layer.
        n_layers: number of layers with a stride of 2.
    """
    widths = [ndf * min(2**i, 8) for i in range(n_layers + 1)]
    layers: list[nn.Module] = []
    for number, width in enumerate([*widths, 1]):
        before = input_nc if number == 0 else widths[number - 1]
        layers.append(nn.Conv2d(before, width, 4, 2 if number < n_layers else 1, padding=1))
        if 0 < number <= n_layers:
            layers.append(nn.InstanceNorm2d(width))
        if number <= n_layers:
            layers.append(nn.LeakyReLU(0.2, True))
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def _assemble(state: Mapping[str, torch.Tensor]) -> nn.Sequential:
    """Build the convolutions of the file with the family's layers between them."""
    places = sorted(
        int(m[1]) for key, value in state.items() if (m := re.fullmatch(r"(\d+)\.weight", key)) and value.ndim == 4
    )
    if len(places) < 3 or state[f"{places[-1]}.weight"].shape[0] != 1:
        raise CheckpointError("it does not end in a convolution to one score")
    layers: list[nn.Module] = []
    channels = 0
    for number, place in enumerate(places):
        width, before, side, _ = state[f"{place}.weight"].shape
        # PatchGAN halves at all convolutions but the last two; the pixel discriminator at none.
        stride = 2 if side == 4 and number < len(places) - 2 else 1
        if place != len(layers) or side not in (1, 4) or before != (channels or before):
            raise CheckpointError(f"'{place}.weight' does not have the index or the shape of the family")
        bias = f"{place}.bias" in state
        channels = width
        layers.append(nn.Conv2d(before, width, side, stride, padding=1 if side == 4 else 0, bias=bias))
        if number == len(places) - 1:
            break
        if number > 0:
            batch = f"{place + 1}.weight" in state
            layers.append(nn.BatchNorm2d(width) if batch else nn.InstanceNorm2d(width) if bias else nn.Identity())
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers)
