"""``kd export --format executorch``: the lowering to XNNPACK, and files in ExecuTorch's runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.generators import random_generator, save_generator
from helpers.images import paint
from torch import nn
from torch.nn import functional

from kd_plugin import GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.errors import KDError
from kd_plugin.export import executorch_file
from kd_plugin.export.export import Exported, export
from kd_plugin.export.settings import ExportSettings

RESNET = GeneratorSpec("resnet", 3, 3, 8, 1, "instance", False, True)
UNET = GeneratorSpec("unet", 3, 3, 8, 5, "batch", True, False)


class TestDecompositions:
    """Without the package: what is exported in place of the operators that XNNPACK does not know."""

    @pytest.mark.parametrize("affine", [True, False])
    def test_instance_norm_is_pytorchs(self, affine: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 3, 17, 9, generator=generator) * 5 + 100
        weight, bias = torch.randn(2, 3, generator=generator) if affine else (None, None)
        found = executorch_file._instance_norm(x, weight, bias, None, None, True, 0.1, 1e-5, False)
        expected = functional.instance_norm(x, weight=weight, bias=bias)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("padding", [(1, 1, 1, 1), (3, 3, 3, 3), (0, 2, 1, 0), (0, 0, 0, 0)])
    def test_reflection_is_pytorchs(self, padding: tuple[int, int, int, int]) -> None:
        x = torch.arange(2 * 3 * 5 * 4.0).reshape(2, 3, 5, 4)
        expected = functional.pad(x, padding, mode="reflect")
        torch.testing.assert_close(executorch_file._reflection_pad(x, padding), expected, rtol=0, atol=0)

    @pytest.mark.slow
    def test_others_are_left(self) -> None:
        class Others(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.norm = nn.InstanceNorm2d(3, track_running_stats=True).eval()

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return functional.pad(functional.pad(self.norm(x), (1, 2)), (1, 1, 1, 1), mode="replicate")

        x, module = torch.randn(1, 3, 8, 8), Others().eval()
        program = executorch_file._exported(module, (x,)).module()
        torch.testing.assert_close(program(x), module(x))

    @pytest.mark.slow
    def test_a_generator_keeps_none_of_the_operators(self) -> None:
        network, x = random_generator(RESNET).eval(), torch.randn(1, 3, 32, 32)
        program = executorch_file._exported(network, (x,))
        names = {str(node.target) for node in program.graph.nodes}
        assert "aten.conv2d.default" in names and not any("norm" in name or "pad" in name for name in names)
        torch.testing.assert_close(program.module()(x), network(x), rtol=0, atol=1e-4)


def test_a_missing_package_says_how_to_install_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_generator(tmp_path / "small", RESNET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    monkeypatch.setitem(__import__("sys").modules, "executorch", None)
    monkeypatch.setitem(__import__("sys").modules, "executorch.exir", None)
    assert main(["export", "small", "--size", "32", "-o", "a.pte"]) == 2
    message = 'executorch files need the package executorch: pip install "kd_plugin[executorch]"'
    assert capsys.readouterr().err == f"kd: error: {message}\n"
    monkeypatch.setattr(torch, "__version__", "2.12.1")
    assert main(["export", "small", "--size", "32", "-o", "a.pte"]) == 2
    assert "executorch files need PyTorch 2.13 or newer, and this is 2.12.1" in capsys.readouterr().err
    assert list(tmp_path.glob("*.pte")) == []


@pytest.mark.slow  # ten seconds for a file
class TestFiles:
    """With the package. ``export`` compares the file with the generator, and raises an error if they differ."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("executorch.exir")

    def written(self, spec: GeneratorSpec, settings: ExportSettings) -> Exported:
        result = export(random_generator(spec), settings, spec, facts={"teacher": "big"})
        assert settings.output.stat().st_size == result.size
        return result

    def test_a_resnet_is_one_part(self, tmp_path: Path) -> None:
        file = tmp_path / "out.pte"
        result = self.written(RESNET, ExportSettings(file, "executorch", 32, 48))
        assert "in 1 part: " in result.operators and "other kernels" not in result.operators
        assert "8 convolution" in result.operators
        assert result.shapes == "float32 (1, 3, 32, 48)" and result.parity.largest < 0.1
        found = executorch_file.metadata_of(file)
        assert found["images"] == "float32 (1, 3, 32, 48), RGB, value / 127.5 - 1" and found["teacher"] == "big"
        run = executorch_file.open_runner(file)
        images = np.random.default_rng(0).uniform(-1, 1, (1, 32, 48, 3)).astype(np.float32).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(run(images), run(np.ascontiguousarray(images)))

    @pytest.mark.parametrize("statistics, norms", [("picture", True), ("running", False)])
    def test_a_u_net_is_one_part(self, statistics: str, norms: bool, tmp_path: Path) -> None:
        settings = ExportSettings(tmp_path / "out.pte", "executorch", 32, 32, statistics=statistics)  # type: ignore[arg-type]
        operators = self.written(UNET, settings).operators
        assert "in 1 part: " in operators and "other kernels" not in operators and ("rsqrt" in operators) == norms

    def test_frames(self, tmp_path: Path) -> None:
        result = self.written(RESNET, ExportSettings(tmp_path / "out.pte", "executorch", 32, 48, frames=True))
        assert result.shapes == "uint8 (1, 32, 48, 3)" and "in 1 part: " in result.operators

    def test_eight_bit_integers(self, tmp_path: Path) -> None:
        for number in range(8):
            paint(tmp_path / "photos" / f"{number}.png", 40, 40, number)
        spec = GeneratorSpec("resnet", 3, 3, 24, 1, "batch", False, False)
        file, photos = tmp_path / "out.pte", tmp_path / "photos"
        settings = ExportSettings(file, "executorch", 32, 32, int8=photos, statistics="running")
        operators = self.written(spec, settings).operators
        assert "quantize_per_tensor" in operators and "other kernels" not in operators
        weights = 4 * sum(parameter.numel() for parameter in random_generator(spec).parameters())
        assert file.stat().st_size < 0.5 * weights

    def test_a_network_that_cannot_be_traced(self, tmp_path: Path) -> None:
        class Moody(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x if x.mean() > 0 else -x

        with pytest.raises(KDError, match=r"the network cannot be exported.*data-dependent"):
            export(Moody(), ExportSettings(tmp_path / "out.pte", "executorch", 32, 32))
        assert list(tmp_path.iterdir()) == []
