"""The interface form of this process: ``HOST_FORM=2020`` or ``HOST_FORM=2025``.

2020: ``--gpu_ids``; ``define_G`` and ``define_D`` initialise and move a network; DataParallel.
2025: ``opt.device``; ``define_G`` and ``define_D`` return an uninitialised network that ``BaseModel.setup``
initialises, loads, moves and wraps; DistributedDataParallel under torchrun.
"""

import os

FORM = os.environ.get("HOST_FORM", "2025")
if FORM not in ("2020", "2025"):
    raise SystemExit(f"HOST_FORM={FORM!r} is not supported: set it to 2020 or 2025, or unset it")
