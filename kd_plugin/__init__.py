"""Knowledge distillation for the image-to-image GAN repository you already have.

Use the runner (``kd run train.py --distill wavelet ...``), a subclass
(``class DistillPix2PixModel(DistillMixin, Pix2PixModel)``), or :class:`Distiller` in your own loop.

The public names and the submodules are imported on first use (PEP 562), since PyTorch takes seconds to import and
``kd --help`` does not need it.
"""

from typing import TYPE_CHECKING

from .errors import KDError
from .version import __version__

if TYPE_CHECKING:  # for type checkers and editors
    from .compression.compress import compress
    from .compression.settings import CompressSettings
    from .distillation.distiller import Distillation, Distiller
    from .host.model.load_generator import load_generator
    from .host.model.mixin import DistillMixin
    from .networks.checkpoint import inspect_checkpoint
    from .networks.generator import GeneratorSpec
    from .networks.teacher import load_teacher
    from .training.trainer import StudentTrainer
else:
    import importlib.util

    _PLACES = {
        "CompressSettings": "compression.settings",
        "StudentTrainer": "training.trainer",
        "compress": "compression.compress",
        "DistillMixin": "host.model.mixin",
        "Distillation": "distillation.distiller",
        "Distiller": "distillation.distiller",
        "GeneratorSpec": "networks.generator",
        "inspect_checkpoint": "networks.checkpoint",
        "load_generator": "host.model.load_generator",
        "load_teacher": "networks.teacher",
    }

    def __getattr__(name):
        if name in _PLACES:
            value = getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
            globals()[name] = value
            return value
        if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
            return importlib.import_module(f".{name}", __name__)  # such as kd_plugin.losses
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    "CompressSettings",
    "DistillMixin",
    "Distillation",
    "Distiller",
    "GeneratorSpec",
    "KDError",
    "StudentTrainer",
    "__version__",
    "compress",
    "inspect_checkpoint",
    "load_generator",
    "load_teacher",
]
