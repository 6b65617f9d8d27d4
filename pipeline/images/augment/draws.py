"""Random numbers of one sample, whichever batch it is in and whichever worker draws it."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Floats, Ints

Bits = NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""The step from one state of SplitMix64 to the next."""


class Draws:
    """What is drawn for the samples at some places of an epoch's order.

    Each number is a function of the epoch's seed, of what it is for, and of the place alone. So a
    batch can be drawn without those before it: a generator that counts instead of remembering
    (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3), here with the mixing of
    SplitMix64 (Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators).
    """

    def __init__(self, seed: int, places: Ints) -> None:
        self.seed = seed
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def uniform(self, name: str, num: int = 1) -> Floats:
        """(B, num) from 0 to below 1, for the setting `name`; of another setting, independent."""
        digest = hashlib.blake2b(f"{self.seed} {name}".encode(), digest_size=8).digest()
        start = np.frombuffer(digest, np.uint64)
        counts = self.places[:, None] * num + np.arange(1, num + 1)
        bits = _mixed(start + counts.astype(np.uint64) * GOLDEN)
        return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def within(self, limit: float, name: str, num: int = 1) -> Floats:
        """(B, num) from -limit to limit."""
        return (2 * self.uniform(name, num) - 1) * limit


def _mixed(state: Bits) -> Bits:
    """Each bit of the result depends on all bits of the state."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
