"""The images of an epoch, changed at random."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Ints
from pipeline.config import AugmentConfig
from pipeline.images.augment.cutout import cutout
from pipeline.images.augment.draws import Draws
from pipeline.images.augment.geometry import (
    draw_matrices,
    draw_moves,
    interpolates,
    moved,
    resampled,
)
from pipeline.images.augment.intensity import noise, tone
from pipeline.images.augment.mixup import Mixing, draw_mixing
from pipeline.images.batches import BatchSource

Change = Callable[[Tensor, AugmentConfig, Draws], None]
"""Of normalised images (B, C, ...) float32, in place, where its setting asks for it."""

CHANGES: tuple[Change, ...] = (tone, noise, cutout)
"""In this order, after pixels have been moved and before images are mixed."""


class Augmented:
    """The images of an epoch, each at its place in the epoch's order.

    What is drawn for an image is a function of the epoch's seed and of this place: it is the same
    in batches of any size and on any worker.
    """

    def __init__(self, source: BatchSource, config: AugmentConfig, rows: Ints, seed: int) -> None:
        """`rows` (N,) of the source in the order in which the epoch draws them."""
        self.source = source
        self.config = config
        self.rows = rows
        self.seed = seed

    def at(self, places: Ints) -> Tensor:
        """(B,) places from 0 to N - 1 -> (B, C, ...) float32 on the device, normalised."""
        mixing = self.mixing(places)
        if mixing is None:
            return self._changed(places)
        both, at = np.unique(np.concatenate([places, mixing.partners]), return_inverse=True)
        images = self._changed(both)
        own, other = torch.from_numpy(at).to(images.device).view(2, -1)
        shares = torch.from_numpy(mixing.shares).to(images)
        return torch.lerp(images[other], images[own], shares.view(-1, *[1] * (images.ndim - 1)))

    def mixing(self, places: Ints) -> Mixing | None:
        """Which images are mixed into those at `places`, whose labels have to be mixed as well."""
        if not self.config.mixup:
            return None
        return draw_mixing(self.config.mixup, Draws(self.seed, places), len(self.rows))

    def _changed(self, places: Ints) -> Tensor:
        images = self._placed(places, draws := Draws(self.seed, places))
        for change in CHANGES:
            change(images, self.config, draws)
        return images

    def _placed(self, places: Ints, draws: Draws) -> Tensor:
        """In one pass: from the bytes of the cache, or, between its pixels, from normalised ones.

        What moves in from outside is 0, the mean of the train part.
        """
        source, config = self.source, self.config
        picked = source.pick(torch.from_numpy(self.rows[places]))
        whole = tuple(picked.shape[2:])
        moves = draw_moves(config, draws, whole)
        if interpolates(config):
            matrices = draw_matrices(config, draws, moves, whole)
            return resampled(source.normalised(picked), matrices, moves.sides)
        if config.crop or config.flip_axes or config.rotate90:
            picked = moved(picked, moves)
        return source.normalised(picked)
