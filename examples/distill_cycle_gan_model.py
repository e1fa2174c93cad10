"""Distil CycleGAN without the runner: copy this file into the ``models/`` folder of your repository, then

    python train.py --model distill_cycle_gan --dataroot DATA --name small --student_ngf 24 \
        --distill wavelet,srp --teacher checkpoints/big
    python test.py --model distill_cycle_gan --dataroot DATA --name small

It needs ``pip install kd_plugin`` and changes no file you have.
"""

from kd_plugin import DistillMixin

from .cycle_gan_model import CycleGANModel


class DistillCycleGANModel(DistillMixin, CycleGANModel):
    """CycleGAN whose two generators also learn from two larger ones.

    Each generator runs several times in a step: translation, cycle, identity. Only the translations of real
    images are distilled, ``netG_A(real_A) -> fake_B`` and ``netG_B(real_B) -> fake_A``, and layers are read in
    those calls alone. Each pair's terms ride on its images, which the GAN losses use, so the one
    ``loss_G.backward()`` of both generators carries all of them.

    With ``--teacher_G_A FILE`` alone, or with one pair left out below, only that direction is distilled; the
    other generator, just as small, still trains on the host's losses.
    """

    distill_pairs = (("G_A", "fake_B"), ("G_B", "fake_A"))
