"""Translate the inputs and measure every image, in batches, with stored results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from zlib import crc32

import numpy as np
import torch

from ..networks.translator import Translator, to_array, to_tensor
from ..pictures import Preprocessing, UnusableImageError, digest_of
from .inputs import Item, Loaded, load_item
from .results import Problem
from .store import Store, key_of

Progress = Callable[[float], None]
_Column = tuple[str, str, str]  # part, reference, subject


class Batch:
    """Images of one subject of the same size, for a :class:`Part`; they are computed when they are used.

    Attributes:
        key: key of the subject.
    """

    def __init__(self, key: str, against: str, places: Sequence[int], source: Images) -> None:
        self.key = key
        self._against, self._places, self._source = against, places, source

    @property
    def images(self) -> torch.Tensor:
        """The images of the subject, (B, 3, H, W) in [0, 1]."""
        return self._source.unit(self.key, self._places)

    @property
    def reference(self) -> torch.Tensor:
        """The images they are compared with, (B, 3, H, W) in [0, 1]."""
        return self._source.unit(self._against, self._places)

    @property
    def loaded(self) -> list[Loaded]:
        """The items with their inputs."""
        return [self._source.loaded[i] for i in self._places]

    @property
    def network(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The subject's network, (B, C, H, W) in [-1, 1] in and out; its dropout is that of the items."""
        translator, seeds = self._source.pipeline.translators[self.key], [_seed(one) for one in self.loaded]
        return lambda images: translator.translate(images, seeds)


class Images:
    """The images of all subjects for a few items of the same size, computed when they are used."""

    def __init__(self, pipeline: Pipeline, loaded: Sequence[Loaded]) -> None:
        self.pipeline, self.loaded = pipeline, loaded
        self._images: dict[str, list[np.ndarray]] = {}

    def unit(self, key: str, places: Sequence[int]) -> torch.Tensor:
        """Return some images of a subject, (B, 3, H, W) in [0, 1]."""
        if key not in self._images:
            self._images[key] = self.pipeline.images(key, self.loaded)
        return to_unit([self._images[key][i] for i in places])


