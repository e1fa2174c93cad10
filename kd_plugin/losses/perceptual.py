r"""Perceptual distillation: features of the two outputs in a network trained for another task.

.. math:: \mathcal{L} = \frac{1}{L} \sum_{l=1}^{L} \operatorname{mean} (\phi_l(S(x)) - \phi_l(T(x)))^2

with :math:`\phi_l` the features of a frozen network at the given layers.

Source: the feature reconstruction loss of Johnson, Alahi and Fei-Fei, ECCV 2016, there with one layer of VGG-16,
relu2_2. The user chooses the network, so nothing is downloaded and no package is required: a function that builds
it, such as ``torchvision.models:vgg16`` (with ``perceptual_weights`` the file of its state dict, and
``perceptual_layers`` ``features.8`` for Johnson's layer), or the ``.pth`` of a generator. The source of a function's
weights must be given: random weights would give a different loss without an error.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from ..errors import ArgumentError, first_line, in_one_line, unknown_name
from ..imports import build_network, is_function
from ..networks.checkpoint import read_state_dict
from ..networks.taps import find_modules, tap_points
from ..networks.teacher import load_teacher
from .registry import Term, TermOption, register, split_names
from .validate import check_images, common_dtype, fit, without_autocast

PerceptualInput = Literal["imagenet", "image"]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def perceptual_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    network: nn.Module,
    layers: list[str],
    scaling: PerceptualInput = "imagenet",
) -> torch.Tensor:
    """Return the mean squared difference of a network's features (equation in the module's docstring).

    Args:
        student, teacher: outputs (B, C, H, W) of the same shape, in [-1, 1].
        network: frozen; takes images. It is converted to the dtype of the loss, the images' or float32.
        layers: names of its modules, as in ``named_modules()``.
        scaling: ``"imagenet"`` scales images to [0, 1], normalises them with ImageNet's mean and standard deviation,
            and expands grey images to three channels; ``"image"`` keeps them in [-1, 1].

    Returns:
        A scalar.

    Raises:
        ArgumentError: If the shapes differ, ``layers`` is empty or names an unknown module, or images with this
            number of channels cannot be scaled.
    """
    check_images(student, teacher)
    if not layers:
        raise ArgumentError("no layer is given: name the modules whose features to compare (perceptual_layers)")
    if scaling not in get_args(PerceptualInput):
        raise ArgumentError(unknown_name("perceptual_input", str(scaling), get_args(PerceptualInput)))
    if scaling == "imagenet" and student.shape[1] not in (1, 3):
        raise ArgumentError(
            f"ImageNet networks take colour images, these have {student.shape[1]} channels: set perceptual_input to "
            f"image to pass them unscaled"
        )
    dtype = common_dtype(student, teacher)
    fit(network, student.device, dtype)
    with without_autocast(student):

        def features_of(images: torch.Tensor) -> dict[str, torch.Tensor]:
            images = images.to(dtype)
            if scaling == "imagenet":
                images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
                mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))
                images = ((images + 1) / 2 - mean) / std
            return _read(network, layers, images)

        features, features_t = features_of(student), features_of(teacher)
        return torch.stack([(features[layer] - features_t[layer]).square().mean() for layer in layers]).mean()


class _StopForward(Exception):
    """Stops a forward pass when all features have been read: the layers after the last one are not needed."""


def _read(network: nn.Module, layers: list[str], images: torch.Tensor) -> dict[str, torch.Tensor]:
    features: dict[str, torch.Tensor] = {}
    modules = find_modules(network, layers)

    def keep(name: str, module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        features[name] = output
        if len(features) == len(modules):
            raise _StopForward

    handles = [module.register_forward_hook(partial(keep, name)) for name, module in modules.items()]
    shape = f"{images.shape[3]}x{images.shape[2]} of {images.shape[1]} channels"
    try:
        network(images)
    except _StopForward:
        pass
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # the user's network may raise anything
        reason = first_line(error, 150)
        raise ArgumentError(f"the perceptual network does not accept images of {shape}: {reason}") from error
    finally:
        for handle in handles:
            handle.remove()
    for name in layers:
        if not isinstance(features.get(name), torch.Tensor):
            raise ArgumentError(f"module '{name}' of the perceptual network returns no tensor: name another")
    return features


@register
class PerceptualLoss(Term):
    """The perceptual term as a module; see :func:`perceptual_loss`."""

    name = "perceptual"
    summary = "difference of the features of a frozen network of your choice (Johnson et al., ECCV 2016)"
    reads = "output"
    default_weight = 10.0
    options = (
        TermOption(
            "perceptual_network", "network", str, "", "package.module:function that builds it, or a generator's .pth"
        ),
        TermOption(
            "perceptual_weights",
            "weights",
            str,
            "",
            "weights of the function's network: a file of its state dict, own if the function loads them itself, or "
            "random, drawn with a fixed seed and saved with the training state",
        ),
        TermOption(
            "perceptual_layers", "layers", str, "", "modules to read, comma-separated; a generator's encoder if empty"
        ),
        TermOption(
            "perceptual_input",
            "scaling",
            str,
            None,
            "images as ImageNet networks expect them, or in [-1, 1]; imagenet unless the network is a generator",
            get_args(PerceptualInput),
        ),
    )

    def __init__(
        self, network: str = "", weights: str = "", layers: str = "", scaling: PerceptualInput | None = None
    ) -> None:
        super().__init__()
        generator = network.endswith(".pth")
        if not generator and not is_function(network):
            raise ArgumentError(
                f"perceptual_network is '{network}': name the function that builds the network, as "
                f"package.module:function, such as torchvision.models:vgg16, or a generator's .pth file"
            )
        if generator and weights:
            raise ArgumentError(f"perceptual_weights {weights} has no effect: {network} contains the weights")
        if not generator and not split_names(layers):
            raise ArgumentError(f"perceptual_layers is empty: name modules of {network}, such as features.8")
        if not generator and not weights:
            raise ArgumentError(
                f"perceptual_weights is empty, and the network of {network} may have random weights: give a file of "
                f"its state dict, own if the function loads them itself, or random"
            )
        if scaling not in (None, *get_args(PerceptualInput)):
            raise ArgumentError(unknown_name("perceptual_input", str(scaling), get_args(PerceptualInput)))
        self.source, self.weights, self.layers = network, weights, split_names(layers)
        self.scaling: PerceptualInput = scaling or ("image" if generator else "imagenet")
        self.network: nn.Module | None = None

    def load(self) -> None:
        if self.network is not None:
            return
        if self.source.endswith(".pth"):
            self.network = load_teacher(Path(self.source).expanduser())
            self.layers = self.layers or [tap_points(self.network)["encoder"][0].module]
        else:
            self.network = _build(self.source, seed=0)
            if self.weights == "own":
                _check_loaded(self.source, self.network)
            elif self.weights != "random":
                _fill(self.network, self.weights)
        self.network.requires_grad_(False).eval()
        find_modules(self.network, self.layers)  # raises for an unknown layer

    def drawn(self) -> nn.Module | None:
        return self.network if self.weights == "random" else None

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        self.load()
        assert self.network is not None
        return perceptual_loss(student, teacher, self.network, self.layers, self.scaling)


def _build(source: str, seed: int) -> nn.Module:
    """Call the user's function with a seed of its own; the RNG state of the run is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too
        return build_network(f"perceptual_network {source}", source)


def _check_loaded(source: str, network: nn.Module) -> None:
    """Check that the function loads weights; single layers may be initialised at random.

    Raises:
        ArgumentError: If all weights depend on the seed.
    """
    pairs = zip(network.parameters(), _build(source, seed=1).parameters(), strict=False)
    same = [torch.equal(first, second) for first, second in pairs if first.ndim > 1]
    if same and not any(same):
        raise ArgumentError(
            f"perceptual_weights is own, but {source} initialises all weights at random: give a file of its state "
            f"dict, or random"
        )


def _fill(network: nn.Module, weights: str) -> None:
    file = Path(weights).expanduser()
    if not file.exists():
        raise ArgumentError(f"perceptual_weights {weights} does not exist: give a file, own or random")
    state = read_state_dict(file)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ArgumentError(f"perceptual_weights {weights} does not fit the network: {in_one_line(error)}") from None
