"""A disk cache of a teacher's outputs, for later epochs.

Images are identified by their content, so the cache needs no dataset, and an augmented image has its own entry.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ArgumentError, first_line
from ..files import write_atomically

_FORMAT = "1"
_RECOUNT = 50  # the folder is measured again after writing 1/50 of the limit: other processes write to it too


class TeacherCache:
    """Outputs and features of teachers in a folder, which several processes and trainings may share.

    Entries are written atomically, and a damaged entry is ignored. Once the folder is full, nothing is added or
    evicted: images come in cycles, so the least recently used ones are needed next.

    Args:
        folder: created if it does not exist.
        limit: maximum size in bytes.
        variant: what the outputs depend on besides the teacher and the image, such as the precision.
        warn: called with a message when the folder is full or no longer writable.

    Raises:
        ArgumentError: If the folder cannot be created.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        limit: float = 10e9,
        variant: str = "",
        warn: Callable[[str], object] = warnings.warn,
    ) -> None:
        self.folder = Path(folder)
        self.limit = limit
        self._variant, self._warn = variant, warn
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(f"{folder}: cannot create the teacher's cache ({error.strerror})") from error
        self._measure()
        self._open = True

    def folder_of(self, teacher: nn.Module, taps: Sequence[str], precision: str = "") -> Path:
        """Return the folder of the entries of a teacher with features at ``taps``, in an autocast precision."""
        digest = hashlib.sha256()
        for part in (_FORMAT, self._variant, precision, repr(teacher), str(teacher.training), *sorted(taps)):
            digest.update(part.encode() + b"\0")
        for name, tensor in teacher.state_dict().items():
            digest.update(name.encode() + b"\0")
            digest.update(_bytes(tensor))
        return self.folder / digest.hexdigest()[:32]

    @staticmethod
    def file_of(folder: Path, image: torch.Tensor) -> Path:
        """Return the file of the entry of an image (C, H, W)."""
        digest = hashlib.sha256(f"{tuple(image.shape)} {image.dtype}".encode())
        digest.update(_bytes(image))
        return folder / f"{digest.hexdigest()[:32]}.pt"

    def get(self, file: Path, names: Collection[str]) -> dict[str, torch.Tensor] | None:
        """Return the tensors (C, H, W) of an entry on the CPU; None if it is missing, damaged or incomplete."""
        try:
            entry: Any = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # no file, or damaged bytes, which raise anything
            return None
        valid = isinstance(entry, dict) and entry.keys() == set(names)
        return entry if valid and all(isinstance(t, torch.Tensor) and t.ndim == 3 for t in entry.values()) else None

    def put(self, file: Path, entry: Mapping[str, torch.Tensor]) -> None:
        """Write the tensors of an entry, if there is space."""
        if not self._open:
            return
        kept = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in entry.items()}
        size = sum(tensor.nbytes for tensor in kept.values())
        if self._written > self.limit / _RECOUNT:
            self._measure()
        if self._size + size > self.limit:
            self._close(f"has reached {self.limit / 1e9:.3g} GB: the teacher runs for images that are not in it")
            return
        try:
            file.parent.mkdir(exist_ok=True)
            write_atomically(file, lambda stream: torch.save(kept, stream))
        except (OSError, RuntimeError) as error:  # PyTorch's archive writer raises RuntimeError
            self._close(f"is no longer writable ({first_line(error, 100)}): the teacher runs instead")
            return
        self._written += size
        self._size += size

    def _close(self, reason: str) -> None:
        self._open = False
        self._warn(f"the teacher cache {self.folder} {reason}")

    def _measure(self) -> None:
        self._written = self._size = 0
        for parent, _, names in os.walk(self.folder):
            for name in names:
                try:
                    self._size += os.stat(os.path.join(parent, name)).st_size
                except OSError:  # renamed or removed by another process
                    continue


def _bytes(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a tensor of any dtype."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