@dataclass(frozen=True)
class Part:
    """A measure of single images.

    Attributes:
        name: identifies what is computed, with its settings and versions; results are stored under it.
        compute: returns an array for each image of a batch.
        subjects: keys of the subjects to measure.
        against: key of the subject that is the reference; ``""`` without one.
        most: maximum number of images to measure, evenly spaced; None for all.
    """

    name: str
    compute: Callable[[Batch], Sequence[np.ndarray]]
    subjects: tuple[str, ...]
    against: str = ""
    most: int | None = None

    def measures(self, index: int, count: int) -> bool:
        """Return whether an image of ``count`` is measured."""
        return self.most is None or index % -(-count // self.most) == 0


@dataclass
class Measured:
    """Results of all items that could be used.

    Attributes:
        items: the items.
        digests: SHA-256 of each input, after preprocessing.
        arrays: by name and reference of the part, by subject: an array with a row for each measured item.
        problems: items that were left out.
    """

    items: list[Item] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    arrays: dict[tuple[str, str], dict[str, np.ndarray]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        """A digest of all inputs, in hexadecimal."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()


class Pipeline:
    """Produces the images of every subject for a batch of items.

    Args:
        translators: by key of the subject. Other subjects are ``"input"``, ``"truth"``, and finished images.
        preprocessing: of input and ground truth.
    """

    def __init__(self, translators: Mapping[str, Translator], preprocessing: Preprocessing) -> None:
        self.translators = translators
        self._preprocessing = preprocessing
        self.channels = next((t.channels for t in translators.values()), 3)
        self._multiple = int(np.lcm.reduce([t.multiple for t in translators.values()] or [1]))

    def load(self, item: Item) -> Loaded:
        """Read the images of an item.

        Raises:
            UnusableImageError: If one cannot be used; the message names the file.
        """
        return load_item(item, self._preprocessing, self.channels, self._multiple)

    def source(self, key: str, loaded: Loaded) -> str:
        """Return what identifies the image of a subject, without computing it."""
        if key in self.translators:
            return key_of(self.translators[key].digest, digest_of(loaded.input))
        return digest_of(self._given(key, loaded))

    def images(self, key: str, batch: Sequence[Loaded]) -> list[np.ndarray]:
        """Return the images of a subject, uint8 (H, W, 3) each, as a host saves them."""
        if key not in self.translators:
            return [self._given(key, loaded) for loaded in batch]
        inputs = to_tensor([loaded.input for loaded in batch])
        outputs = self.translators[key].translate(inputs, [_seed(loaded) for loaded in batch])
        return [to_array(output) for output in outputs]

    @staticmethod
    def _given(key: str, loaded: Loaded) -> np.ndarray:
        if key == "input":
            return np.repeat(loaded.input, 3, axis=2) if loaded.input.shape[2] == 1 else loaded.input
        if key == "truth":
            assert loaded.truth is not None
            return loaded.truth
        if key == "labels":
            assert loaded.labels is not None
            return loaded.labels
        return loaded.finished[key]


def measure_items(
    items: Sequence[Item],
    pipeline: Pipeline,
    parts: Sequence[Part],
    store: Store,
    batch: int,
    progress: Progress = lambda done: None,
) -> Measured:
    """Measure every item; only one batch of images is in memory at a time.

    Args:
        items: the items.
        pipeline: produces the images.
        parts: the measures.
        store: results are taken from it if they are there, and added otherwise.
        batch: maximum number of images in a batch.
        progress: called with the completed fraction.
    """
    measured, places = Measured(), {item.name: index for index, item in enumerate(items)}
    rows: dict[_Column, list[np.ndarray]] = {(p.name, p.against, key): [] for p in parts for key in p.subjects}
    for done, loaded in _batches(items, pipeline, batch, measured.problems):
        keys = {
            (part.name, part.against, key, i): key_of(
                part.name, pipeline.source(key, one), pipeline.source(part.against, one) if part.against else ""
            )
            for part in parts
            for key in part.subjects
            for i, one in enumerate(loaded)
            if part.measures(places[one.item.name], len(items))
        }
        found = store.get(keys.values())
        if missing := {place for place, digest in keys.items() if digest not in found}:
            new = {keys[place]: array for place, array in _compute(loaded, pipeline, parts, missing)}
            store.put(new)
            found.update(new)
        for (*column, _), digest in keys.items():
            rows[tuple(column)].append(found[digest])  # type: ignore[index]
        measured.items += [one.item for one in loaded]
        measured.digests += [digest_of(one.input) for one in loaded]
        progress(done / len(items))
    for (name, against, key), arrays in rows.items():
        measured.arrays.setdefault((name, against), {})[key] = np.stack(arrays) if arrays else np.empty(0)
    return measured


def _seed(loaded: Loaded) -> int:
    """Return the seed of an item's dropout, which depends on the image alone."""
    return crc32(loaded.input.tobytes())


def _batches(
    items: Sequence[Item], pipeline: Pipeline, batch: int, problems: list[Problem]
) -> Iterator[tuple[int, list[Loaded]]]:
    """Yield the number of items so far, and a batch of usable ones, which have the same size."""
    for start in range(0, len(items), batch):
        usable = []
        for item in items[start : start + batch]:
            try:
                usable.append(pipeline.load(item))
            except UnusableImageError as error:
                reason = str(error).removeprefix(f"{item.file}: ")
                problems.append(Problem(str(item.file), f"{reason}: left out"))
        for _, group in groupby(usable, key=lambda loaded: loaded.input.shape):
            yield min(start + batch, len(items)), list(group)


def _compute(
    loaded: Sequence[Loaded], pipeline: Pipeline, parts: Sequence[Part], missing: set[tuple[str, str, str, int]]
) -> Iterator[tuple[tuple[str, str, str, int], np.ndarray]]:
    """Yield the missing results of a batch: part, reference, subject and place in the batch, and the array."""
    images = Images(pipeline, loaded)
    for part in parts:
        for key in part.subjects:
            if places := [i for i in range(len(loaded)) if (part.name, part.against, key, i) in missing]:
                arrays = part.compute(Batch(key, part.against, places, images))
                for i, array in zip(places, arrays, strict=True):
                    yield (part.name, part.against, key, i), array


def to_unit(images: Sequence[np.ndarray]) -> torch.Tensor:
    """Return images, uint8 (H, W, 3) each, as (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div(255)
