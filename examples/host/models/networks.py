"""Generators, discriminators, the adversarial loss, initialisation and learning-rate schedules.

The order of layers is that of the family, so checkpoints are interchangeable.
"""

from __future__ import annotations

import functools
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer, lr_scheduler

from util.form import FORM

NormLayer = Callable[[int], nn.Module]


def get_norm_layer(norm_type: str = "instance") -> NormLayer:
    """Return a function that creates a normalisation layer for a number of channels."""
    if norm_type == "batch":
        return functools.partial(nn.BatchNorm2d, affine=True, track_running_stats=True)
    if norm_type == "instance":
        return functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)
    if norm_type == "none":
        return nn.Identity
    raise NotImplementedError(f"norm {norm_type!r} is not one of batch, instance, none")


def _needs_bias(norm_layer: NormLayer) -> bool:
    """Return whether convolutions have a bias, as they do before instance norm."""
    return getattr(norm_layer, "func", norm_layer) is nn.InstanceNorm2d


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection: (B, dim, H, W) to the same shape."""

    def __init__(self, dim: int, norm_layer: NormLayer, use_dropout: bool, use_bias: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for last in (False, True):
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(dim, dim, 3, bias=use_bias), norm_layer(dim)]
            if not last:
                layers += [nn.ReLU(True), nn.Dropout(0.5)] if use_dropout else [nn.ReLU(True)]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``x`` and the output of the block."""
        return x + self.conv_block(x)


