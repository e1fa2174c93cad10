"""Paired images in ``<dataroot>/<phase>/``, each file with A on the left and B on the right."""

import os
from argparse import Namespace
from typing import Any

from data.base_dataset import BaseDataset, get_params, open_image, to_tensor
from data.image_folder import make_dataset


class AlignedDataset(BaseDataset):
    """The two halves of each image, with the same crop and flip."""

    def __init__(self, opt: Namespace) -> None:
        BaseDataset.__init__(self, opt)
        self.paths = make_dataset(os.path.join(self.root, opt.phase), opt.max_dataset_size)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return A, B (C, H, W) in [-1, 1], and A_paths, B_paths."""
        path = self.paths[index]
        both = open_image(path)
        half = both.width // 2
        left, right = both.crop((0, 0, half, both.height)), both.crop((half, 0, 2 * half, both.height))
        params = get_params(self.opt, left.size)
        nc_A, nc_B = self.channels()
        A = to_tensor(left, self.opt, params, nc_A == 1, path)
        B = to_tensor(right, self.opt, params, nc_B == 1, path)
        return {"A": A, "B": B, "A_paths": path, "B_paths": path}
