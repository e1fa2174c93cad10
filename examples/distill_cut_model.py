"""Distil CUT or FastCUT without the runner: copy this file into the ``models/`` folder of your repository, then

    python train.py --model distill_cut --CUT_mode CUT --dataroot DATA --name small --student_ngf 24 \
        --distill wavelet,srp --teacher checkpoints/big
    python test.py --model distill_cut --CUT_mode CUT --dataroot DATA --name small --phase test

This requires ``pip install kd_plugin`` and changes none of your files.
"""

from kd_plugin import DistillMixin

from .cut_model import CUTModel


class DistillCUTModel(DistillMixin, CUTModel):
    """CUT with a distilled generator.

    CUT translates ``real_A`` and, for its identity loss, ``real_B`` in one batch, and ``fake_B`` is the first part:
    only that part is distilled. The passes for the contrastive loss, which end in the encoder, are not. The teacher
    is loaded in ``setup``, which CUT calls after its first batch. A teacher with the antialiased layers of CUT is
    built by CUT, so ``--no_antialias`` and ``--no_antialias_up`` must be the same as for the teacher.
    """

    distill_pairs = (("G", "fake_B"),)
