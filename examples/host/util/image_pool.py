"""A buffer of earlier generated images for the discriminators of CycleGAN."""

import random

import torch


class ImagePool:
    """Show a discriminator an older generated image half of the time (Shrivastava et al., 2017)."""

    def __init__(self, pool_size: int) -> None:
        self.pool_size = pool_size
        self.images: list[torch.Tensor] = []

    def query(self, images: torch.Tensor) -> torch.Tensor:
        """Take a batch (B, C, H, W) and return one of equal shape, new and stored images mixed.

        While the pool fills, and always at size 0, every image comes straight back.
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
