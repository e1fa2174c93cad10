"""The processes of a distributed training: rank, number, and messages printed once."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

_wording: Callable[[str], str] = str


def process_rank() -> int:
    """Return the rank of this process, 0 if it is the only one."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def process_count() -> int:
    """Return the number of processes of the training."""
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_main_process() -> bool:
    """Return whether this is the process that writes files."""
    return process_rank() == 0


def is_distributed() -> bool:
    """Return whether the training runs on several processes."""
    return process_count() > 1


def use_wording(wording: Callable[[str], str]) -> None:
    """Let a function rewrite all messages: a host may call options by names of its own."""
    global _wording
    _wording = wording


def worded(message: object) -> str:
    """Return a message in the words of the host."""
    return _wording(str(message))


def say(message: str) -> None:
    """Print a line of the plugin in the main process only."""
    # Outside an initialised process group, torchrun's variables give the rank.
    other_rank = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0"
    if is_main_process() and not other_rank:
        print(f"[distill] {worded(message)}")
