"""Two unpaired sets of images: ``<dataroot>/<phase>A/`` and ``<dataroot>/<phase>B/``."""

import os
import random
from argparse import Namespace
from typing import Any

from data.base_dataset import BaseDataset, get_params, open_image, to_tensor
from data.image_folder import make_dataset


class UnalignedDataset(BaseDataset):
    """An image of A with a random image of B, or the one of the same index with --serial_batches."""

    def __init__(self, opt: Namespace) -> None:
        BaseDataset.__init__(self, opt)
        self.A_paths = make_dataset(os.path.join(self.root, opt.phase + "A"), opt.max_dataset_size)
        self.B_paths = make_dataset(os.path.join(self.root, opt.phase + "B"), opt.max_dataset_size)

    def __len__(self) -> int:
        """Return the size of the larger set."""
        return max(len(self.A_paths), len(self.B_paths))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return A, B (C, H, W) in [-1, 1], and A_paths, B_paths."""
        A_path = self.A_paths[index % len(self.A_paths)]
        index_B = index if self.opt.serial_batches else random.randrange(len(self.B_paths))
        B_path = self.B_paths[index_B % len(self.B_paths)]
        nc_A, nc_B = self.channels()
        image_A, image_B = open_image(A_path), open_image(B_path)
        A = to_tensor(image_A, self.opt, get_params(self.opt, image_A.size), nc_A == 1, A_path)
        B = to_tensor(image_B, self.opt, get_params(self.opt, image_B.size), nc_B == 1, B_path)
        return {"A": A, "B": B, "A_paths": A_path, "B_paths": B_path}
