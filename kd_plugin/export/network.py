"""The network that is exported: without dropout, with one kind of statistics, and simplified without changing images.

Hosts test pix2pix without ``--eval``, so that batch norm computes statistics of the image: that is instance norm with
the weights of batch norm. With running statistics, batch norm is a part of the convolution before it.
"""

from __future__ import annotations

import collections
import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..networks.taps import unwrap

Statistics = Literal["picture", "running"]

_BatchNorm = nn.modules.batchnorm._BatchNorm
_Dropout = nn.modules.dropout._DropoutNd
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def has_batch_norm(network: nn.Module) -> bool:
    """Return whether the two kinds of statistics give different images."""
    return any(_reads_running(module) for module in network.modules())


def has_dropout(network: nn.Module) -> bool:
    """Return whether images of the network in train mode are random."""
    return any(isinstance(module, _Dropout) and module.p > 0 for module in network.modules())


def deployed(network: nn.Module, statistics: Statistics, simplified: bool = True) -> nn.Module:
    """Return a copy of a generator for inference.

    Its images are those of the generator in eval mode (``"running"``), or those in train mode without dropout, of one
    image at a time (``"picture"``), up to the rounding of float32.

    Args:
        network: the generator, which is not changed.
        statistics: of norms that have running statistics.
        simplified: whether to fold batch norms and remove idle biases, for which modules in a sequence must run one
            after the other.
    """
    found = without_dropout(copy.deepcopy(unwrap(network)).cpu().float().requires_grad_(False).eval())
    as_image_norms = statistics == "picture"
    replace_modules(found, lambda module: _image_norm(module) if as_image_norms or _is_stateless(module) else None)
    if simplified:
        _fold_batch_norms(found)
        _remove_idle_biases(found)
    return found.eval()


def without_dropout(network: nn.Module) -> nn.Module:
    """Replace the dropout layers of a network by identities; return the network."""
    return replace_modules(network, lambda module: nn.Identity() if isinstance(module, _Dropout) else None)


def _reads_running(module: nn.Module) -> bool:
    norm = isinstance(module, (_BatchNorm, nn.InstanceNorm2d))
    return norm and getattr(module, "running_mean", None) is not None


def _is_stateless(module: nn.Module) -> bool:
    """Return whether a module is a batch norm that uses the statistics of the batch in any mode."""
    return isinstance(module, _BatchNorm) and module.running_mean is None


def _image_norm(module: nn.Module) -> nn.Module | None:
    """Return the instance norm that equals a norm in train mode at batch size 1; None for other modules."""
    if not (_reads_running(module) or _is_stateless(module)):
        return None
    assert isinstance(module, (_BatchNorm, nn.InstanceNorm2d))
    norm = nn.InstanceNorm2d(module.num_features, eps=module.eps, affine=module.affine)
    if module.affine:
        norm.weight, norm.bias = module.weight, module.bias
    return norm


def _fold_batch_norms(network: nn.Module) -> None:
    """Put batch norms with running statistics into the convolution before them."""
    for parent, name, before, norm in _pairs(network):
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            if isinstance(before, nn.ConvTranspose2d) and before.groups > 1:
                continue  # whose weights PyTorch's function does not scale
            fused = fuse_conv_bn_eval(before, norm, isinstance(before, nn.ConvTranspose2d))
            setattr(parent, name[0], fused)
            setattr(parent, name[1], nn.Identity())


def _remove_idle_biases(network: nn.Module) -> None:
    """Remove biases that the mean of an instance norm cancels."""
    for _, _, before, norm in _pairs(network):
        if isinstance(norm, nn.InstanceNorm2d) and norm.running_mean is None:
            before.bias = None


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Module, tuple[str, str], nn.Conv2d, nn.Module]]:
    """Yield each convolution with the module that follows it in a sequence, and their parent and names.

    Convolutions that are registered in several places are left out.
    """
    uses = collections.Counter(child for parent in network.modules() for child in parent._modules.values())
    for parent in list(network.modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        children = list(parent._modules.items())  # with modules that are registered twice
        for (name, module), (next_name, next_module) in itertools.pairwise(children):
            if isinstance(module, _CONVOLUTIONS) and uses[module] == 1 and next_module is not None:
                yield parent, (name, next_name), module, next_module  # type: ignore[misc]


def replace_modules(network: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """Replace the modules of a network for which there is a replacement; return the network."""
    for parent in list(network.modules()):
        for name, module in list(parent._modules.items()):
            if module is not None and (new := replacement(module)) is not None:
                setattr(parent, name, new)
    return network


class SubpixelConv(nn.Module):
    """A transposed convolution of stride 2 as a convolution followed by a pixel shuffle; the same images.

    An output pixel of each of the four phases (even or odd row and column) is a sum over the few input pixels that
    the kernel reaches, so one convolution computes the four phases as channels, and they are interleaved.

    Args:
        transposed: of stride 2, dilation 1 and one group, with equal sides, that doubles the size.
    """

    def __init__(self, transposed: nn.ConvTranspose2d) -> None:
        super().__init__()
        kernel, padding = transposed.kernel_size[0], _integer(transposed.padding)
        weight = transposed.weight.detach()  # (in, out, k, k)
        # Output pixel 2 i + phase sums w[k] x[j] over 2 j = 2 i + phase + padding - k.
        offsets = [phase + padding - k for phase in (0, 1) for k in range(kernel)]
        first, last = ((least(offset for offset in offsets if offset % 2 == 0)) // 2 for least in (min, max))
        size = last - first + 1
        phases = weight.new_zeros(transposed.out_channels, 2, 2, transposed.in_channels, size, size)
        for row, column, y, x in itertools.product((0, 1), (0, 1), range(kernel), range(kernel)):
            down, right = row + padding - y, column + padding - x
            if down % 2 == 0 and right % 2 == 0:
                phases[:, row, column, :, down // 2 - first, right // 2 - first] = weight[:, :, y, x].T
        out = 4 * transposed.out_channels
        self.pad = nn.ZeroPad2d((-first, last, -first, last))
        self.conv = nn.Conv2d(transposed.in_channels, out, size, bias=transposed.bias is not None)
        self.conv.weight = nn.Parameter(phases.reshape(out, transposed.in_channels, size, size), False)
        if transposed.bias is not None:
            self.conv.bias = nn.Parameter(transposed.bias.detach().repeat_interleave(4), False)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the images (B, out, 2H, 2W) of images (B, in, H, W)."""
        out: torch.Tensor = self.shuffle(self.conv(self.pad(x)))
        return out


def _integer(value: object) -> int:
    assert isinstance(value, tuple) and isinstance(value[0], int)
    return value[0]


def with_subpixel_convolutions(network: nn.Module) -> nn.Module:
    """Replace the transposed convolutions of a network that double the size; return the network."""
    return replace_modules(network, lambda module: SubpixelConv(module) if _doubles(module) else None)  # type: ignore[arg-type]


def _doubles(module: nn.Module) -> bool:
    if not isinstance(module, nn.ConvTranspose2d) or module.groups != 1:
        return False
    sides = (module.stride, module.kernel_size, module.padding, module.output_padding, module.dilation)
    equal = all(isinstance(side, tuple) and side[0] == side[1] for side in sides)
    kernel, padding, more = module.kernel_size[0], _integer(module.padding), module.output_padding[0]
    return equal and module.stride[0] == 2 and module.dilation[0] == 1 and kernel - 2 * padding + more == 2