class ResnetGenerator(nn.Module):
    """Two downsampling layers, residual blocks, two upsampling layers (Johnson et al., 2016)."""

    def __init__(
        self,
        input_nc: int,
        output_nc: int,
        ngf: int = 64,
        norm_layer: NormLayer = nn.BatchNorm2d,
        use_dropout: bool = False,
        n_blocks: int = 9,
    ) -> None:
        super().__init__()
        bias = _needs_bias(norm_layer)
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(input_nc, ngf, 7, bias=bias)]
        layers += [norm_layer(ngf), nn.ReLU(True)]
        for width in (2 * ngf, 4 * ngf):
            layers += [nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=bias)]
            layers += [norm_layer(width), nn.ReLU(True)]
        layers += [ResnetBlock(4 * ngf, norm_layer, use_dropout, bias) for _ in range(n_blocks)]
        for width in (2 * ngf, ngf):
            up = nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1, bias=bias)
            layers += [up, norm_layer(width), nn.ReLU(True)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, output_nc, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Translate (B, input_nc, H, W) to (B, output_nc, H, W) in [-1, 1]; H, W multiples of 4."""
        return self.model(input)


class UnetBlock(nn.Module):
    """One level of a U-Net: down, the inner levels, up; with a skip connection unless outermost."""

    def __init__(
        self,
        outer_nc: int,
        inner_nc: int,
        input_nc: int | None = None,
        submodule: nn.Module | None = None,
        outermost: bool = False,
        norm_layer: NormLayer = nn.BatchNorm2d,
        use_dropout: bool = False,
    ) -> None:
        super().__init__()
        self.outermost = outermost
        bias = _needs_bias(norm_layer)
        down = nn.Conv2d(input_nc or outer_nc, inner_nc, 4, stride=2, padding=1, bias=bias)
        up_nc = 2 * inner_nc if submodule is not None else inner_nc  # (skip, result), or the innermost result
        up_bias = bias or outermost
        up = nn.ConvTranspose2d(up_nc, outer_nc, 4, stride=2, padding=1, bias=up_bias)
        layers: list[nn.Module] = [down] if outermost else [nn.LeakyReLU(0.2, True), down]
        if submodule is not None:
            layers += [submodule] if outermost else [norm_layer(inner_nc), submodule]
        layers += [nn.ReLU(True), up, nn.Tanh() if outermost else norm_layer(outer_nc)]
        if use_dropout:
            layers.append(nn.Dropout(0.5))
        self.model = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, outer_nc, H, W) from the outermost level, else (B, input_nc + outer_nc, H, W)."""
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class UnetGenerator(nn.Module):
    """Encoder and decoder with skip connections and ``num_downs`` downsampling layers (Isola et al., 2017)."""

    def __init__(
        self,
        input_nc: int,
        output_nc: int,
        num_downs: int,
        ngf: int = 64,
        norm_layer: NormLayer = nn.BatchNorm2d,
        use_dropout: bool = False,
    ) -> None:
        super().__init__()
        block = UnetBlock(8 * ngf, 8 * ngf, norm_layer=norm_layer)  # innermost; built outwards
        for _ in range(num_downs - 5):
            block = UnetBlock(8 * ngf, 8 * ngf, None, block, False, norm_layer, use_dropout)
        for width in (4 * ngf, 2 * ngf, ngf):
            block = UnetBlock(width, 2 * width, None, block, False, norm_layer)
        self.model = UnetBlock(output_nc, ngf, input_nc, block, True, norm_layer)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Translate (B, input_nc, H, W) to (B, output_nc, H, W); H, W multiples of 2**num_downs."""
        return self.model(input)


class NLayerDiscriminator(nn.Module):
    """PatchGAN: (B, input_nc, H, W) to a map of patch scores (B, 1, H', W')."""

    def __init__(
        self, input_nc: int, ndf: int = 64, n_layers: int = 3, norm_layer: NormLayer = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        bias = _needs_bias(norm_layer)
        layers: list[nn.Module] = [nn.Conv2d(input_nc, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2, True)]
        width = ndf
        for n in range(1, n_layers + 1):
            before, width = width, ndf * min(2**n, 8)
            layers += [nn.Conv2d(before, width, 4, stride=2 if n < n_layers else 1, padding=1, bias=bias)]
            layers += [norm_layer(width), nn.LeakyReLU(0.2, True)]
        layers += [nn.Conv2d(width, 1, 4, stride=1, padding=1)]
        self.model = nn.Sequential(*layers)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the scores of the patches."""
        return self.model(input)


class PixelDiscriminator(nn.Module):
    """PatchGAN with patches of one pixel."""

    def __init__(self, input_nc: int, ndf: int = 64, norm_layer: NormLayer = nn.BatchNorm2d) -> None:
        super().__init__()
        bias = _needs_bias(norm_layer)
        layers: list[nn.Module] = [nn.Conv2d(input_nc, ndf, 1), nn.LeakyReLU(0.2, True)]
        layers += [nn.Conv2d(ndf, 2 * ndf, 1, bias=bias), norm_layer(2 * ndf), nn.LeakyReLU(0.2, True)]
        layers += [nn.Conv2d(2 * ndf, 1, 1, bias=bias)]
        self.net = nn.Sequential(*layers)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the scores of the pixels."""
        return self.net(input)


def init_weights(net: nn.Module, init_type: str = "normal", init_gain: float = 0.02) -> None:
    """Initialise the weights of a network in place."""

    def draw(weight: torch.Tensor) -> None:
        if init_type == "normal":
            nn.init.normal_(weight, 0.0, init_gain)
        elif init_type == "xavier":
            nn.init.xavier_normal_(weight, gain=init_gain)
        elif init_type == "kaiming":
            nn.init.kaiming_normal_(weight)
        elif init_type == "orthogonal":
            nn.init.orthogonal_(weight, gain=init_gain)
        else:
            raise ValueError(f"init_type {init_type!r} is not one of normal, xavier, kaiming, orthogonal")

    for module in net.modules():
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            draw(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, init_gain)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# The three functions that differ between the forms. Callers identify the form by the signature.


def _init_net_2025(net: nn.Module, init_type: str = "normal", init_gain: float = 0.02) -> nn.Module:
    """Initialise a network in place and return it."""
    init_weights(net, init_type, init_gain)
    return net


def _define_G_2025(
    input_nc: int,
    output_nc: int,
    ngf: int,
    netG: str,
    norm: str = "batch",
    use_dropout: bool = False,
    init_type: str = "normal",
    init_gain: float = 0.02,
) -> nn.Module:
    """Return an uninitialised generator; ``BaseModel.setup`` uses the two options of initialisation."""
    layer = get_norm_layer(norm)
    if netG in ("resnet_9blocks", "resnet_6blocks"):
        n_blocks = 9 if netG == "resnet_9blocks" else 6
        return ResnetGenerator(input_nc, output_nc, ngf, layer, use_dropout, n_blocks)
    if netG in ("unet_256", "unet_128"):
        num_downs = 8 if netG == "unet_256" else 7
        return UnetGenerator(input_nc, output_nc, num_downs, ngf, layer, use_dropout)
    raise NotImplementedError(f"netG {netG!r} is not one of resnet_9blocks, resnet_6blocks, unet_256, unet_128")


def _define_D_2025(
    input_nc: int,
    ndf: int,
    netD: str,
    n_layers_D: int = 3,
    norm: str = "batch",
    init_type: str = "normal",
    init_gain: float = 0.02,
) -> nn.Module:
    """Return an uninitialised discriminator; ``BaseModel.setup`` uses the two options of initialisation."""
    layer = get_norm_layer(norm)
    if netD in ("basic", "n_layers"):
        return NLayerDiscriminator(input_nc, ndf, 3 if netD == "basic" else n_layers_D, layer)
    if netD == "pixel":
        return PixelDiscriminator(input_nc, ndf, layer)
    raise NotImplementedError(f"netD {netD!r} is not one of basic, n_layers, pixel")


def _init_net_2020(
    net: nn.Module, init_type: str = "normal", init_gain: float = 0.02, gpu_ids: Sequence[int] = ()
) -> nn.Module:
    """Move a network to its GPUs, if any, and initialise it; return it, wrapped if on a GPU."""
    if gpu_ids:
        net = nn.DataParallel(net.to(torch.device("cuda", gpu_ids[0])), list(gpu_ids))
    init_weights(net, init_type, init_gain)
    return net


def _define_G_2020(
    input_nc: int,
    output_nc: int,
    ngf: int,
    netG: str,
    norm: str = "batch",
    use_dropout: bool = False,
    init_type: str = "normal",
    init_gain: float = 0.02,
    gpu_ids: Sequence[int] = (),
) -> nn.Module:
    """Return an initialised generator on its GPUs."""
    net = _define_G_2025(input_nc, output_nc, ngf, netG, norm, use_dropout)
    return _init_net_2020(net, init_type, init_gain, gpu_ids)


def _define_D_2020(
    input_nc: int,
    ndf: int,
    netD: str,
    n_layers_D: int = 3,
    norm: str = "batch",
    init_type: str = "normal",
    init_gain: float = 0.02,
    gpu_ids: Sequence[int] = (),
) -> nn.Module:
    """Return an initialised discriminator on its GPUs."""
    net = _define_D_2025(input_nc, ndf, netD, n_layers_D, norm)
    return _init_net_2020(net, init_type, init_gain, gpu_ids)


init_net: Callable[..., nn.Module] = _init_net_2020 if FORM == "2020" else _init_net_2025
define_G: Callable[..., nn.Module] = _define_G_2020 if FORM == "2020" else _define_G_2025
define_D: Callable[..., nn.Module] = _define_D_2020 if FORM == "2020" else _define_D_2025


class GANLoss(nn.Module):
    """Adversarial loss of a map of scores whose target is all real or all fake."""

    def __init__(self, gan_mode: str) -> None:
        super().__init__()
        if gan_mode not in ("lsgan", "vanilla", "wgangp"):
            raise ValueError(f"gan_mode {gan_mode!r} is not one of lsgan, vanilla, wgangp")
        self.gan_mode = gan_mode

    def forward(self, prediction: torch.Tensor, target_is_real: bool) -> torch.Tensor:
        """Return the mean loss, a scalar, of scores of any shape (logits in the mode vanilla)."""
        if self.gan_mode == "wgangp":
            return -prediction.mean() if target_is_real else prediction.mean()
        target = torch.full_like(prediction, float(target_is_real))
        if self.gan_mode == "lsgan":
            return F.mse_loss(prediction, target)
        return F.binary_cross_entropy_with_logits(prediction, target)


def get_scheduler(optimizer: Optimizer, opt: Namespace) -> Any:
    """Return the learning-rate scheduler given by ``opt.lr_policy``, to be stepped once per epoch."""
    if opt.lr_policy == "linear":

        def factor(epoch: int) -> float:
            return 1.0 - max(0, epoch + opt.epoch_count - opt.n_epochs) / (opt.n_epochs_decay + 1)

        return lr_scheduler.LambdaLR(optimizer, factor)
    if opt.lr_policy == "step":
        return lr_scheduler.StepLR(optimizer, step_size=opt.lr_decay_iters, gamma=0.1)
    if opt.lr_policy == "plateau":
        return lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.2, threshold=0.01, patience=5)
    if opt.lr_policy == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=opt.n_epochs, eta_min=0)
    raise ValueError(f"lr_policy {opt.lr_policy!r} is not one of linear, step, plateau, cosine")
