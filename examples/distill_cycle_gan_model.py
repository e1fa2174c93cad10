"""Distil CycleGAN without the runner: copy this file into the ``models/`` folder of your repository, then

    python train.py --model distill_cycle_gan --dataroot DATA --name small --student_ngf 24 \
        --distill wavelet,srp --teacher checkpoints/big
    python test.py --model distill_cycle_gan --dataroot DATA --name small

This requires ``pip install kd_plugin`` and changes none of your files.
"""

from kd_plugin import DistillMixin

from .cycle_gan_model import CycleGANModel


class DistillCycleGANModel(DistillMixin, CycleGANModel):
    """CycleGAN with two distilled generators.

    Each generator runs several times in a step: translation, cycle, identity. Only the translations of real
    images are distilled, ``netG_A(real_A) -> fake_B`` and ``netG_B(real_B) -> fake_A``, and features are read only
    in those calls. The terms of each pair are attached to its images, which the GAN losses use, so the single
    ``loss_G.backward()`` of both generators also computes the gradient of the terms.

    With only ``--teacher_G_A FILE``, or without one of the pairs below, only that direction is distilled; the
    other generator, of the same size, trains on the host's losses.
    """

    distill_pairs = (("G_A", "fake_B"), ("G_B", "fake_A"))
