r"""Discriminator features: the two outputs as the teacher's discriminator sees them.

.. math:: \mathcal{L} = \frac{1}{L} \sum_{l=1}^{L} \operatorname{mean} (D_l(S(x)) - D_l(T(x)))^2

with :math:`D_l` the features of the frozen discriminator after its *l*-th activation. One that judges pairs (pix2pix)
is shown the input picture with each output.

Source: Li et al., "Revisiting Discriminator in GAN Compression" (GCC), NeurIPS 2021. Its code sums over two layers,
for pix2pix the root of the mean, adds a Gram term on them, and lets the discriminator train on; this is the mean over
all activations, and the discriminator of the teacher's checkpoint stays as it is.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import ArgumentError
from ..networks.discriminator import Discriminator, discriminator_beside, load_discriminator
from .registry import Term, TermOption, register
from .validate import check_images, common_dtype, fit, without_autocast

__all__ = ["DiscriminatorLoss", "discriminator_loss"]


def discriminator_loss(
    student: torch.Tensor, teacher: torch.Tensor, source: torch.Tensor, discriminator: Discriminator
) -> torch.Tensor:
    """Mean squared difference of a discriminator's features (equation in the module's docstring).

    Args:
        student, teacher: outputs (B, C, H, W) of one shape, in [-1, 1].
        source: the input both translated, (B, C_in, H, W).
        discriminator: takes C channels, or C_in + C, the input first. It is converted to the type the loss is
            computed in, the images' or float32.

    Returns:
        A scalar.

    Raises:
        ArgumentError: shapes differ, the images are too small for the discriminator, or it takes another number of
            channels.
    """
    check_images(student, teacher)
    check_images(source)
    alone, joined = student.shape[1], source.shape[1] + student.shape[1]
    if discriminator.input_nc not in (alone, joined):
        raise ArgumentError(
            f"the discriminator takes {discriminator.input_nc} channels, expected {alone} (an output) or {joined} "
            f"(an input and its output): is it the one of this teacher?"
        )
    if min(student.shape[2:]) < discriminator.smallest_side:
        raise ArgumentError(
            f"the discriminator takes images of {discriminator.smallest_side} pixels or more, got "
            f"{student.shape[3]}x{student.shape[2]}: leave the term out, or train on larger crops"
        )
    paired = discriminator.input_nc == joined
    if paired and (len(source), source.shape[2:]) != (len(student), student.shape[2:]):
        raise ArgumentError(
            f"the discriminator judges an input with its output, but their shapes are {tuple(source.shape)} and "
            f"{tuple(student.shape)}: choose a crop size the generators do not round, a multiple of 4"
        )
    dtype = common_dtype(student, teacher)
    fit(discriminator, student.device, dtype)
    with without_autocast(student):

        def look(images: torch.Tensor) -> list[torch.Tensor]:
            images = images.to(dtype)
            features: list[torch.Tensor] = discriminator(
                torch.cat((source.to(dtype), images), 1) if paired else images
            )
            return features

        distances = [(own - other).square().mean() for own, other in zip(look(student), look(teacher), strict=True)]
    return torch.stack(distances).mean()


@register
class DiscriminatorLoss(Term):
    """The discriminator term as a module; see :func:`discriminator_loss`."""

    name = "discriminator"
    summary = "difference of the features of the teacher's discriminator (GCC, NeurIPS 2021)"
    reads = "translation"
    default_weight = 1.0
    options = (
        TermOption(
            "discriminator_file", "file", str, "", "the teacher's *_net_D*.pth; beside the teacher's G if empty"
        ),
    )

    def __init__(self, file: str = "") -> None:
        super().__init__()
        self.file = str(Path(file).expanduser()) if file else ""
        self.network: Discriminator | None = None

    @classmethod
    def beside(cls, teacher: Path) -> dict[str, str]:
        """Return the discriminator that judged this generator."""
        file = discriminator_beside(teacher)
        return {"discriminator_file": str(file)} if file else {}

    def load(self) -> None:
        if self.network is None:
            if not Path(self.file).is_file():
                found = f"'{self.file}' is no file" if self.file else "none is named"
                raise ArgumentError(
                    f"the term discriminator needs the teacher's discriminator, and {found}: give its *_net_D*.pth "
                    f"as discriminator_file"
                )
            self.network = load_discriminator(self.file)

    def forward(self, student: torch.Tensor, teacher: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        self.load()
        assert self.network is not None
        return discriminator_loss(student, teacher, source, self.network)
