"""Inferring architectures from checkpoints, compared with networks built by the embedded host."""

from __future__ import annotations

import io
import pickle
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers.hosts import FORMS, HOST, imported_host
from torch import nn

from kd_plugin import GeneratorSpec, KDError, inspect_checkpoint, load_teacher
from kd_plugin.metrics.cost import generator_cost
from kd_plugin.networks.generator import build_generator
from kd_plugin.students import inherit_weights


def host_generator(
    netG: str, norm: str, dropout: bool, form: str = "2025", channels: tuple[int, int] = (3, 1)
) -> nn.Module:
    with imported_host(HOST, form) as models:
        torch.manual_seed(0)
        return models.networks.define_G(*channels, 4, netG, norm, dropout)


def damage_old_instance_norm(state: dict[str, torch.Tensor], network: nn.Module) -> None:
    """Add the statistics PyTorch saved for instance norm before 0.4."""
    for name, module in network.named_modules():
        if isinstance(module, nn.InstanceNorm2d):
            state[f"{name}.running_mean"] = torch.randn(module.num_features)
            state[f"{name}.running_var"] = torch.rand(module.num_features)


class TestRead:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("dropout", [False, True])
    @pytest.mark.parametrize("norm", ["batch", "instance", "none"])
    @pytest.mark.parametrize("netG", ["resnet_9blocks", "resnet_6blocks", "unet_128"])
    def test_rebuilds_what_the_host_built(
        self, netG: str, norm: str, dropout: bool, form: str, tmp_path: Path
    ) -> None:
        network = host_generator(netG, norm, dropout, form)
        for module in network.modules():  # statistics that are not the initial ones
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        torch.save(network.state_dict(), tmp_path / "latest_net_G.pth")
        teacher = load_teacher(tmp_path / "latest_net_G.pth")
        spec = inspect_checkpoint(tmp_path / "latest_net_G.pth")
        assert (spec.netG, spec.norm, spec.ngf, spec.input_nc, spec.output_nc) == (netG, norm, 4, 3, 1)
        assert spec.dropout == (dropout if netG.startswith("resnet") else None)
        x = torch.rand(1, 3, 128, 128) * 2 - 1
        torch.testing.assert_close(teacher(x), network.eval()(x), rtol=0, atol=0)

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
    def test_wrapper_prefixes(self, prefix: str, tmp_path: Path) -> None:
        state = host_generator("resnet_6blocks", "instance", False).state_dict()
        torch.save({prefix + key: value for key, value in state.items()}, tmp_path / "G.pth")
        assert inspect_checkpoint(tmp_path / "G.pth").netG == "resnet_6blocks"
        load_teacher(tmp_path / "G.pth")

    @pytest.mark.parametrize("new_format", [False, True])
    def test_official_cyclegan_files(self, new_format: bool, tmp_path: Path) -> None:
        """No dropout, instance norm with old statistics, saved by an old PyTorch."""
        network = host_generator("resnet_9blocks", "instance", False)
        state = network.state_dict()
        damage_old_instance_norm(state, network)
        torch.save(state, tmp_path / "G.pth", _use_new_zipfile_serialization=new_format)
        x = torch.rand(1, 3, 32, 32)
        torch.testing.assert_close(load_teacher(tmp_path / "G.pth")(x), network(x), rtol=0, atol=0)

    @pytest.mark.parametrize("netG", ["unet_256", "resnet_9blocks"])
    def test_official_pix2pix_files(self, netG: str, tmp_path: Path) -> None:
        """Dropout and batch norm, from before there was num_batches_tracked."""
        network = host_generator(netG, "batch", True).eval()
        state = {key: value for key, value in network.state_dict().items() if "num_batches" not in key}
        torch.save(state, tmp_path / "G.pth", _use_new_zipfile_serialization=False)
        x = torch.rand(1, 3, 256, 256)
        torch.testing.assert_close(load_teacher(tmp_path / "G.pth")(x), network(x), rtol=0, atol=0)


