"""CycleGAN: translation in both directions between two unpaired sets of images (Zhu et al., 2017)."""

import itertools
from argparse import ArgumentParser, Namespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from models import networks
from models.base_model import BaseModel
from util.image_pool import ImagePool


class CycleGANModel(BaseModel):
    """``netG_A`` maps A to B and ``netD_A`` scores B; ``netG_B`` maps B to A and ``netD_B`` scores A."""

    @staticmethod
    def modify_commandline_options(parser: ArgumentParser, is_train: bool = True) -> ArgumentParser:
        """Disable dropout and add the weights of the losses."""
        parser.set_defaults(no_dropout=True)
        if is_train:
            add = parser.add_argument
            add("--lambda_A", type=float, default=10.0, help="weight of the cycle A -> B -> A")
            add("--lambda_B", type=float, default=10.0, help="weight of the cycle B -> A -> B")
            help_identity = "weight of the identity losses relative to the cycle losses; 0 disables them"
            add("--lambda_identity", type=float, default=0.5, help=help_identity)
        return parser

    def __init__(self, opt: Namespace) -> None:
        BaseModel.__init__(self, opt)
        self.loss_names = ["D_A", "G_A", "cycle_A", "idt_A", "D_B", "G_B", "cycle_B", "idt_B"]
        identity = self.isTrain and opt.lambda_identity > 0
        visuals_A = ["real_A", "fake_B", "rec_A"] + (["idt_B"] if identity else [])
        visuals_B = ["real_B", "fake_A", "rec_B"] + (["idt_A"] if identity else [])
        self.visual_names = visuals_A + visuals_B
        self.model_names = ["G_A", "G_B", "D_A", "D_B"] if self.isTrain else ["G_A", "G_B"]
        if identity and opt.input_nc != opt.output_nc:
            raise SystemExit(
                f"the identity loss needs equal channels, not --input_nc {opt.input_nc} and --output_nc"
                f" {opt.output_nc}: give --lambda_identity 0"
            )
        self.netG_A = self.build_generator(opt.input_nc, opt.output_nc)
        self.netG_B = self.build_generator(opt.output_nc, opt.input_nc)
        if self.isTrain:
            self.netD_A = self.build_discriminator(opt.output_nc)
            self.netD_B = self.build_discriminator(opt.input_nc)
            self.fake_A_pool = ImagePool(opt.pool_size)
            self.fake_B_pool = ImagePool(opt.pool_size)
            self.criterionGAN = networks.GANLoss(opt.gan_mode).to(self.device)
            self.criterionCycle = F.l1_loss
            self.criterionIdt = F.l1_loss
            both_G = itertools.chain(self.netG_A.parameters(), self.netG_B.parameters())
            both_D = itertools.chain(self.netD_A.parameters(), self.netD_B.parameters())
            self.optimizer_G = torch.optim.Adam(both_G, lr=opt.lr, betas=(opt.beta1, 0.999))
            self.optimizer_D = torch.optim.Adam(both_D, lr=opt.lr, betas=(opt.beta1, 0.999))
            self.optimizers = [self.optimizer_G, self.optimizer_D]

    def set_input(self, input: dict[str, Any]) -> None:
        """Unpack a batch; --direction determines which set is A."""
        source, target = ("A", "B") if self.opt.direction == "AtoB" else ("B", "A")
        self.real_A = input[source].to(self.device)
        self.real_B = input[target].to(self.device)
        self.image_paths = input[source + "_paths"]

    def forward(self) -> None:
        """Translate in both directions and back."""
        self.fake_B = self.netG_A(self.real_A)
        self.rec_A = self.netG_B(self.fake_B)
        self.fake_A = self.netG_B(self.real_B)
        self.rec_B = self.netG_A(self.fake_A)

    def backward_G(self) -> None:
        """Compute the gradients of both generators in one backward pass."""
        opt = self.opt
        self.loss_idt_A = self.loss_idt_B = torch.zeros((), device=self.device)
        if opt.lambda_identity > 0:  # a generator should not change an image of its target set
            self.idt_A = self.netG_A(self.real_B)
            self.loss_idt_A = self.criterionIdt(self.idt_A, self.real_B) * opt.lambda_B * opt.lambda_identity
            self.idt_B = self.netG_B(self.real_A)
            self.loss_idt_B = self.criterionIdt(self.idt_B, self.real_A) * opt.lambda_A * opt.lambda_identity
        self.loss_G_A = self.criterionGAN(self.netD_A(self.fake_B), True)
        self.loss_G_B = self.criterionGAN(self.netD_B(self.fake_A), True)
        self.loss_cycle_A = self.criterionCycle(self.rec_A, self.real_A) * opt.lambda_A
        self.loss_cycle_B = self.criterionCycle(self.rec_B, self.real_B) * opt.lambda_B
        adversarial = self.loss_G_A + self.loss_G_B
        self.loss_G = adversarial + self.loss_cycle_A + self.loss_cycle_B + self.loss_idt_A + self.loss_idt_B
        self.loss_G.backward()

    def backward_D_basic(self, netD: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Compute the gradients of one discriminator and return its loss."""
        loss_real = self.criterionGAN(netD(real), True)
        loss_fake = self.criterionGAN(netD(fake.detach()), False)
        loss = (loss_real + loss_fake) / 2
        loss.backward()
        return loss

    def optimize_parameters(self) -> None:
        """Step both generators, then both discriminators."""
        self.forward()
        self.set_requires_grad([self.netD_A, self.netD_B], False)
        self.optimizer_G.zero_grad()
        self.backward_G()
        self.optimizer_G.step()
        self.set_requires_grad([self.netD_A, self.netD_B], True)
        self.optimizer_D.zero_grad()
        self.loss_D_A = self.backward_D_basic(self.netD_A, self.real_B, self.fake_B_pool.query(self.fake_B))
        self.loss_D_B = self.backward_D_basic(self.netD_B, self.real_A, self.fake_A_pool.query(self.fake_A))
        self.optimizer_D.step()
