"""Measure students on images after every epoch of a host's training, and keep the best weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ...compression.validation import Best, HeldOut, translator_of
from ...errors import KDError, OptionError
from ...networks.checkpoint import save_weights
from ...networks.taps import Call
from ...pictures import Preprocessing, find_images
from ...processes import say
from ...report.inputs import Item
from ...students import describe
from ..repository.family import Pair
from .distilled_pair import DistilledPair
from .pair import is_watched


class Validation:
    """The PSNR of the distilled students to their teachers after each epoch; the best weights are saved.

    A measurement changes neither the networks nor any random numbers of the training.

    Args:
        folder: of images; for a model of several generators, of a folder ``A/`` and ``B/`` of each domain.
        opt: options of the host, which resize and crop the images.
        pairs: the distilled generators.
        several: whether the model has several generators.
        checkpoints: where ``best_net_*.pth`` is written.

    Attributes:
        bests: best weights and history by generator, to save and restore with the training.

    Raises:
        OptionError: If there are no images, or they cannot be used.
    """

    def __init__(
        self, folder: Path, opt: Any, pairs: Sequence[DistilledPair], several: bool, checkpoints: Path
    ) -> None:
        self._checkpoints = checkpoints
        self.bests = {distilled.pair.net: Best() for distilled in pairs}
        self._held_out = {
            distilled.pair.net: _held_out(_folder_of(folder, distilled.pair, opt, several), opt, distilled)
            for distilled in pairs
        }

    def measure(self, epoch: int, networks: Mapping[str, nn.Module]) -> None:
        """Measure the generators after an epoch, unless that was done before the training was resumed.

        Args:
            epoch: its number.
            networks: the generators by name.
        """
        for net, best in self.bests.items():
            if best.history and best.history[-1][0] >= epoch:
                continue
            network = networks[net]
            psnr = self._held_out[net].psnr(translator_of(network, device=next(network.parameters()).device))
            if best.add(epoch, psnr, network):
                save_weights(best.weights, self._checkpoints / f"best_net_{net}.pth")
            say(
                f"validation of {net} after epoch {epoch}: {psnr:.2f} dB to the teacher; best: {best.psnr:.2f} dB, "
                f"epoch {best.step}"
            )


def check_validation(folder: Path, pairs: Iterable[Pair], several: bool) -> None:
    """Raise an :class:`OptionError` if a folder of images is not as the model needs it, or its inputs are unknown."""
    if watched := [pair.net for pair in pairs if is_watched(pair)]:
        raise OptionError(
            f"--val_images {folder}: the inputs of {' and '.join(watched)} are known to the host alone: remove the "
            f"option, or declare distill_pairs"
        )
    parts = [folder / side for side in "AB"] if several else [folder]
    for part in parts:
        try:
            find_images(part)
        except KDError as error:
            hint = ": a model of two generators needs the inputs of each in A/ and B/" if several else ""
            raise OptionError(f"--val_images {folder}: {error}{hint}") from error


def _folder_of(folder: Path, pair: Pair, opt: Any, several: bool) -> Path:
    """Return the folder of a generator's inputs."""
    if not several:
        return folder
    swapped = pair.swaps != (getattr(opt, "direction", "AtoB") == "BtoA")
    return folder / ("B" if swapped else "A")


def _held_out(folder: Path, opt: Any, distilled: DistilledPair) -> HeldOut:
    teacher, distiller = distilled.teacher, distilled.distiller
    device = next(teacher.parameters()).device
    channels = describe(distiller.student).get("input_nc", 3)
    multiple = getattr(getattr(teacher, "spec", None), "multiple", 1)
    items = [Item(file.relative_to(folder).as_posix(), file) for file in find_images(folder)]
    try:
        preprocessing = Preprocessing(opt.preprocess, opt.load_size, opt.crop_size)
        teach = lambda images: distiller.teach(Call(images.to(device)))  # noqa: E731
        return HeldOut(items, preprocessing, teach, channels=channels, multiple=multiple)
    except KDError as error:
        raise OptionError(f"--val_images {folder}: {error}") from error
