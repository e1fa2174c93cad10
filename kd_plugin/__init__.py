"""Knowledge distillation for the image-to-image GAN repository you already have.

Three ways in: the runner (``kd run train.py --distill wavelet ...``), a subclass
(``class DistillPix2PixModel(DistillMixin, Pix2PixModel)``), and :class:`Distiller` in a loop of your own.
"""

from .version import __version__  # isort: skip

from .checkpoint import inspect_checkpoint
from .distiller import Distillation, Distiller
from .errors import KDError
from .host.mixin import DistillMixin
from .networks import GeneratorSpec
from .teacher import load_teacher

__all__ = [
    "DistillMixin",
    "Distillation",
    "Distiller",
    "GeneratorSpec",
    "KDError",
    "__version__",
    "inspect_checkpoint",
    "load_teacher",
]
