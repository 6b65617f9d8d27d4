"""Contrast, brightness and noise."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Floats
from pipeline.config import AugmentConfig
from pipeline.images.augment.draws import Draws

NUM_PLACES = 2**20
"""Where the noise of an image can begin in that of an epoch."""


def tone(images: Tensor, config: AugmentConfig, draws: Draws) -> None:
    """Contrast is a factor on each image, brightness is then added."""
    if config.contrast:
        images.mul_(_per_image(1 + draws.within(config.contrast, "contrast"), images))
    if config.brightness:
        images.add_(_per_image(draws.within(config.brightness, "brightness"), images))


def noise(images: Tensor, config: AugmentConfig, draws: Draws) -> None:
    """Add Gaussian noise to (B, C, ...).

    Normal values cost as much as the rest of an augmentation. So a block of them is drawn for each
    epoch, of which an image takes a piece from a random place on, with a random sign: white
    within an image, and between images without a repeat at the same pixels.
    """
    if not config.noise:
        return
    size = images[0].numel()
    begins = (draws.uniform("noise")[:, 0] * NUM_PLACES).astype(np.int64)
    signs = np.where(draws.uniform("sign of noise") < 0.5, -1.0, 1.0)
    pieces = _block(draws.seed, size, images.device).unfold(0, size, 1)
    found = pieces[torch.from_numpy(begins).to(images.device, non_blocking=True)]
    images.addcmul_(found.view_as(images), _per_image(config.noise * signs, images))


@lru_cache(maxsize=1)
def _block(seed: int, size: int, device: torch.device) -> Tensor:
    """The noise of an epoch: the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(NUM_PLACES + size, generator=generator).to(device)


def _per_image(values: Floats, images: Tensor) -> Tensor:
    """(B, 1) -> (B, 1, ..., 1) float32 on the device."""
    found = torch.from_numpy(values.astype(np.float32)).to(images.device, non_blocking=True)
    return found.view(-1, *[1] * (images.ndim - 1))
