"""Distil pix2pix without the runner: copy this file into the ``models/`` folder of your repository, then

    python train.py --model distill_pix2pix --dataroot DATA --name small --student_ngf 24 \
        --distill wavelet,srp --teacher checkpoints/big
    python test.py --model distill_pix2pix --dataroot DATA --name small

It needs ``pip install kd_plugin`` and changes no file you have.
"""

from kd_plugin import DistillMixin

from .pix2pix_model import Pix2PixModel


class DistillPix2PixModel(DistillMixin, Pix2PixModel):
    """pix2pix whose generator also learns from a larger one.

    What the mixin adds, around your own methods and in this order:

    * ``modify_commandline_options``: ``--distill``, ``--teacher``, ``--student_ngf`` and their kin.
    * ``__init__``: builds ``netG`` with the student's width, and finds the teacher's file.
    * ``setup``: loads the teacher, frozen; its architecture is read from the file. It is in no
      ``model_names``, so it is neither initialised nor saved, and no optimizer sees it.
    * ``forward``: after ``self.fake_B = self.netG(self.real_A)``, the teacher translates the same
      ``real_A`` without gradients, and the terms compare the two. Their weighted sum rides on ``fake_B``.
    * ``optimize_parameters``: nothing. ``backward_G`` uses ``fake_B`` for the GAN and the L1 loss, and its one
      ``loss_G.backward()`` carries the terms along: the gradient is exactly that of

          loss_G + lambda_wavelet * wavelet(fake_B, teacher_fake_B) + lambda_srp * srp(features, features)

      The discriminator's step sees a detached ``fake_B`` and is not touched.
    """

    # The generator to distil, and the attribute that holds its images. This is what the mixin finds by
    # itself in pix2pix; declare it where your names differ.
    distill_pairs = (("G", "fake_B"),)

    @classmethod
    def modify_commandline_options(cls, parser, is_train=True):
        """Add the plugin's options and change defaults of your own choice."""
        parser = super().modify_commandline_options(parser, is_train)
        if is_train:
            parser.set_defaults(student_ndf=32)  # a small generator trains better against a small discriminator
        return parser
