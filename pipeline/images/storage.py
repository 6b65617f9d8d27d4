"""The type in which the packed cache stores pixels, and what it would destroy."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Floats32
from pipeline.formats import ImageError

StoredType = Literal["uint8", "float16", "float32"]
MOST_LOST = 0.01
"""Share of an image's variance that rounding may add as noise; with 1 % it has some ten grey levels
left, from 0 to 1 in whole numbers it would be more than half."""


class TooNarrowError(ImageError):
    """The type cannot hold the values; a wider one can."""


def types_to_try(dtype: Literal["auto"] | StoredType) -> tuple[StoredType, ...]:
    """What images.dtype stands for, the smallest first."""
    return ("uint8", "float32") if dtype == "auto" else (dtype,)


def eight_bits_hold(facts: Sequence[Mapping[str, str]]) -> bool:
    """Were all images stored in 8 bits, and is their contrast kept? See `destroyed`."""
    return all(int(fact["bit_depth"]) <= 8 for fact in facts) and not destroyed(facts)


def destroyed(facts: Sequence[Mapping[str, str]]) -> list[int]:
    """The rows of images whose contrast was rounded away.

    A file of 8 bits has been rounded to whole numbers before: a faint one loses nothing by it. So
    these are judged together: a transform that makes their steps smaller does so for all of them.
    """
    error = np.array([float(fact["rounding"]) for fact in facts])
    variance = np.array([float(fact["variance"]) for fact in facts])
    lost = (error > MOST_LOST * variance) & (variance > 0)  # one without contrast has none to lose
    shallow = np.array([int(fact["bit_depth"]) <= 8 for fact in facts])
    if error[shallow].sum() <= MOST_LOST * variance[shallow].sum():
        lost &= ~shallow
    return [int(row) for row in np.flatnonzero(lost)]


def moments(stored: NDArray[np.generic]) -> tuple[list[float], list[float]]:
    """The sum of each channel of (C, ...), and of its squares."""
    values = stored.astype(np.float64).reshape(len(stored), -1)
    if stored.dtype == np.uint8:  # whole numbers, exact in any order: the fastest is taken
        return values.sum(axis=1).tolist(), np.einsum("ij,ij->i", values, values).tolist()
    return values.sum(axis=1).tolist(), (values**2).sum(axis=1).tolist()


def loss(pixels: Floats32, stored: NDArray[np.generic]) -> dict[str, str]:
    """Mean square error of storing an image (C, ...), and its variance within channels."""
    error = float(np.mean((stored.astype(np.float32) - pixels) ** 2, dtype=np.float64))
    variance = pixels.reshape(len(pixels), -1).var(axis=1, dtype=np.float64).mean()
    return {"rounding": repr(error), "variance": repr(float(variance))}
