"""Peak memory compared with closed forms: bytes of the tensors that must be alive at the same time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kd_plugin import GeneratorSpec
from kd_plugin.errors import ArgumentError
from kd_plugin.metrics.memory import peak_memory
from kd_plugin.networks.generator import build_generator

IMAGE = 2 * 16 * 16 * 4  # bytes of one channel of the batch


def images(channels: int = 3) -> torch.Tensor:
    return torch.zeros(2, channels, 16, 16)


def bytes_of(network: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Skip(nn.Module):
    """The input is kept until it is added, or concatenated, to the result of two convolutions."""

    def __init__(self, concatenate: bool) -> None:
        super().__init__()
        self.first, self.second, self.concatenate = conv(4, 20), conv(20, 4), concatenate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.first(x))
        return torch.cat([x, y], 1) if self.concatenate else x + y


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.mean() > 0 else x


class Loose(nn.Module):
    """Holds a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


@pytest.mark.parametrize(
    ("network", "channels"),
    [
        (conv(3, 8), 3 + 8),
        # The caller keeps the input: 3 channels throughout.
        (nn.Sequential(conv(3, 8), conv(8, 2)), 3 + 8 + 2),
        (nn.Sequential(conv(3, 8), nn.ReLU()), 3 + 8 + 8),
        (nn.Sequential(conv(3, 8), nn.ReLU(True)), 3 + 8),
        (nn.Sequential(conv(3, 8), conv(8, 16), conv(16, 2), conv(2, 20)), 3 + 8 + 16),
        (nn.Sequential(conv(3, 2), conv(2, 16), conv(16, 20)), 3 + 16 + 20),
        (nn.Sequential(conv(3, 4), Skip(False)), 3 + 4 + 20 + 4),
        (nn.Sequential(conv(3, 4), Skip(True)), 3 + 4 + 20 + 4),
        (nn.Sequential(conv(3, 8), nn.Flatten(), nn.Unflatten(1, (8, 16, 16))), 3 + 8),
        (nn.Identity(), 3),
    ],
)
def test_the_peak_is_that_of_the_tensors_alive_together(network: nn.Module, channels: int) -> None:
    assert peak_memory(network.eval(), images()) == bytes_of(network) + channels * IMAGE


def test_shared_weights_count_once() -> None:
    shared = conv(3, 3)
    assert peak_memory(nn.Sequential(shared, shared), images()) == bytes_of(shared) + 9 * IMAGE


def test_half_precision_takes_half_the_memory() -> None:
    network = nn.Sequential(conv(3, 8), nn.ReLU())
    whole = peak_memory(network, images())
    assert peak_memory(network.half(), images().half()) * 2 == whole


@pytest.mark.parametrize(
    "spec",
    [
        GeneratorSpec("resnet", 3, 3, 4, 6, "instance", False, True),
        GeneratorSpec("unet", 3, 3, 4, 7, "batch", True, False),
    ],
)
def test_generators_are_counted_without_computing_and_unchanged(spec: GeneratorSpec) -> None:
    network = build_generator(spec).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    image = torch.zeros(1, 3, 128, 128)
    one, eight = peak_memory(network, image), peak_memory(network, image.expand(8, -1, -1, -1))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    # Norms keep some numbers per channel, which are not of the size of images.
    assert eight - bytes_of(network) == pytest.approx(8 * (one - bytes_of(network)), rel=0.01)
    assert one > bytes_of(network) + 2 * image.numel() * 4
    with torch.device("meta"):
        meta = build_generator(spec).eval()
    assert peak_memory(meta, image.to("meta")) == one


@pytest.mark.parametrize("network", [Branch(), Loose()])
def test_a_network_that_does_not_run_on_meta_tensors_is_refused(network: nn.Module) -> None:
    with pytest.raises(
        ArgumentError, match=f"{type(network).__name__} cannot be counted, as it does not run on meta"
    ):
        peak_memory(network, images())
