"""A buffer of previously generated images for the discriminators of CycleGAN."""

import random

import torch


class ImagePool:
    """Return a previously generated image with probability 0.5 (Shrivastava et al., 2017)."""

    def __init__(self, pool_size: int) -> None:
        self.pool_size = pool_size
        self.images: list[torch.Tensor] = []

    def query(self, images: torch.Tensor) -> torch.Tensor:
        """Return a batch of the shape of ``images``, (B, C, H, W), with new and stored images.

        Until the pool is full, and always at size 0, the new images are returned.
        """
        if self.pool_size == 0:
            return images
        return torch.stack([self._exchange(image) for image in images.detach()])

    def _exchange(self, image: torch.Tensor) -> torch.Tensor:
        if len(self.images) < self.pool_size:
            self.images.append(image.clone())
            return image
        if random.random() < 0.5:
            return image
        slot = random.randrange(self.pool_size)
        stored, self.images[slot] = self.images[slot], image.clone()
        return stored
