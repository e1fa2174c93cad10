"""Tiles of an image: against the image at once, and the windows that cover it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.generators import random_generator, save_generator
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.errors import ArgumentError, KDError
from kd_plugin.export import onnx_file
from kd_plugin.export.network import deployed
from kd_plugin.export.tiling import STRIDE, tile_margin, tile_networks, translate_tiles, windows

SPECS = {
    "instance": GeneratorSpec("resnet", 3, 3, 4, 2, "instance", False, True),
    "batch-dropout": GeneratorSpec("resnet", 3, 1, 4, 1, "batch", True, False),
    "separable": GeneratorSpec("resnet", 1, 3, 4, 1, "instance", False, True, conv="separable"),
}


def images(channels: int, height: int, width: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, channels, height, width, generator=generator) * 2 - 1


@pytest.fixture(params=SPECS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return deployed(random_generator(SPECS[request.param]), "picture")


class TestNetworks:
    @pytest.fixture(autouse=True)
    def without_gradients(self) -> Iterator[None]:
        with torch.no_grad():
            yield

    def test_the_two_are_the_generator(self, network: nn.Module) -> None:
        statistics, tiles = tile_networks(copy.deepcopy(network))
        batch = images(network.spec.input_nc, 48, 64)
        torch.testing.assert_close(tiles(batch, statistics(batch)), network(batch), atol=2e-5, rtol=0)

    def test_tiles_are_the_image_at_once(self, network: nn.Module) -> None:
        statistics, tiles = tile_networks(network)
        batch = images(network.spec.input_nc, 136, 172)
        found = statistics(batch)
        margin = tile_margin(tiles, len(found), network.spec.input_nc)
        whole = tiles(batch, found)
        for tile in ((2 * margin + STRIDE, 2 * margin + 16), (136, 80)):
            parts = translate_tiles(batch, tile, margin, lambda part: tiles(part, found))
            torch.testing.assert_close(parts, whole, atol=2e-5, rtol=0)

    def test_statistics_of_a_batch_are_those_of_all_its_pixels(self) -> None:
        norm = nn.Sequential(nn.InstanceNorm2d(3, affine=True))
        weight, bias = (nn.Parameter(torch.rand(3)) for _ in range(2))
        norm[0].weight, norm[0].bias = weight, bias
        statistics, tiles = tile_networks(norm)
        batch = images(3, 16, 16, batch=2)
        wide = torch.cat(list(batch), dim=2)[None]
        torch.testing.assert_close(statistics(batch), statistics(wide))
        expected = F.instance_norm(wide, weight=weight, bias=bias)
        torch.testing.assert_close(tiles(wide, statistics(batch)), expected, atol=1e-5, rtol=0)

    def test_a_norm_that_runs_twice_has_statistics_of_each_time(self) -> None:
        norm = nn.InstanceNorm2d(3)
        network = nn.Sequential(norm, nn.Conv2d(3, 3, 1), norm)
        batch = images(3, 16, 16)
        expected = network(batch)
        statistics, tiles = tile_networks(network)
        found = statistics(batch)
        assert len(found) == 2 * 2 * 3
        torch.testing.assert_close(tiles(batch, found), expected, atol=1e-5, rtol=0)

    def test_without_statistics_of_an_image_there_is_nothing_to_share(self) -> None:
        with pytest.raises(ArgumentError, match="computes no statistics of an image"):
            tile_networks(deployed(random_generator(SPECS["batch-dropout"]), "running"))


class TestMargin:
    @pytest.mark.parametrize("kernel, layers", [(3, 1), (7, 1), (5, 3)])
    def test_of_convolutions(self, kernel: int, layers: int) -> None:
        convolutions = [nn.Conv2d(1, 1, kernel, padding=kernel // 2) for _ in range(layers)]
        _, tiles = tile_networks(nn.Sequential(*convolutions, nn.InstanceNorm2d(1)))
        reach = layers * (kernel // 2)
        assert tile_margin(tiles, 2, 1) == -(-(reach + STRIDE - 1) // STRIDE) * STRIDE

    def test_of_a_resnet(self) -> None:
        # A residual block reaches two pixels of four; the rest of the network 3 + 1 + 2, and back.
        margins = {}
        for depth in (1, 2, 9):
            spec = GeneratorSpec("resnet", 3, 3, 1, depth, "instance", False, True)
            _, tiles = tile_networks(deployed(random_generator(spec), "picture"))
            margins[depth] = tile_margin(tiles, 2 * sum(n.num_features for n in norms_of(spec)), 3)
        assert margins[2] - margins[1] == 8 and margins[9] - margins[1] == 64

    def test_whatever_depends_on_the_whole_image_has_none(self) -> None:
        _, tiles = tile_networks(nn.Sequential(nn.InstanceNorm2d(1), nn.GroupNorm(1, 1)))
        with pytest.raises(KDError, match="depends on the whole image"):
            tile_margin(tiles, 2, 1)


def norms_of(spec: GeneratorSpec) -> list[nn.InstanceNorm2d]:
    return [module for module in random_generator(spec).modules() if isinstance(module, nn.InstanceNorm2d)]


class TestWindows:
    @given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 60))
    def test_cover_each_pixel_once_with_a_margin(self, margin: int, inner: int, more: int) -> None:
        margin, tile = margin * STRIDE, (2 * margin + inner) * STRIDE
        length = tile + more * STRIDE
        found = list(windows(length, tile, margin))
        covered = [pixel for window in found for pixel in range(window.first, window.last)]
        assert covered == list(range(length))
        for window in found:
            assert window.start % STRIDE == 0 and 0 <= window.start <= length - tile
            assert window.first == 0 or window.first - window.start >= margin
            assert window.last == length or window.start + tile - window.last >= margin


@pytest.mark.slow
class TestCommand:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        return tmp_path

    @pytest.mark.parametrize("dynamic", [[], ["--dynamic"]], ids=["fixed", "dynamic"])
    def test_two_files_translate_a_larger_image(
        self, dynamic: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        save_generator(folder / "small", SPECS["instance"])
        assert main(["export", "small", "--tiles", "--size", "96", *dynamic, "-o", "small.onnx"]) == 0
        said = capsys.readouterr().out
        facts = onnx_file.metadata_of(Path("small.onnx"))
        margin = int(facts["tile margin"])
        assert f"overlap by {margin} pixels" in said and "seams" in said

        network = deployed(random_generator(SPECS["instance"]), "picture")
        batch = images(3, 148, 180)
        statistics = onnx_file.Runner(Path("small.statistics.onnx"))(batch.numpy())
        tiles = onnx_file.Runner(Path("small.onnx"))
        parts = translate_tiles(
            batch, (96, 96), margin, lambda part: torch.from_numpy(tiles(part.numpy(), statistics=statistics))
        )
        with torch.no_grad():
            torch.testing.assert_close(parts, network(batch), atol=1e-4, rtol=0)

    def test_files_are_replaced_only_with_force(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        save_generator(folder / "small", SPECS["instance"])
        Path("small.statistics.onnx").write_text("mine")
        assert main(["export", "small", "--tiles", "-o", "small.onnx"]) == 2
        assert "small.statistics.onnx exists" in capsys.readouterr().err
        assert sorted(file.name for file in folder.iterdir()) == ["small", "small.statistics.onnx"]

    @pytest.mark.parametrize(
        "spec, arguments, message",
        [
            (SPECS["instance"], ["--size", "32"], "must be larger than"),
            (SPECS["instance"], ["--size", "98"], "multiples of 4"),
            (SPECS["instance"], ["--uint8"], "tiles are for the format onnx"),
            (SPECS["instance"], ["--format", "pt2"], "tiles are for the format onnx"),
            (SPECS["batch-dropout"], ["--statistics", "running"], "no statistics of an image"),
            (GeneratorSpec("unet", 3, 3, 4, 5, "instance", False, True), ["--size", "64"], "has no tiles"),
        ],
    )
    def test_refused(
        self,
        spec: GeneratorSpec,
        arguments: list[str],
        message: str,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        save_generator(folder / "small", spec)
        assert main(["export", "small", "--tiles", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        assert sorted(file.name for file in folder.iterdir()) == ["small"]
