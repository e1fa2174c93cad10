"""Utilities for errors, seeds, processes and image conversion."""

from __future__ import annotations

import importlib
import os
import random
import sys
from typing import Any, NoReturn

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image


def die(message: str) -> NoReturn:
    """Print a message to stderr and exit with status 2, as argparse does for an invalid option."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def find_class(package: str, kind: str, name: str, base: type, option: str) -> Any:
    """Return the subclass of ``base`` named ``<name><kind>``, ignoring case, in <package>/<name>_<kind>.py."""
    module_name = f"{package}.{name}_{kind}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if not module_name.startswith(exc.name or "?"):  # an import in the file failed
            raise
        die(f"{option} {name}: there is no file {package}/{name}_{kind}.py")
    wanted = name.replace("_", "") + kind
    for key, value in vars(module).items():
        if key.lower() == wanted.lower() and isinstance(value, type) and base in value.__mro__[1:]:
            return value
    die(f"{option} {name}: {package}/{name}_{kind}.py has no {base.__name__} named {wanted} (ignoring case)")


def seed_everything(seed: int) -> None:
    """Seed ``random``, numpy and torch (DataLoader workers take their seeds from torch)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True


def process_rank() -> int:
    """Return the rank of this process, from the environment of torchrun before the process group exists."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", "0"))


def init_ddp() -> torch.device:
    """Return the device of this process, and initialise the process group if there are several processes."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    return device


def cleanup_ddp() -> None:
    """Destroy the process group if it is initialised."""
    if dist.is_initialized():
        dist.destroy_process_group()


def tensor2im(images: torch.Tensor) -> np.ndarray:
    """Convert the first image of a batch (B, C, H, W) in [-1, 1] to a uint8 array (H, W, 3)."""
    first = images[0].detach().float().cpu().clamp(-1, 1)
    if first.shape[0] == 1:
        first = first.expand(3, -1, -1)
    return ((first + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()


def save_image(array: np.ndarray, path: str | os.PathLike[str], aspect_ratio: float = 1.0) -> None:
    """Write a uint8 array (H, W, 3) to a file, with width / height multiplied by ``aspect_ratio``."""
    image = Image.fromarray(array)
    width, height = image.size
    if aspect_ratio > 1:
        image = image.resize((round(width * aspect_ratio), height), Image.Resampling.BICUBIC)
    elif aspect_ratio < 1:
        image = image.resize((width, round(height / aspect_ratio)), Image.Resampling.BICUBIC)
    image.save(path)
