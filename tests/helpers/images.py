"""Images for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def paint(file: Path, width: int, height: int, seed: int) -> None:
    """Write a smooth random picture: noise would leave a generator nothing to learn."""
    noise = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(file)
