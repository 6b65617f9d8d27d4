"""A first look at new images, beside the network's: what they are compared with the plan's by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Bools, Floats32
from pipeline.audit.marks import are_flat, spectra


@dataclass(frozen=True)
class Looks:
    """N images as they were decoded, in the order of their rows."""

    pictures: NDArray[np.uint8]
    """(N, P, 64, 64) thumbnails, as the packed cache has them."""
    facts: Sequence[Mapping[str, str]]
    """(N,) by `packed.TABLE_COLUMNS`: original_shape, spacing, pixel_digest, sum, sum_squares."""

    @cached_property
    def spectrum(self) -> Floats32:
        """(N, P, 16, 16) of the thumbnails."""
        return spectra(self.pictures)

    @cached_property
    def flat(self) -> Bools:
        """(N,) whether nothing is to be seen in any of an image's pictures."""
        return are_flat(self.pictures)
