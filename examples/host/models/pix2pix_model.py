"""pix2pix: a conditional GAN on aligned pairs (Isola et al., 2017)."""

from argparse import ArgumentParser, Namespace
from typing import Any

import torch
from torch.nn import functional as F

from models import networks
from models.base_model import BaseModel


class Pix2PixModel(BaseModel):
    """``netG`` maps real_A to fake_B; ``netD`` scores A and B concatenated along the channels."""

    @staticmethod
    def modify_commandline_options(parser: ArgumentParser, is_train: bool = True) -> ArgumentParser:
        """Set the paper's defaults and add the weight of the L1 loss."""
        parser.set_defaults(norm="batch", netG="unet_256", dataset_mode="aligned")
        if is_train:
            parser.set_defaults(pool_size=0, gan_mode="vanilla")
            parser.add_argument("--lambda_L1", type=float, default=100.0, help="weight of the L1 loss")
        return parser

    def __init__(self, opt: Namespace) -> None:
        BaseModel.__init__(self, opt)
        self.loss_names = ["G_GAN", "G_L1", "D_real", "D_fake"]
        self.visual_names = ["real_A", "fake_B", "real_B"]
        self.model_names = ["G", "D"] if self.isTrain else ["G"]
        self.netG = self.build_generator(opt.input_nc, opt.output_nc)
        if self.isTrain:
            self.netD = self.build_discriminator(opt.input_nc + opt.output_nc)
            self.criterionGAN = networks.GANLoss(opt.gan_mode).to(self.device)
            self.criterionL1 = F.l1_loss
            betas = (opt.beta1, 0.999)
            self.optimizer_G = torch.optim.Adam(self.netG.parameters(), lr=opt.lr, betas=betas)
            self.optimizer_D = torch.optim.Adam(self.netD.parameters(), lr=opt.lr, betas=betas)
            self.optimizers = [self.optimizer_G, self.optimizer_D]

    def set_input(self, input: dict[str, Any]) -> None:
        """Unpack a batch; --direction determines which side is the input."""
        source, target = ("A", "B") if self.opt.direction == "AtoB" else ("B", "A")
        self.real_A = input[source].to(self.device)
        self.real_B = input[target].to(self.device)
        self.image_paths = input[source + "_paths"]

    def forward(self) -> None:
        """Translate A to B."""
        self.fake_B = self.netG(self.real_A)

    def backward_D(self) -> None:
        """Compute the gradients of the discriminator."""
        fake_pair = torch.cat((self.real_A, self.fake_B), 1).detach()
        self.loss_D_fake = self.criterionGAN(self.netD(fake_pair), False)
        real_pair = torch.cat((self.real_A, self.real_B), 1)
        self.loss_D_real = self.criterionGAN(self.netD(real_pair), True)
        self.loss_D = (self.loss_D_fake + self.loss_D_real) / 2
        self.loss_D.backward()

    def backward_G(self) -> None:
        """Compute the gradients of the generator."""
        fake_pair = torch.cat((self.real_A, self.fake_B), 1)
        self.loss_G_GAN = self.criterionGAN(self.netD(fake_pair), True)
        self.loss_G_L1 = self.criterionL1(self.fake_B, self.real_B) * self.opt.lambda_L1
        self.loss_G = self.loss_G_GAN + self.loss_G_L1
        self.loss_G.backward()

    def optimize_parameters(self) -> None:
        """Step the discriminator, then the generator."""
        self.forward()
        self.set_requires_grad(self.netD, True)
        self.optimizer_D.zero_grad()
        self.backward_D()
        self.optimizer_D.step()
        self.set_requires_grad(self.netD, False)
        self.optimizer_G.zero_grad()
        self.backward_G()
        self.optimizer_G.step()
