"""Distil in a repository outside the host family, whose model is an nn.Module that returns its losses.

    python examples/own_model.py

pix2pixHD and its forks have this structure: ``losses, generated = model(label, image)``, and the training script sums
the losses, steps two optimizers, and does not access the generator. Distillation adds the lines marked (1) to (5),
explained in docs/your-own-repo.md. The data are random and the networks small, so that it runs anywhere.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from kd_plugin import Distiller


class Generator(nn.Module):
    """A custom generator: an encoder, blocks, a decoder."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, width, 7, padding=3), nn.ReLU(), nn.Conv2d(width, width, 4, 2, 1))
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)) for _ in range(blocks))
        )
        self.decoder = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.blocks(self.encoder(x)))


class Model(nn.Module):
    """Both networks and all losses, unchanged by distillation."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.netG = Generator(width, blocks)
        self.netD = nn.Sequential(nn.Conv2d(6, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 4, 1, 1))
        self.optimizer_G = torch.optim.Adam(self.netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.optimizer_D = torch.optim.Adam(self.netD.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def forward(self, label: torch.Tensor, image: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        fake = self.netG(label)
        pred_real, pred_fake = (self.netD(torch.cat((label, x), 1)) for x in (image, fake.detach()))
        pred_G = self.netD(torch.cat((label, fake), 1))
        losses = {
            "D": ((pred_real - 1).square().mean() + pred_fake.square().mean()) / 2,
            "G_GAN": (pred_G - 1).square().mean(),
            "G_L1": 10 * F.l1_loss(fake, image),
        }
        return losses, fake


def main(steps: int = 5) -> list[float]:
    """Train a student for some steps; return the distillation loss of each step."""
    torch.manual_seed(0)
    big = Generator(width=32, blocks=4)  # load its weights: big.load_state_dict(torch.load(..., weights_only=True))
    big.requires_grad_(False).eval()  # (1) a teacher is any frozen network
    model = Model(width=8, blocks=2)
    terms = {"wavelet": "100", "srp": "0@1,1000@2"}  # a weight is a number, or a schedule over the epochs
    taps = "encoder"  # the name of a module in both networks; student=teacher if the names differ
    distiller = Distiller(model.netG, big, terms, options={"wavelet_levels": 3}, taps=taps)  # (2)
    totals = []
    for step in range(steps):
        label, image = (torch.rand(2, 3, 32, 32) * 2 - 1 for _ in range(2))
        distiller.epoch = 1 + step / steps  # (3) for the schedules of the weights
        with distiller.record() as recorder:  # (4) records the calls of the generator
            losses, _ = model(label, image)
        distilled = distiller.distill(recorder.calls[0])
        loss_G = losses["G_GAN"] + losses["G_L1"] + distilled.total  # (5)
        model.optimizer_G.zero_grad()
        loss_G.backward()
        model.optimizer_G.step()
        model.optimizer_D.zero_grad()
        losses["D"].backward()
        model.optimizer_D.step()
        totals.append(distilled.total.item())
        values = ", ".join(f"{name} {value.item():.2f}" for name, value in distilled.losses.items())
        print(f"step {step}: loss_G {loss_G.item():.2f} ({values})")
    return totals


if __name__ == "__main__":
    main()
