r"""Discriminator features: features of the two outputs in the teacher's discriminator.

.. math:: \mathcal{L} = \frac{1}{L} \sum_{l=1}^{L} \operatorname{mean} (D_l(S(x)) - D_l(T(x)))^2

with :math:`D_l` the features of the frozen discriminator after its *l*-th activation. A conditional one (pix2pix)
takes the input image with each output.

Source: Li et al., "Revisiting Discriminator in GAN Compression" (GCC), NeurIPS 2021. Its code sums over two layers,
for pix2pix the root of the mean, adds a Gram term on them, and continues to train the discriminator; this is the mean
over all activations, with the discriminator of the teacher's checkpoint unchanged.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import ArgumentError
from ..networks.discriminator import Discriminator, find_discriminator, load_discriminator
from .registry import Term, TermOption, register
from .validate import check_images, common_dtype, fit, without_autocast


def discriminator_loss(
    student: torch.Tensor, teacher: torch.Tensor, source: torch.Tensor, discriminator: Discriminator
) -> torch.Tensor:
    """Return the mean squared difference of a discriminator's features (equation in the module's docstring).

    Args:
        student, teacher: outputs (B, C, H, W) of the same shape, in [-1, 1].
        source: the input of both, (B, C_in, H, W).
        discriminator: takes C channels, or C_in + C, the input first. It is converted to the dtype of the loss, the
            images' or float32.

    Returns:
        A scalar.

    Raises:
        ArgumentError: If the shapes differ, the images are too small for the discriminator, or it takes a different
            number of channels.
    """
    check_images(student, teacher)
    check_images(source)
    unconditional, conditional = student.shape[1], source.shape[1] + student.shape[1]
    if discriminator.input_nc not in (unconditional, conditional):
        raise ArgumentError(
            f"the discriminator takes {discriminator.input_nc} channels, expected {unconditional} (the output) or "
            f"{conditional} (the input and the output): give this teacher's discriminator"
        )
    if min(student.shape[2:]) < discriminator.smallest_side:
        raise ArgumentError(
            f"the discriminator needs images of at least {discriminator.smallest_side} pixels, got "
            f"{student.shape[3]}x{student.shape[2]}: remove the term, or train on larger crops"
        )
    paired = discriminator.input_nc == conditional
    if paired and (len(source), source.shape[2:]) != (len(student), student.shape[2:]):
        raise ArgumentError(
            f"the discriminator takes the input with the output, but their shapes are {tuple(source.shape)} and "
            f"{tuple(student.shape)}: choose a crop size that is a multiple of 4, which the generators keep"
        )
    dtype = common_dtype(student, teacher)
    fit(discriminator, student.device, dtype)
    with without_autocast(student):

        def features_of(images: torch.Tensor) -> list[torch.Tensor]:
            images = images.to(dtype)
            features: list[torch.Tensor] = discriminator(
                torch.cat((source.to(dtype), images), 1) if paired else images
            )
            return features

        pairs = zip(features_of(student), features_of(teacher), strict=True)
        return torch.stack([(s - t).square().mean() for s, t in pairs]).mean()


@register
class DiscriminatorLoss(Term):
    """The discriminator term as a module; see :func:`discriminator_loss`."""

    name = "discriminator"
    summary = "difference of the features of the teacher's discriminator (GCC, NeurIPS 2021)"
    reads = "translation"
    default_weight = 1.0
    options = (
        TermOption(
            "discriminator_file", "file", str, "", "the teacher's *_net_D*.pth; the one next to its G if empty"
        ),
    )

    def __init__(self, file: str = "") -> None:
        super().__init__()
        self.file = str(Path(file).expanduser()) if file else ""
        self.network: Discriminator | None = None

    @classmethod
    def implied_options(cls, teacher: Path) -> dict[str, str]:
        """Return the discriminator that was trained against this generator."""
        file = find_discriminator(teacher)
        return {"discriminator_file": str(file)} if file else {}

    def load(self) -> None:
        if self.network is None:
            if not Path(self.file).is_file():
                found = f"'{self.file}' is not a file" if self.file else "none is given"
                raise ArgumentError(
                    f"the term discriminator needs the teacher's discriminator, but {found}: give its *_net_D*.pth "
                    f"as discriminator_file"
                )
            self.network = load_discriminator(self.file)

    def forward(self, student: torch.Tensor, teacher: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        self.load()
        assert self.network is not None
        return discriminator_loss(student, teacher, source, self.network)
