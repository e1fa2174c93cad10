"""The network that is exported gives the images of the generator, whose forward pass is the oracle."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from helpers.generators import random_generator
from torch import nn

from kd_plugin import GeneratorSpec
from kd_plugin.export.graph import Fitted, Frames, graph_of
from kd_plugin.export.images import draw_images
from kd_plugin.export.network import (
    Statistics,
    SubpixelConv,
    deployed,
    has_batch_norm,
    has_dropout,
    with_subpixel_convolutions,
)
from kd_plugin.export.parity import STEP, compare
from kd_plugin.networks.translator import ModuleTranslator, to_array, to_tensor

IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
SPECS = {
    "-".join([architecture, norm, *(["dropout"] if dropout else []), conv]): GeneratorSpec(
        architecture, 3, 3, 8, 2 if architecture == "resnet" else 6, norm, dropout, norm == "instance", None, conv
    )
    for architecture, convs in {"resnet": ("standard", "separable"), "unet": ("standard",)}.items()
    for norm in ("batch", "instance", "none")
    for dropout in (False, True)
    for conv in convs
}
# A few hundred sums of products of values below 10 in float32, whose steps are 1e-6 there.
CLOSE = 1e-5


def as_tested(network: nn.Module, statistics: Statistics) -> nn.Module:
    """The generator as a host's test has it, without the randomness of dropout."""
    network = copy.deepcopy(network).train(statistics == "picture")
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


@pytest.mark.parametrize("statistics", ["picture", "running"])
@pytest.mark.parametrize("subpixel", [False, True])
@pytest.mark.parametrize("name", SPECS)
def test_its_images_are_the_generators(name: str, statistics: Statistics, subpixel: bool) -> None:
    network = random_generator(SPECS[name])
    before = copy.deepcopy(network.state_dict())
    found = deployed(network, statistics)
    if subpixel:
        found = with_subpixel_convolutions(found)
    with torch.no_grad():
        expected = as_tested(network, statistics)(IMAGE)
        torch.testing.assert_close(found(IMAGE), expected, rtol=0, atol=CLOSE)
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", [name for name in SPECS if "batch" in name])
def test_the_two_statistics_are_apart_with_batch_norm(name: str) -> None:
    """The negative control of the test above."""
    network = random_generator(SPECS[name])
    with torch.no_grad():
        assert (deployed(network, "picture")(IMAGE) - deployed(network, "running")(IMAGE)).abs().max() > 100 * CLOSE


def test_what_it_says_of_a_generator() -> None:
    for name, spec in SPECS.items():
        network = random_generator(spec)
        assert has_batch_norm(network) == ("batch" in name)
        assert has_dropout(network) == ("dropout" in name)
        assert not has_dropout(deployed(network, "running"))


def test_instance_norms_with_running_statistics_are_known() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True, track_running_stats=True))
    network.train()(IMAGE)
    network[1].weight.data.uniform_(0.5, 1.5)
    with torch.no_grad():
        for statistics, mode in (("picture", True), ("running", False)):
            expected = copy.deepcopy(network).train(mode)(IMAGE)
            torch.testing.assert_close(deployed(network, statistics)(IMAGE), expected, rtol=0, atol=CLOSE)  # type: ignore[arg-type]


