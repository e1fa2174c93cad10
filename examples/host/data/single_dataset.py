"""A single folder of images: ``<dataroot>/``."""

from argparse import Namespace
from typing import Any

from data.base_dataset import BaseDataset, get_params, open_image, to_tensor
from data.image_folder import make_dataset


class SingleDataset(BaseDataset):
    """The images below --dataroot as input."""

    def __init__(self, opt: Namespace) -> None:
        BaseDataset.__init__(self, opt)
        self.paths = make_dataset(self.root, opt.max_dataset_size)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return A (C, H, W) in [-1, 1] and A_paths."""
        path = self.paths[index]
        image = open_image(path)
        params = get_params(self.opt, image.size)
        nc_input = self.channels()[0]
        return {"A": to_tensor(image, self.opt, params, nc_input == 1, path), "A_paths": path}
