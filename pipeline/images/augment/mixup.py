"""Mixup: each image is seen through another one."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats, Ints
from pipeline.images.augment.draws import Draws


@dataclass(frozen=True)
class Mixing:
    partners: Ints
    """(B,) places in the epoch's order of the images that are mixed in."""
    shares: Floats
    """(B,) of the image itself, from 0.5 to 1; its partner has the rest."""


def draw_mixing(alpha: float, draws: Draws, num_images: int) -> Mixing:
    """Zhang et al. 2018, mixup: beyond empirical risk minimization: shares from Beta(alpha, alpha).

    The partner is the next image of the epoch's order, which is random: so an image's partner does
    not depend on its batch, and a worker can find it alone. The larger share is the image's own;
    which of the two is called the partner makes no difference to what is learnt.
    """
    from scipy.special import betaincinv  # here: not every training has to wait for it

    shares = betaincinv(alpha, alpha, draws.uniform("mixup")[:, 0])
    return Mixing((draws.places + 1) % num_images, np.maximum(shares, 1 - shares))
