"""Stored numbers as the 32-bit floats that everything works with, or a refusal."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Floats32
from pipeline.formats.table import ImageError


def to_float32(values: NDArray[Any]) -> Floats32:
    """The same numbers in 32 bits; fractions may lose what lies beyond their seventh digit.

    Raises:
        ImageError: for what are no numbers, and for numbers that 32 bits cannot hold.
    """
    if values.dtype.kind == "c":
        raise ImageError("holds complex numbers; store their magnitude or their phase")
    if values.dtype.kind not in "biuf":
        raise ImageError(f"holds {values.dtype}, not numbers")
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    if values.dtype.kind in "iu" and values.dtype.itemsize > 2:
        # Compared as 64-bit floats: a conversion back to integers may overflow.
        unlike = floats.astype(np.float64) != values
        if unlike.any():
            raise ImageError(
                f"holds whole numbers such as {values[unlike][0]}, which 32-bit floats cannot hold"
            )
    elif values.dtype.itemsize > 4 and (np.isinf(floats) & ~np.isinf(values)).any():
        raise ImageError("holds numbers that are too large for 32-bit floats")
    return floats


def turned_around(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """White is zero -> black is zero, around the range that `bits` can store.

    Not around the image's own range: the same tissue keeps one value in every file.
    """
    if values.dtype.kind == "f":
        raise ImageError("says that white is zero, which has no meaning for floating point numbers")
    lowest_and_highest = 2**bits - 1 if values.dtype.kind == "u" else -1  # their sum
    return lowest_and_highest - values.astype(np.int64)
