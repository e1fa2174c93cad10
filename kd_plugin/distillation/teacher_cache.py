"""Keep what a teacher gives for a picture on disk, where later epochs find it.

Pictures are known by their contents, so nothing has to be told of data sets, and an augmentation that changes a
picture gives another entry, never a wrong one.
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

__all__ = ["TeacherCache"]

_FORMAT = "1"
_RECOUNT = 50  # parts of the limit after which the folder is measured anew: other processes write into it too


class TeacherCache:
    """Outputs and features of teachers in a folder, which several processes and trainings may share.

    An entry is written under another name first, and a damaged one is no entry. Once the folder has its full size,
    nothing is added and nothing is thrown out: of pictures that come in turns, the oldest are those that come next.

    Args:
        folder: made if it is not there.
        limit: how large it may become, in bytes.
        variant: what the outputs depend on beside the teacher and the picture, such as the precision it runs in.
        tell: is given a line when the folder is full or cannot be written any more.

    Raises:
        ArgumentError: the folder cannot be made.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        limit: float = 10e9,
        variant: str = "",
        tell: Callable[[str], object] = warnings.warn,
    ) -> None:
        self.folder = Path(folder)
        self.limit = limit
        self._variant, self._tell = variant, tell
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(f"{folder}: no folder for the teacher's outputs ({error.strerror})") from error
        self._measure()
        self._open = True

    def shelf(self, teacher: nn.Module, taps: Sequence[str], precision: str = "") -> Path:
        """Return the folder of the entries of a teacher whose features are read at ``taps``, under some precision."""
        digest = hashlib.sha256()
        for part in (_FORMAT, self._variant, precision, repr(teacher), str(teacher.training), *sorted(taps)):
            digest.update(part.encode() + b"\0")
        for name, tensor in teacher.state_dict().items():
            digest.update(name.encode() + b"\0")
            digest.update(_bytes(tensor))
        return self.folder / digest.hexdigest()[:32]

    @staticmethod
    def file_of(shelf: Path, image: torch.Tensor) -> Path:
        """Return the file of the entry of an image (C, H, W)."""
        digest = hashlib.sha256(f"{tuple(image.shape)} {image.dtype}".encode())
        digest.update(_bytes(image))
        return shelf / f"{digest.hexdigest()[:32]}.pt"

    def get(self, file: Path, names: Collection[str]) -> dict[str, torch.Tensor] | None:
        """Return the tensors (C, H, W) of an entry, on the CPU.

        Returns:
            None if there are none of these names, or they cannot be read; they are written anew then.
        """
        try:
            entry: Any = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # there is no file, or damaged bytes, which fail in any way
            return None
        ours = isinstance(entry, dict) and entry.keys() == set(names)
        return entry if ours and all(isinstance(t, torch.Tensor) and t.ndim == 3 for t in entry.values()) else None

    def put(self, file: Path, entry: Mapping[str, torch.Tensor]) -> None:
        """Keep the tensors of an entry, if there is room."""
        if not self._open:
            return
        kept = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in entry.items()}
        size = sum(tensor.nbytes for tensor in kept.values())
        if self._written > self.limit / _RECOUNT:
            self._measure()
        if self._size + size > self.limit:
            self._close(f"has reached {self.limit / 1e9:.3g} GB, so the teacher runs for pictures that are not in it")
            return
        try:
            file.parent.mkdir(exist_ok=True)
            write_atomically(file, lambda stream: torch.save(kept, stream))
        except (OSError, RuntimeError) as error:  # PyTorch's writer of archives has no error of its own
            self._close(f"cannot be written any more ({first_line(error, 100)}): the teacher runs instead")
            return
        self._written += size
        self._size += size

    def _close(self, reason: str) -> None:
        self._open = False
        self._tell(f"the teacher cache {self.folder} {reason}")

    def _measure(self) -> None:
        self._written = 0
        self._size = 0
        for place, _, names in os.walk(self.folder):
            for name in names:
                try:
                    self._size += os.stat(os.path.join(place, name)).st_size
                except OSError:  # renamed or removed meanwhile, by another process
                    continue


def _bytes(tensor: torch.Tensor) -> memoryview:
    """Return the contents of a tensor of any type."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
