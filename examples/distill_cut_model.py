"""Distil CUT or FastCUT without the runner: copy this file into the ``models/`` folder of your repository, then

    python train.py --model distill_cut --CUT_mode CUT --dataroot DATA --name small --student_ngf 24 \
        --distill wavelet,srp --teacher checkpoints/big
    python test.py --model distill_cut --CUT_mode CUT --dataroot DATA --name small --phase test

It needs ``pip install kd_plugin`` and changes no file you have.
"""

from kd_plugin import DistillMixin

from .cut_model import CUTModel


class DistillCUTModel(DistillMixin, CUTModel):
    """CUT whose generator also learns from a larger one.

    CUT translates ``real_A`` and, for its identity loss, ``real_B`` in one batch, of which ``fake_B`` is the first
    part: that part alone is distilled. The passes for the contrastive loss, which stop within the encoder, are left
    alone. The teacher is loaded in ``setup``, which CUT calls after its first batch. A teacher with the antialiased
    layers of CUT is built by CUT itself, so ``--no_antialias`` and ``--no_antialias_up`` have to be the teacher's.
    """

    distill_pairs = (("G", "fake_B"),)
