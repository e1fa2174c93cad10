"""The networks that distances between sets of images, and perceptual distances of two images, are measured with.

FID and KID use torch-fidelity's Inception network: its values are tested against the original TensorFlow code, the
resize included, so they can be compared with published ones; it reads a local file of weights; it takes tensors, and
importing it accesses no network. clean-fid changes the resize by design, and so the value. Only the network is taken
from the library; the distances are those of :mod:`kd_plugin.metrics.distances`.

The libraries need torchvision, so they are imported when a network is asked for. There is no substitute for a network
that is not there: measures of other features are not FID or KID, and :attr:`Description.name` says what they are.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from ..errors import ArgumentError, KDError, first_line, in_one_line, unknown_name
from ..imports import import_function
from ..losses.validate import check_images

LpipsTrunk = Literal["alex", "vgg", "squeeze"]
INCEPTION = "Inception"
_INSTALL = 'pip install "kd_plugin[fid]"'
_OR_FEATURES = "or name a function that returns features of images"


@dataclass(frozen=True)
class Description:
    """A network, for the protocol of a measure.

    Attributes:
        name: of the network; ``"Inception"`` for the one that FID and KID are defined with.
        library: package that it is from.
        version: of the library; ``"unknown"`` if it is not an installed package.
        resize: how the network resizes images.
    """

    name: str
    library: str
    version: str
    resize: str


@dataclass(frozen=True)
class FeatureNetwork:
    """A function that returns features of images, with checks of what goes in and comes out.

    Attributes:
        description: for the protocol.
        function: takes images (B, 3, H, W) in [0, 1] on the device, returns features (B, D).
        device: of the function.
    """

    description: Description
    function: Callable[[torch.Tensor], Any]
    device: torch.device

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """Return the features (B, D), float32, of images (B, C, H, W) in [0, 1]; C is 3, or 1 for grey images.

        Raises:
            ArgumentError: If the images are not of this form, or the function fails or returns anything else.
        """
        name = self.description.name
        try:
            with torch.no_grad():
                features = self.function(_colour(images).to(self.device))
        except (torch.cuda.OutOfMemoryError, KDError):
            raise
        except Exception as error:  # the user's function may raise anything
            shape = "x".join(map(str, images.shape))
            raise ArgumentError(f"{name} fails for images of {shape}: {in_one_line(error)}") from error
        if not isinstance(features, torch.Tensor):
            raise ArgumentError(f"{name} returns a {type(features).__name__}: return a tensor of features (B, D)")
        if features.ndim != 2 or len(features) != len(images) or not features.shape[1]:
            raise ArgumentError(
                f"{name} returns the shape {tuple(features.shape)} for {len(images)} images: return features (B, D)"
            )
        if not torch.isfinite(features).all():
            raise ArgumentError(f"{name} returns features that are not finite")
        return np.asarray(features.float().cpu().numpy())


@dataclass(frozen=True)
class PerceptualNetwork:
    """A function that returns the perceptual distance of two images.

    Attributes:
        description: for the protocol.
        function: takes two batches (B, 3, H, W) in [-1, 1] on the device, returns B values.
        device: of the function.
    """

    description: Description
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    device: torch.device

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
        """Return the distance of each pair, (B,), of two batches (B, C, H, W) in [0, 1]; C is 3, or 1 if grey.

        Raises:
            ArgumentError: If the images are not of this form, their shapes differ, or they are too small.
        """
        if first.shape != second.shape:
            raise ArgumentError(f"cannot compare images of {tuple(first.shape)} with {tuple(second.shape)}")
        batches = [2 * _colour(images).to(self.device) - 1 for images in (first, second)]
        try:
            with torch.no_grad():
                distances = self.function(*batches)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            size = f"{first.shape[3]}x{first.shape[2]}"
            raise ArgumentError(
                f"{self.description.name} cannot be computed for {size} pixels: {first_line(error, 150)}"
            ) from error
        return np.asarray(distances.detach().float().cpu().numpy()).reshape(len(first))


def inception(weights: Path | None = None, device: torch.device | str = "cpu") -> FeatureNetwork:
    """Return torch-fidelity's Inception network, whose 2,048 features are those of FID and KID.

    Args:
        weights: the library's file of weights; without one, the library fetches it once, to the folder of
            ``torch.hub``.
        device: device to run on.

    Raises:
        KDError: If torch-fidelity or torchvision cannot be imported, or the weights cannot be read or fetched.
    """
    module = _import("torch_fidelity.feature_extractor_inceptionv3", "FID and KID need torch-fidelity", _OR_FEATURES)
    if weights is not None and not weights.is_file():
        raise KDError(f"the weights of the Inception network are not at {weights}: give their file, {_OR_FEATURES}")
    try:
        network = module.FeatureExtractorInceptionV3(
            "inception-v3-compat",
            ["2048"],
            feature_extractor_weights_path=None if weights is None else str(weights),
        )
    except Exception as error:  # the library's, urllib's and PyTorch's
        done = "fetched" if weights is None else f"read from {weights}"
        raise KDError(
            f"the weights of the Inception network cannot be {done} ({_told(error)}): give their file, {_OR_FEATURES}"
        ) from error
    network.eval().requires_grad_(False).to(device)

    def features_of(images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = network((images * 255).round().to(torch.uint8))[0]
        return features

    description = Description(
        INCEPTION, "torch-fidelity", _version("torch-fidelity"), "299x299, bilinear as in TensorFlow 1"
    )
    return FeatureNetwork(description, features_of, torch.device(device))


def load_features(source: str, device: torch.device | str = "cpu") -> FeatureNetwork:
    """Return a user's function of features.

    Args:
        source: ``package.module:function``. The function takes images (B, 3, H, W), float32 in [0, 1], on the device,
            and returns features (B, D).
        device: device of the images.

    Raises:
        ArgumentError: If it cannot be imported.
    """
    function = import_function("the function of features", source)
    library = source.partition(":")[0].partition(".")[0]
    description = Description(source, library, _version(library), "the function's own")
    return FeatureNetwork(description, function, torch.device(device))


def lpips_network(trunk: LpipsTrunk = "alex", device: torch.device | str = "cpu") -> PerceptualNetwork:
    """Return the LPIPS (Zhang et al., CVPR 2018) of the package ``lpips``, version 0.1 of its weights.

    The library fetches the ImageNet weights of the trunk once, to the folder of ``torch.hub``.

    Args:
        trunk: network whose features are compared; ``"alex"`` is the library's default for evaluation.
        device: device to run on.

    Raises:
        ArgumentError: If the trunk is unknown.
        KDError: If lpips or torchvision cannot be imported, or the weights are missing and cannot be fetched.
    """
    if trunk not in get_args(LpipsTrunk):
        raise ArgumentError(unknown_name("trunk of LPIPS", str(trunk), get_args(LpipsTrunk)))
    module = _import("lpips", "LPIPS needs lpips", "or leave this measure out")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips calls torchvision with arguments that are deprecated
            network = module.LPIPS(net=trunk, verbose=False)
    except Exception as error:  # the library's, urllib's and PyTorch's
        raise KDError(
            f"the weights of LPIPS ({trunk}) cannot be fetched ({_told(error)}): put the file that torchvision "
            "fetches into the folder of torch.hub, or leave this measure out"
        ) from error
    network.eval().requires_grad_(False).to(device)
    description = Description(f"LPIPS ({trunk})", "lpips", _version("lpips"), "none")
    return PerceptualNetwork(description, network, torch.device(device))


def _colour(images: torch.Tensor) -> torch.Tensor:
    """Check images in [0, 1]; return them in float32 with three channels."""
    check_images(images)
    low, high = (float(value) for value in images.aminmax())
    if not (low >= 0 and high <= 1):  # also true of NaN
        raise ArgumentError(f"the images run from {low:g} to {high:g}: scale them to [0, 1]")
    if images.shape[1] not in (1, 3):
        raise ArgumentError(f"the networks take images of one or three channels, these have {images.shape[1]}")
    return images.detach().float().expand(-1, 3, -1, -1)


def _import(name: str, need: str, otherwise: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a torchvision of another build raises RuntimeError or OSError
        raise KDError(f"{need}, which cannot be imported ({_told(error)}): {_INSTALL}, {otherwise}") from error


def _told(error: Exception) -> str:
    return in_one_line(error) or type(error).__name__


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
