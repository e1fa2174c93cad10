"""Data sets by name: ``--dataset_mode foo`` is the class ``FooDataset`` in ``data/foo_dataset.py``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from typing import Any

import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

from data.base_dataset import BaseDataset
from util.util import find_class, process_rank


def find_dataset_using_name(dataset_name: str) -> type[BaseDataset]:
    """Import ``data/<dataset_name>_dataset.py`` and return its data set class."""
    return find_class("data", "dataset", dataset_name, BaseDataset, "--dataset_mode")


def get_option_setter(dataset_name: str) -> Callable[[ArgumentParser, bool], ArgumentParser]:
    """Return the function that adds the options of a data set."""
    return find_dataset_using_name(dataset_name).modify_commandline_options


class HostDataLoader:
    """Iterate over batches: dicts of tensors (B, C, H, W) in [-1, 1] and lists of paths."""

    def __init__(self, opt: Namespace) -> None:
        self.opt = opt
        self.dataset = find_dataset_using_name(opt.dataset_mode)(opt)
        shuffle = not opt.serial_batches
        spread = dist.is_initialized() and dist.get_world_size() > 1
        self.sampler: DistributedSampler[Any] | None = (
            DistributedSampler(self.dataset, shuffle=shuffle) if spread else None
        )
        self.dataloader = DataLoader(
            self.dataset,
            batch_size=opt.batch_size,
            shuffle=shuffle and self.sampler is None,
            sampler=self.sampler,
            num_workers=opt.num_threads,
        )
        if process_rank() == 0:
            print(f"data set {type(self.dataset).__name__}: {len(self)} images")

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the distributed sampler, which reshuffles the images."""
        if self.sampler is not None:
            self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        """Return the number of images, not of batches."""
        return int(min(len(self.dataset), self.opt.max_dataset_size))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield batches until --max_dataset_size images have been seen."""
        for i, batch in enumerate(self.dataloader):
            if i * self.opt.batch_size >= self.opt.max_dataset_size:
                break
            yield batch


def create_dataset(opt: Namespace) -> HostDataLoader:
    """Make the loader of the data set that the options name."""
    return HostDataLoader(opt)