class TestSimplifications:
    def test_batch_norms_are_folded_and_idle_biases_removed(self) -> None:
        folded = deployed(random_generator(SPECS["unet-batch-standard"]), "running")
        assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        bare = deployed(random_generator(SPECS["resnet-instance-standard"]), "running")
        biases = [module.bias is not None for module in bare.modules() if isinstance(module, nn.Conv2d)]
        assert biases == [False] * (len(biases) - 1) + [True]  # the last is followed by no norm

    @pytest.mark.parametrize(
        "kernel, padding, more", [(2, 0, 0), (3, 1, 1), (4, 1, 0), (5, 2, 1), (6, 2, 0), (7, 3, 1)]
    )
    @pytest.mark.parametrize("bias", [False, True])
    def test_a_transposed_convolution_is_a_convolution_and_a_shuffle(
        self, kernel: int, padding: int, more: int, bias: bool
    ) -> None:
        torch.manual_seed(kernel)
        transposed = nn.ConvTranspose2d(3, 5, kernel, 2, padding, more, bias=bias)
        images = torch.randn(2, 3, 9, 6)
        expected = transposed(images)
        assert expected.shape[2:] == (18, 12)
        torch.testing.assert_close(SubpixelConv(transposed)(images), expected, rtol=0, atol=1e-6)

    def test_others_stay(self) -> None:
        kept = (
            nn.ConvTranspose2d(2, 2, 3, 3),
            nn.ConvTranspose2d(2, 2, 4, 2, 1, groups=2),
            nn.ConvTranspose2d(2, 2, 4, 2),
        )
        network = nn.Sequential(*kept)
        assert [type(module) for module in with_subpixel_convolutions(network)] == [nn.ConvTranspose2d] * 3


class TestOtherNetworks:
    """Of students that a factory builds."""

    def test_modules_that_are_registered_twice(self) -> None:
        activation, drop = nn.ReLU(), nn.Dropout(0.5)
        first, last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 3)
        network = nn.Sequential(
            first, activation, nn.Conv2d(8, 8, 3), drop, activation, drop, nn.InstanceNorm2d(8), last
        )
        self.check(network, "picture")

    def test_a_convolution_that_runs_twice(self) -> None:
        shared, norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.check(nn.Sequential(shared, norm, nn.ReLU(), shared), "running")

    def test_grouped_transposed_convolutions(self) -> None:
        up = nn.ConvTranspose2d(4, 8, 4, 2, 1, groups=2)
        self.check(nn.Sequential(nn.Conv2d(3, 4, 1), up, nn.BatchNorm2d(8), nn.Conv2d(8, 3, 2, 2)), "running")

    @pytest.mark.parametrize("statistics", ["picture", "running"])
    def test_batch_norms_without_running_statistics(self, statistics: Statistics) -> None:
        norm = nn.BatchNorm2d(4, track_running_stats=False)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Conv2d(4, 3, 1))
        self.check(network, statistics)
        two = torch.cat([IMAGE, IMAGE.flip(1)])
        with torch.no_grad():  # of each image, not of the batch
            found = deployed(network, statistics)
            torch.testing.assert_close(found(two)[:1], found(IMAGE), rtol=0, atol=CLOSE)

    def test_a_sequence_that_runs_in_parts_is_not_simplified(self) -> None:
        class Parts(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.InstanceNorm2d(3))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.tanh(self.layers[1](torch.relu(x + self.layers[0](x))))

        network = random_weights(Parts())
        with torch.no_grad():
            expected = network(IMAGE)
            assert (deployed(network, "picture")(IMAGE) - expected).abs().max() > 100 * CLOSE
            plain = deployed(network, "picture", simplified=False)
            torch.testing.assert_close(plain(IMAGE), expected, rtol=0, atol=CLOSE)

    def check(self, network: nn.Module, statistics: Statistics) -> None:
        network = random_weights(network)
        with torch.no_grad():
            expected = as_tested(network, statistics)(IMAGE)
            torch.testing.assert_close(deployed(network, statistics)(IMAGE), expected, rtol=0, atol=CLOSE)


