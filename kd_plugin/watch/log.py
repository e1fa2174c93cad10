"""Read a host's ``loss_log.txt`` as it grows.

Hosts of all years log the losses in lines such as ``(epoch: 1, iters: 100, time: 0.1, data: 0.2) G_GAN: 1.0 D: nan``,
some with a prefix, or with commas between the losses. All other lines are ignored.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

LOG_NAME = "loss_log.txt"
_LINE = re.compile(r"\(epoch: (\d+), iters: (\d+)[^()]*\)(.*)")
_LOSS = re.compile(r"([^\s:,]+): ([^\s,]+)")


@dataclass(frozen=True)
class Entry:
    """The losses of a step.

    Attributes:
        epoch: number of the epoch.
        images: number of images of the epoch up to this step.
        losses: by name; NaN if not finite.
    """

    epoch: int
    images: int
    losses: dict[str, float]

    @property
    def moment(self) -> tuple[int, int]:
        """Epoch and images, in order of time."""
        return self.epoch, self.images


def parse_line(line: str) -> Entry | None:
    """Return the losses of a line; None for any other line.

    >>> parse_line("(epoch: 2, iters: 100, time: 0.132, data: 0.003) G_GAN: 0.912 D_real: inf ")
    Entry(epoch=2, images=100, losses={'G_GAN': 0.912, 'D_real': nan})
    """
    found = _LINE.search(line)
    if found is None:
        return None
    losses = {}
    for name, text in _LOSS.findall(found[3]):
        try:
            value = float(text)
        except ValueError:  # a process was killed while it wrote the line, and the next one continued it
            continue
        losses[name] = value if math.isfinite(value) else math.nan
    # A continued run logs no losses for batches that were trained before.
    return Entry(int(found[1]), int(found[2]), losses) if losses else None


class LossLog:
    """The entries of a log, read up to its last complete line.

    Several trainings append to one log. An entry replaces all earlier ones of the same or a later moment: a continued
    run replaces what it trains again, and a run that begins anew replaces the old one.

    Attributes:
        entries: in order of time.
    """

    def __init__(self, file: Path) -> None:
        self.entries: list[Entry] = []
        self._file = file
        self._read = 0  # bytes

    def update(self) -> bool:
        """Read what was appended; return whether the entries changed.

        A file that does not exist yet has no entries.
        """
        if not self._file.is_file():
            return False
        before = self._read
        if self._file.stat().st_size < self._read:  # another file
            self._read, self.entries = 0, []
        with self._file.open("rb") as file:
            file.seek(self._read)
            complete = file.read().rpartition(b"\n")[0]
        if complete:
            self._read += len(complete) + 1
            for line in complete.decode("utf-8", "replace").splitlines():
                self._add(parse_line(line))
        return self._read != before

    def _add(self, entry: Entry | None) -> None:
        if entry is None:
            return
        while self.entries and self.entries[-1].moment >= entry.moment:
            self.entries.pop()
        self.entries.append(entry)

    def positions(self, epoch_length: int = 0) -> list[int]:
        """Return the number of images from the beginning of the training to each entry.

        Args:
            epoch_length: number of images of an epoch, which the log does not have; 0 for the most of an entry.
        """
        length = epoch_length or max((entry.images for entry in self.entries), default=0)
        return [(entry.epoch - 1) * length + entry.images for entry in self.entries]
