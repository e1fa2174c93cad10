"""Choose a student's weights by images that are held out: PSNR against the teacher, in 8 bits as images are saved."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import nn

from ..errors import KDError
from ..files import sha256
from ..networks.checkpoint import read_state_dict
from ..networks.taps import unwrap
from ..networks.translator import Mode, ModuleTranslator, Translator, to_array, to_tensor
from ..pictures import Preprocessing, UnusableImageError
from ..report.inputs import Item, load_item
from ..report.measures.quality import MOST_PSNR
from ..report.results import Problem

Teach = Callable[[torch.Tensor], torch.Tensor]


class HeldOut:
    """Held-out images with the teacher's, which are computed once and kept in a temporary file.

    Args:
        items: the images.
        preprocessing: how they are resized and cropped.
        teach: returns the teacher's images for images (B, C, H, W) in [-1, 1]; None if the items have them, as
            finished images under ``key``.
        key: of finished images.
        channels: of the input.
        multiple: sides of the input are multiples of it.

    Attributes:
        items: those that can be used.
        problems: the others.

    Raises:
        KDError: If none can be used.
    """

    def __init__(
        self,
        items: Sequence[Item],
        preprocessing: Preprocessing,
        teach: Teach | None,
        key: str = "",
        channels: int = 3,
        multiple: int = 1,
    ) -> None:
        self.items: list[Item] = []
        self.problems: list[Problem] = []
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the images are needed
        self._places: list[tuple[int, tuple[int, ...]]] = []  # of each input with the teacher's image: (H, W, C + 3)
        self._channels = channels
        for item in items:
            try:
                loaded = load_item(item, preprocessing, channels, multiple)
            except UnusableImageError as error:
                self.problems.append(Problem(str(item.file), f"{_reason(error, item)}: left out of the validation"))
                continue
            if teach:
                with torch.random.fork_rng():
                    torch.manual_seed(crc32(loaded.input.tobytes()))  # of a teacher's dropout
                    taught = to_array(teach(to_tensor([loaded.input]))[0])
            else:
                taught = loaded.finished[key]
            height, width = loaded.input.shape[:2]
            both = np.concatenate([loaded.input, taught[:height, :width]], axis=2)
            self._places.append((self._file.tell(), both.shape))
            self._file.write(both.tobytes())
            self.items.append(item)
        if items and not self.items:
            raise KDError(f"none of the {len(items)} images for validation can be used: {self.problems[0].reason}")

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an input and the teacher's image."""
        place, shape = self._places[number]
        self._file.seek(place)
        both = np.frombuffer(self._file.read(math.prod(shape)), np.uint8).reshape(shape)
        return np.ascontiguousarray(both[..., : self._channels]), both[..., self._channels :]

    def psnr(self, translator: Translator) -> float:
        """Return the mean PSNR in dB of a translator's images to the teacher's, as of a report."""
        values = []
        for number in range(len(self.items)):
            image, taught = self._read(number)
            output = to_array(translator.translate(to_tensor([image]), [crc32(image.tobytes())])[0])
            values.append(psnr_of(output, taught))
        return float(np.mean(values))


def translator_of(
    network: nn.Module,
    channels: int = 3,
    mode: Mode = "train",
    device: torch.device | str = "cpu",
    file: Path | None = None,
) -> ModuleTranslator:
    """Return the translator of a copy of a network in training, which is not changed.

    Args:
        network: the network.
        channels: of the input.
        mode: ``"train"`` for batch statistics and dropout as the hosts test without ``--eval``.
        device: to run on.
        file: of other weights, under whose digest results are stored.
    """
    plain = copy.deepcopy(unwrap(network))
    if file:
        plain.load_state_dict(read_state_dict(file))
    return ModuleTranslator(plain, "", sha256(file) if file else "", channels, 1, mode, torch.device(device))


def psnr_of(image: np.ndarray, other: np.ndarray) -> float:
    """Return the PSNR of two images in 8 bits, in dB, limited as in a report."""
    error = np.square((image.astype(np.float64) - other) / 255).mean()
    return min(-10 * math.log10(error), MOST_PSNR) if error else MOST_PSNR


def _reason(error: UnusableImageError, item: Item) -> str:
    return str(error).removeprefix(f"{item.file}: ")


class Best:
    """The weights of highest validation PSNR of a training, and the history.

    Attributes:
        psnr: the highest PSNR in dB.
        step: its step.
        weights: its state dict; empty before the first measurement.
        history: steps and PSNR.
    """

    def __init__(self) -> None:
        self.psnr, self.step = float("-inf"), 0
        self.weights: dict[str, torch.Tensor] = {}
        self.history: list[tuple[int, float]] = []

    def add(self, step: int, psnr: float, network: nn.Module) -> bool:
        """Add a measurement; return whether it is the best so far."""
        self.history.append((step, psnr))
        if not psnr > self.psnr:
            return False
        self.psnr, self.step = psnr, step
        self.weights = {key: value.detach().cpu().clone() for key, value in unwrap(network).state_dict().items()}
        return True

    def over_images(self, batch: int) -> list[tuple[float, float]]:
        """Return the history over the number of images, given that of a step."""
        return [(float(step * batch), psnr) for step, psnr in self.history]

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        return {"psnr": self.psnr, "step": self.step, "weights": self.weights, "history": list(self.history)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state."""
        self.psnr, self.step = float(state["psnr"]), int(state["step"])
        self.weights = dict(state["weights"])
        self.history = [(int(step), float(psnr)) for step, psnr in state["history"]]