class ZeroPadded(nn.Module):
    """A ResNet of two blocks that pads with zeros: those of 3x3 convolutions are in the convolutions themselves."""

    def __init__(self, ngf: int, norm: type[nn.Module], dropout: bool) -> None:
        super().__init__()
        bias = norm is nn.InstanceNorm2d

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                first, second = (
                    (nn.Conv2d(4 * ngf, 4 * ngf, 3, padding=1, bias=bias), norm(4 * ngf)) for _ in range(2)
                )
                middle = [nn.ReLU(), nn.Dropout(0.5)] if dropout else [nn.ReLU()]
                self.conv_block = nn.Sequential(*first, *middle, *second)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x + self.conv_block(x)

        def halved(width: int) -> list[nn.Module]:
            return [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), norm(2 * width), nn.ReLU()]

        def doubled(width: int) -> list[nn.Module]:
            up = nn.ConvTranspose2d(width, width // 2, 3, 2, 1, output_padding=1, bias=bias)
            return [up, norm(width // 2), nn.ReLU()]

        self.model = nn.Sequential(
            *(nn.ZeroPad2d(3), nn.Conv2d(3, ngf, 7, bias=bias), norm(ngf), nn.ReLU()),
            *(*halved(ngf), *halved(2 * ngf), Block(), Block(), *doubled(4 * ngf), *doubled(2 * ngf)),
            *(nn.ZeroPad2d(3), nn.Conv2d(ngf, 1, 7), nn.Tanh()),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class TestZeroPadding:
    """DeepLIIF's ``--padding zero``, its default."""

    @pytest.mark.parametrize("dropout", [False, True])
    @pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
    def test_is_read_and_rebuilt(self, norm: type[nn.Module], dropout: bool, tmp_path: Path) -> None:
        torch.manual_seed(0)
        network = ZeroPadded(4, norm, dropout).eval()
        torch.save(network.state_dict(), tmp_path / "latest_net_G1.pth")
        teacher = load_teacher(tmp_path / "latest_net_G1.pth")
        assert (teacher.spec.netG, teacher.spec.padding, teacher.spec.dropout) == ("resnet_2blocks", "zero", dropout)
        x = torch.rand(1, 3, 20, 24) * 2 - 1
        torch.testing.assert_close(teacher(x), network(x), rtol=0, atol=0)

    def test_weights_are_inherited(self) -> None:
        """As wide as the teacher, the student is equal to it; with the other padding it has the same weights."""
        torch.manual_seed(0)
        teacher = ZeroPadded(4, nn.BatchNorm2d, True).eval()
        student = ZeroPadded(4, nn.BatchNorm2d, False).eval()
        inherit_weights(student, teacher)
        x = torch.rand(1, 3, 20, 24) * 2 - 1
        torch.testing.assert_close(student(x), teacher(x), rtol=0, atol=0)
        reflecting = build_generator(GeneratorSpec("resnet", 3, 1, 4, 2, "batch", False, False))
        inherit_weights(reflecting, teacher)
        for mine, given in zip(reflecting.state_dict().values(), teacher.state_dict().values(), strict=True):
            assert torch.equal(mine, given)

    def test_a_description_of_an_earlier_version_has_no_padding(self) -> None:
        spec = GeneratorSpec("resnet", 3, 3, 4, 2, "batch", False, False)
        content = spec.to_dict()
        assert GeneratorSpec.from_dict(content) == spec
        del content["padding"]
        assert GeneratorSpec.from_dict(content) == spec


class TestTeacher:
    def test_is_frozen(self, tmp_path: Path) -> None:
        torch.save(host_generator("resnet_6blocks", "batch", True).state_dict(), tmp_path / "G.pth")
        teacher = load_teacher(tmp_path / "G.pth")
        assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())

    def test_train_mode_uses_batch_statistics_and_keeps_its_own(self, tmp_path: Path) -> None:
        network = host_generator("resnet_6blocks", "batch", False)
        torch.save(network.state_dict(), tmp_path / "G.pth")
        teacher = load_teacher(tmp_path / "G.pth", mode="train")
        before = {key: value.clone() for key, value in teacher.state_dict().items() if "running" in key}
        x = torch.rand(2, 3, 32, 32)
        torch.testing.assert_close(teacher(x), network.train()(x), rtol=0, atol=0)
        for key, value in before.items():
            torch.testing.assert_close(teacher.state_dict()[key], value, rtol=0, atol=0)

    def test_batch_mode_uses_batch_statistics_without_dropout(self, tmp_path: Path) -> None:
        network = host_generator("resnet_6blocks", "batch", True)
        torch.save(network.state_dict(), tmp_path / "G.pth")
        teacher = load_teacher(tmp_path / "G.pth", mode="batch")
        x = torch.rand(2, 3, 32, 32)
        for module in network.train().modules():
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        torch.testing.assert_close(teacher(x), network(x), rtol=0, atol=0)
        kept = load_teacher(tmp_path / "G.pth").state_dict()
        for key in (key for key in kept if "running" in key):
            torch.testing.assert_close(teacher.state_dict()[key], kept[key], rtol=0, atol=0)

    def test_train_mode_drops_out(self, tmp_path: Path) -> None:
        torch.save(host_generator("unet_128", "none", True).state_dict(), tmp_path / "G.pth")
        x = torch.rand(1, 3, 128, 128)
        active, without = (load_teacher(tmp_path / "G.pth", mode="train", dropout=d) for d in (True, False))
        assert not torch.equal(active(x), active(x))
        assert torch.equal(without(x), without(x))

    def test_loading_draws_no_random_numbers(self, tmp_path: Path) -> None:
        torch.save(host_generator("resnet_6blocks", "batch", True).state_dict(), tmp_path / "G.pth")
        before = torch.get_rng_state()
        load_teacher(tmp_path / "G.pth")
        assert torch.equal(torch.get_rng_state(), before)

    def test_half_precision_files_become_float32(self, tmp_path: Path) -> None:
        network = host_generator("resnet_6blocks", "instance", False).half()
        torch.save(network.state_dict(), tmp_path / "G.pth")
        assert {p.dtype for p in load_teacher(tmp_path / "G.pth").parameters()} == {torch.float32}

    def test_unknown_mode(self, tmp_path: Path) -> None:
        with pytest.raises(KDError, match="unknown teacher mode 'evall': did you mean 'eval'"):
            load_teacher(tmp_path / "G.pth", mode="evall")  # type: ignore[arg-type]


class Evil:
    """Runs code when unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self.file,)


class TestRefuse:
    def refuse(self, file: Path, message: str) -> None:
        with pytest.raises(KDError, match=message) as caught:
            inspect_checkpoint(file)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        (tmp_path / "empty.pth").touch()
        (tmp_path / "text.pth").write_text("version https://git-lfs.github.com/spec/v1")
        self.refuse(tmp_path / "missing.pth", "no such file")
        self.refuse(tmp_path, "is a folder")
        self.refuse(tmp_path / "empty.pth", "is empty")
        self.refuse(tmp_path / "text.pth", "not a PyTorch checkpoint")

    @pytest.mark.parametrize("new_format", [False, True])
    @pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
    def test_truncated(self, keep: float, new_format: bool, tmp_path: Path) -> None:
        buffer = io.BytesIO()
        state = host_generator("resnet_6blocks", "batch", False).state_dict()
        torch.save(state, buffer, _use_new_zipfile_serialization=new_format)
        (tmp_path / "G.pth").write_bytes(buffer.getvalue()[: int(keep * buffer.tell())])
        self.refuse(tmp_path / "G.pth", "damaged|truncated")

    @pytest.mark.parametrize("new_format", [False, True])
    def test_code_does_not_run(self, new_format: bool, tmp_path: Path) -> None:
        torch.save({"model": Evil(tmp_path / "ran")}, tmp_path / "G.pth", _use_new_zipfile_serialization=new_format)
        self.refuse(tmp_path / "G.pth", "could run code")
        (tmp_path / "G.pkl").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
        self.refuse(tmp_path / "G.pkl", "could run code|damaged")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (torch.zeros(3), "contains a Tensor"),
            ({}, "contains a dict"),
            ({"epoch": 3}, "'epoch' is not a tensor"),
            ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, "no first layer of a ResNet or U-Net"),
            ({"model.1.weight": torch.zeros(64, 3, 7, 7)}, "no residual blocks"),
            ({"model.1.weight": torch.zeros(64)}, "the four dimensions of a convolution"),
        ],
    )
    def test_other_contents(self, content: object, message: str, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "G.pth")
        self.refuse(tmp_path / "G.pth", message)

    def test_optimizer_state(self, tmp_path: Path) -> None:
        network = host_generator("resnet_6blocks", "batch", False)
        torch.save(torch.optim.Adam(network.parameters()).state_dict(), tmp_path / "G.pth")
        self.refuse(tmp_path / "G.pth", "'state' is not a tensor")

    def test_a_discriminator(self, tmp_path: Path) -> None:
        with imported_host(HOST, "2025") as models:
            torch.save(models.networks.define_D(3, 8, "basic").state_dict(), tmp_path / "D.pth")
        self.refuse(tmp_path / "D.pth", "no first layer")

    def test_tensors_left_over(self, tmp_path: Path) -> None:
        state = {**host_generator("resnet_6blocks", "batch", False).state_dict(), "model.30.weight": torch.zeros(1)}
        torch.save(state, tmp_path / "G.pth")
        self.refuse(tmp_path / "G.pth", "'model.30.weight' is unexpected")


@pytest.mark.parametrize(
    ("architecture", "depth", "ngf", "millions", "giga"),
    [
        ("resnet", 9, 64, 11.378, 49.6),
        ("resnet", 9, 32, 2.851, 12.7),
        ("resnet", 9, 24, 1.606, 7.26),
        ("resnet", 9, 16, 0.716, 3.33),
        ("unet", 8, 64, 54.41, 6.05),
        ("unet", 8, 32, 13.61, 1.55),
        ("unet", 8, 16, 3.40, 0.41),
    ],
)
def test_cost_is_that_of_the_papers(architecture: str, depth: int, ngf: int, millions: float, giga: float) -> None:
    norm = "instance" if architecture == "resnet" else "batch"
    spec = GeneratorSpec(architecture, 3, 3, ngf, depth, norm, False, norm == "instance")  # type: ignore[arg-type]
    cost = generator_cost(spec, 256)
    assert cost.params / 1e6 == pytest.approx(millions, abs=0.005)
    assert cost.macs / 1e9 == pytest.approx(giga, rel=0.01)


def test_macs_in_closed_form() -> None:
    """Every layer of a ResNet by hand: kernel area x channels in x channels out x output pixels."""
    n, size, blocks = 8, 32, 2
    full, half, quarter = size**2, (size // 2) ** 2, (size // 4) ** 2
    down = 49 * 3 * n * full + 9 * n * 2 * n * half + 9 * 2 * n * 4 * n * quarter
    middle = blocks * 2 * 9 * (4 * n) ** 2 * quarter
    up = 9 * 4 * n * 2 * n * quarter + 9 * 2 * n * n * half + 49 * n * 3 * full
    spec = GeneratorSpec("resnet", 3, 3, n, blocks, "instance", False, True)
    assert generator_cost(spec, size).macs == down + middle + up


class TestOtherFormats:
    @pytest.mark.parametrize("name", ["G.safetensors", "G.pth"])  # told by the content, not by the name
    def test_safetensors(self, name: str, tmp_path: Path) -> None:
        network = host_generator("resnet_6blocks", "instance", False).eval()
        prefixed = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
        safetensors.torch.save_file(prefixed, tmp_path / name)
        images = torch.rand(1, 3, 32, 32)
        assert torch.equal(load_teacher(tmp_path / name)(images), network(images))

    def test_safetensors_without_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "G.safetensors")
        monkeypatch.setitem(sys.modules, "safetensors.torch", None)
        with pytest.raises(KDError, match=r"pip install 'kd_plugin\[safetensors\]'"):
            inspect_checkpoint(tmp_path / "G.safetensors")

    def test_torchscript(self, tmp_path: Path) -> None:
        network = torch.jit.trace(torch.nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4))
        network.save(str(tmp_path / "G.pt"))
        with pytest.raises(KDError, match="is a TorchScript program, which contains code"):
            inspect_checkpoint(tmp_path / "G.pt")
