"""How alike two pictures are in most of their blocks: a few may be covered by arrows or letters."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from pipeline.arrays import Floats32

_BAND = (1.0, 3.0)  # pixels: finer is noise of compression, coarser is the body's shape
_SIDE = 8  # pixels of a block
_STRUCTURE = 1.0  # grey levels, root mean square: less is noise of rounding
_LEAST_BLOCKS = 0.2  # share of the blocks that must have structure
_LAYOUT = 0.5  # correlation with what most strangers show in a block


def fine_structure(
    pictures: NDArray[np.uint8], cuts: Floats32 | None = None, rows: slice = slice(None)
) -> Floats32:
    """(n, S, S) the middle frequencies of pictures, or of parts: see `windows.Cuts`, (n, 4).

    Of `rows` only, which saves time.
    """
    values, size = pictures.astype(np.float32), pictures.shape[-1]
    if cuts is not None:
        columns = np.swapaxes(_sampler(cuts[:, 2:], size), 1, 2)
        values = np.asarray(_sampler(cuts[:, :2], size) @ values @ columns, np.float32)
    fine, coarse = _smoothing(size)
    down = np.concatenate([fine[rows], coarse[rows]]) @ values
    half = down.shape[1] // 2
    flat = [part.reshape(-1, size) for part in (down[:, :half], down[:, half:])]
    return np.asarray((flat[0] @ fine.T - flat[1] @ coarse.T).reshape(-1, half, size))


def block_correlations(one: Floats32, other: Floats32) -> Floats32:
    """(n, B) of the blocks of (n, R, S) fine structures; NaN where neither has any."""
    product, first, second = (_summed(a * b) for a, b in ((one, other), (one, one), (other, other)))
    least = _STRUCTURE**2 * _SIDE**2
    found = product / np.sqrt(np.maximum(first, least) * np.maximum(second, least))
    found[np.maximum(first, second) < least] = np.nan
    return np.asarray(found, np.float32)


def without_layout(correlations: Floats32, strangers: Floats32) -> Floats32:
    """(B,) `correlations`, NaN where most (K, B) of `strangers` are alike too.

    A frame, a scale bar or a logo that every picture of a device has says nothing of a copy.
    """
    common = np.nanmedian(np.nan_to_num(strangers), axis=0) >= _LAYOUT
    return np.where(common, np.nan, correlations).astype(np.float32)


def median_of_blocks(correlations: Floats32) -> Floats32:
    """(n,) medians of (n, B); -1 where too few blocks have structure."""
    num = np.isfinite(correlations).sum(axis=1)
    ordered = np.sort(correlations, axis=1)  # NaN comes last
    row = np.arange(len(ordered))
    found = (ordered[row, np.maximum(num - 1, 0) // 2] + ordered[row, num // 2]) / 2
    return np.where(num >= _LEAST_BLOCKS * correlations.shape[1], found, -1).astype(np.float32)


def _summed(values: Floats32) -> Floats32:
    rows, columns = (_blocks(size) for size in values.shape[1:])
    return np.asarray((rows @ (values @ columns.T)).reshape(len(values), -1))


def _blocks(size: int) -> Floats32:
    """(S / 8, S) matrix that adds up the pixels of a block."""
    return np.repeat(np.eye(size // _SIDE, dtype=np.float32), _SIDE, axis=1)


@cache
def _smoothing(size: int) -> tuple[Floats32, Floats32]:
    """(S, S) matrices that smooth a column of pixels, finely and coarsely."""
    fine, coarse = (gaussian_filter1d(np.eye(size), sigma, axis=0) for sigma in _BAND)
    return fine.astype(np.float32), coarse.astype(np.float32)


def _sampler(cuts: Floats32, size: int) -> Floats32:
    """(n, S, S) matrices that stretch a part of a column of pixels, by interpolation."""
    share = (np.arange(size, dtype=np.float32) + 0.5) / size
    place = (cuts[:, :1] + share * (1 - cuts.sum(axis=1, keepdims=True))) * size - 0.5
    place = np.clip(place, 0, size - 1)[:, :, None]
    return np.asarray(np.maximum(1 - np.abs(place - np.arange(size, dtype=np.float32)), 0))