def random_weights(network: nn.Module) -> nn.Module:
    """The network with biases and statistics that are not those of an untrained one."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    network.train()
    with torch.no_grad():
        network(IMAGE)
    return network.eval()


class TestGraphs:
    def test_images_keep_their_size(self) -> None:
        network = random_generator(SPECS["resnet-instance-standard"])
        images = IMAGE[:, :, :50, :37]
        with torch.no_grad():
            assert network(images).shape[2:] == (52, 40)
            torch.testing.assert_close(Fitted(network)(images), network(images)[:, :, :50, :37], rtol=0, atol=0)

    def test_frames_are_the_bytes_that_a_host_saves(self) -> None:
        """A value at the edge of two steps may fall to either side."""
        network = deployed(random_generator(SPECS["resnet-batch-standard"]), "running")
        frame = (np.random.default_rng(0).random((64, 64, 3)) * 256).astype(np.uint8)
        saved = to_array(ModuleTranslator(network, "", "", mode="eval").translate(to_tensor([frame]), [0])[0])
        with torch.no_grad():
            found = Frames(network)(torch.from_numpy(frame)[None])[0].numpy()
        different = found != saved
        assert found.dtype == np.uint8 and different.mean() < 1e-3
        assert np.abs(found.astype(int) - saved)[different].max(initial=1) == 1

    def test_in_half_precision_norms_do_not_overflow(self) -> None:
        """Channels of values up to 1000, whose squares are above 65504."""
        network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.InstanceNorm2d(4), nn.Tanh()).requires_grad_(False)
        network[0].weight *= 1000
        graph = graph_of(copy.deepcopy(network), 64, 64, half=True)
        assert {p.dtype for p in graph.module.parameters()} == {torch.float16}
        # float16 has 11 bits: each of four roundings is off by 2^-12 of a value of up to 4 deviations.
        torch.testing.assert_close(graph.module(IMAGE), network(IMAGE), rtol=0, atol=4 * 4 * 2**-11)

    def test_in_half_precision_statistics_of_norms_stay(self) -> None:
        """A variance of 1e6 is infinite in float16."""
        network = (
            nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(1, 4), nn.BatchNorm2d(4)).eval().requires_grad_(False)
        )
        network[2].running_var.fill_(1e6)
        network[2].weight.fill_(1000.0)
        graph = graph_of(copy.deepcopy(network), 64, 64, half=True)
        expected = network(IMAGE)
        assert expected.abs().max() > 1
        torch.testing.assert_close(graph.module(IMAGE), expected, rtol=0, atol=4 * 4 * 2**-11)

    def test_shapes_that_may_change_are_named(self) -> None:
        graph = graph_of(random_generator(SPECS["unet-batch-standard"]), 64, 64, dynamic=True, multiple=32)
        (shapes,) = graph.dynamic_shapes() or ({},)
        assert sorted(shapes) == [0, 2, 3] and graph.example()[0].shape == (2, 3, 64, 64)
        assert graph_of(random_generator(SPECS["unet-batch-standard"]), 64, 64, multiple=32).dynamic_shapes() is None


class TestParity:
    def test_it_is_in_steps_of_8_bits(self) -> None:
        moved = lambda images: images + np.where(images > 0, 2 * STEP, 0).astype(np.float32)  # noqa: E731
        images = torch.tensor([-0.5, 0.5, 0.25, -0.25]).reshape(1, 1, 2, 2)
        found = compare(lambda batch: batch, moved, [images, images])
        assert (found.images, round(found.largest, 4), round(found.mean, 4)) == (2, 2.0, 1.0)
        assert found.psnr == pytest.approx(10 * np.log10(255**2 / 2), abs=1e-4)

    def test_frames_count_as_they_are(self) -> None:
        frames = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
        assert compare(lambda batch: batch, lambda batch: batch + np.uint8(3), [frames]).largest == 3

    def test_equal_images_and_those_that_are_no_numbers(self) -> None:
        assert compare(lambda batch: batch, lambda batch: batch, [IMAGE]).psnr == np.inf
        broken = compare(lambda batch: batch, lambda batch: batch * np.float32("nan"), [IMAGE])
        assert broken.largest == np.inf and broken.psnr == -np.inf


def test_drawn_images_have_the_spectrum_of_photographs() -> None:
    """The amplitude is inversely proportional to the frequency: a slope of -1 in logarithms."""
    (image,) = draw_images(1)
    plane = np.asarray(image, dtype=float).mean(axis=2)
    spectrum = np.abs(np.fft.fft2(plane - plane.mean()))
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(256)] * 2))
    chosen = (frequency > 0.02) & (frequency < 0.2)
    slope = np.polyfit(np.log(frequency[chosen]), np.log(spectrum[chosen]), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)
