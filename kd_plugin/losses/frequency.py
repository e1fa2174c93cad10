r"""Focal frequency distillation: the Fourier spectrum of the difference, weighted towards its largest errors.

.. math:: \mathcal{L} = \operatorname{mean}_{u,v} \; w_{uv} |F_{uv}|^2, \qquad
          w_{uv} = \big( |F_{uv}| / \max |F| \big)^{\alpha}

with *F* the orthonormal two-dimensional Fourier transform of S(x) - T(x) for one image and channel; the weights are
constants for the gradient. The mean is over all frequencies, channels and images.

Source: Jiang et al., "Focal Frequency Loss for Image Reconstruction and Synthesis", ICCV 2021, with one patch. An
alternative to the wavelet term: ``cutoff`` drops the frequencies below it, as the wavelet term drops the coarsest
band. The transform is linear, so it is applied once, to the difference; images are real, so half of the spectrum is
enough.
"""

from __future__ import annotations

import torch

from ..errors import ArgumentError
from .registry import Term, TermOption, register
from .validate import check_images, common_dtype


def frequency_loss(
    student: torch.Tensor, teacher: torch.Tensor, alpha: float = 1.0, cutoff: float = 0.0
) -> torch.Tensor:
    """Return the focal frequency loss of two images (equation in the module's docstring).

    Args:
        student, teacher: (B, C, H, W) of the same shape.
        alpha: exponent of the weights; 0 weighs all frequencies equally, which gives the mean squared difference of
            the images.
        cutoff: frequencies whose radius is below this fraction of the Nyquist frequency (half a cycle per pixel)
            are dropped, also from the maximum; 0 keeps all. The mean is still over all.

    Returns:
        A scalar.

    Raises:
        ArgumentError: If the shapes differ or a setting is out of range.
    """
    check_images(student, teacher)
    _check(alpha, cutoff)
    dtype = common_dtype(student, teacher)
    difference = student.to(dtype) - teacher.to(dtype)
    height, width = difference.shape[2:]
    spectrum = torch.fft.rfft2(difference, norm="ortho")  # (B, C, H, W // 2 + 1)
    power = torch.view_as_real(spectrum).square().sum(-1)
    # A column also counts for its mirror image, except the first and, if the width is even, the last.
    columns = torch.arange(width // 2 + 1, device=power.device)
    counted = torch.where((columns == 0) | (2 * columns == width), 1.0, 2.0).to(dtype)
    if cutoff > 0:
        rows = torch.fft.fftfreq(height, device=power.device, dtype=dtype)
        across = torch.fft.rfftfreq(width, device=power.device, dtype=dtype)
        radius = (rows[:, None].square() + across.square()).sqrt() / 0.5
        counted = counted * (radius >= cutoff)
    if alpha > 0:
        peak = (power * (counted > 0)).detach().amax((-2, -1), keepdim=True)
        weights = (power.detach() / torch.where(peak == 0, torch.ones_like(peak), peak)) ** (alpha / 2)
        power = power * weights
    return (power * counted).sum((-2, -1)).mean() / (height * width)


def _check(alpha: float, cutoff: float) -> None:
    if not isinstance(alpha, (int, float)) or not 0 <= alpha < float("inf"):
        raise ArgumentError(f"frequency_alpha is {alpha!r}: give a finite value of 0 or more")
    if not isinstance(cutoff, (int, float)) or not 0 <= cutoff <= 1:
        raise ArgumentError(f"frequency_cutoff is {cutoff!r}: give a fraction of the Nyquist frequency, from 0 to 1")


@register
class FrequencyLoss(Term):
    """The frequency term as a module; see :func:`frequency_loss`."""

    name = "frequency"
    summary = "Fourier spectrum of the outputs' difference, weighted towards large errors (Jiang et al., ICCV 2021)"
    reads = "output"
    default_weight = 20.0
    options = (
        TermOption("frequency_alpha", "alpha", float, 1.0, "exponent of the weight of large errors in the spectrum"),
        TermOption("frequency_cutoff", "cutoff", float, 0.0, "drop frequencies below this fraction of Nyquist's"),
    )

    def __init__(self, alpha: float = 1.0, cutoff: float = 0.0) -> None:
        super().__init__()
        _check(alpha, cutoff)
        self.alpha, self.cutoff = alpha, cutoff

    def forward(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return frequency_loss(student, teacher, self.alpha, self.cutoff)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, cutoff={self.cutoff}"
