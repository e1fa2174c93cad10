"""Distil pix2pix without the runner: copy this file into the ``models/`` folder of your repository, then

    python train.py --model distill_pix2pix --dataroot DATA --name small --student_ngf 24 \
        --distill wavelet,srp --teacher checkpoints/big
    python test.py --model distill_pix2pix --dataroot DATA --name small

This requires ``pip install kd_plugin`` and changes none of your files.
"""

from kd_plugin import DistillMixin

from .pix2pix_model import Pix2PixModel


class DistillPix2PixModel(DistillMixin, Pix2PixModel):
    """pix2pix with a distilled generator.

    The mixin extends these methods, in the order of their calls:

    * ``modify_commandline_options``: adds ``--distill``, ``--teacher``, ``--student_ngf`` and the other options.
    * ``__init__``: builds ``netG`` with the student's width, and finds the teacher's file.
    * ``setup``: loads the frozen teacher, whose architecture is inferred from its file. It is not in
      ``model_names``, so it is neither initialised nor saved, and no optimizer holds its parameters.
    * ``forward``: after ``self.fake_B = self.netG(self.real_A)``, the teacher translates the same
      ``real_A`` without gradients, and the terms compare the two. Their weighted sum is attached to ``fake_B``.
    * ``optimize_parameters``: unchanged. ``backward_G`` uses ``fake_B`` for the GAN and the L1 loss, and its
      ``loss_G.backward()`` includes the terms: the gradient is exactly that of

          loss_G + lambda_wavelet * wavelet(fake_B, teacher_fake_B) + lambda_srp * srp(features, features)

      The discriminator's step uses a detached ``fake_B`` and is unchanged.
    """

    # The generator to distil, and the attribute that holds its output. This is the default for pix2pix;
    # declare it if your names differ.
    distill_pairs = (("G", "fake_B"),)

    @classmethod
    def modify_commandline_options(cls, parser, is_train=True):
        """Add the plugin's options, and change defaults."""
        parser = super().modify_commandline_options(parser, is_train)
        if is_train:
            parser.set_defaults(student_ndf=32)  # a small generator trains better against a small discriminator
        return parser
