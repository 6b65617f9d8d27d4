"""Cutout: a part of each image is hidden."""

import numpy as np
import torch
from torch import Tensor

from pipeline.config import AugmentConfig
from pipeline.images.augment.draws import Draws


def cutout(images: Tensor, config: AugmentConfig, draws: Draws) -> None:
    """Set a box of (B, C, ...) to 0, the mean: DeVries and Taylor 2017, Improved regularization of
    convolutional neural networks with cutout.

    As there, its middle may be any pixel, so that a part of it may lie outside of the image.
    """
    if not config.cutout:
        return
    dims = images.ndim - 2
    inside = torch.ones((), dtype=torch.bool, device=images.device)
    middles = draws.uniform("cutout", dims)
    for axis, (side, at) in enumerate(zip(images.shape[2:], middles.T, strict=True)):
        length = max(1, round(config.cutout * side))
        begin = np.floor(at * side).astype(np.int64)[:, None] - length // 2
        place = np.arange(side) - begin
        hidden = torch.from_numpy((place >= 0) & (place < length)).to(images.device)
        inside = inside & hidden.view(-1, *[1] * axis, side, *[1] * (dims - 1 - axis))
    images.masked_fill_(inside[:, None], 0)
