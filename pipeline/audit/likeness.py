"""How alike two small pictures are, whatever way round: a coarse descriptor, a fine correlation.

The descriptor is what a perceptual hash (pHash: the low frequencies of a cosine transform) is
before it is cut to bits. Flips and quarter turns only change signs of those coefficients and swap
rows with columns, so that a few maxima and magnitudes of them are the same for all eight.
"""

from functools import cache
from itertools import permutations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter1d

from pipeline.arrays import Floats32, Ints

ORIENTATIONS = (
    "",
    "flipped top to bottom",
    "flipped left to right",
    "turned by 180 degrees",
    "transposed",
    "turned by 90 degrees",
    "turned by 270 degrees",
    "transposed and turned by 180 degrees",
)
"""Bit 2: rows and columns are swapped, then bit 0: rows in reverse, bit 1: columns in reverse."""
INVERSE = (0, 1, 2, 3, 4, 6, 5, 7)
"""The orientation that undoes each."""

_FREQUENCIES = 6
_BAND = (1.0, 3.0)  # pixels: finer is noise of compression, coarser is the body's shape
_SCALES = (1.0, 0.98, 1.02)  # a copy may be cropped a little
_HOPELESS = 0.7  # of the first scale: crops by 2 % have 0.85 or more before they are magnified
_MARGIN, _MOST_SHIFT = 4, 2  # pixels


def coefficients(pictures: NDArray[np.uint8]) -> Floats32:
    """(N, P, F, F) lowest cosine coefficients of (N, P, S, S) pictures of mean 0 and norm 1.

    A picture without contrast has only zeros.
    """
    centred = pictures.astype(np.float32)
    centred -= centred.mean(axis=(-2, -1), keepdims=True)
    norm = np.sqrt((centred**2).sum(axis=(-2, -1), keepdims=True))
    low = dctn(centred, axes=(-2, -1), norm="ortho")[..., :_FREQUENCIES, :_FREQUENCIES]
    found: Floats32 = low / np.maximum(norm, 1e-6)
    return found


def descriptors(coefs: Floats32) -> Floats32:
    """(N, 25 P) numbers that are equal for all flips, turns and orders of the P pictures.

    They are never farther apart than the coefficients in the best orientation, so that a search
    within a radius loses nothing.
    """
    columns: list[Floats32] = []
    for u in range(_FREQUENCIES):
        for v in range(max(u, 1), min(_FREQUENCIES, _FREQUENCIES + 1 - u)):
            one, other = coefs[..., u, v], coefs[..., v, u]
            if u % 2 or v % 2:  # a flip changes the sign
                one, other = np.abs(one), np.abs(other)
            columns += [one] if u == v else [np.maximum(one, other), np.minimum(one, other)]
    stacked = np.sort(np.stack(columns, axis=-1), axis=1)
    num, num_pictures = stacked.shape[:2]
    return np.asarray(stacked.reshape(num, -1) / np.sqrt(num_pictures), dtype=np.float32)


def best_orientation(one: Floats32, other: Floats32) -> tuple[Ints, Ints, Floats32]:
    """How the pictures of `other` must lie to look like those of `one`, for n pairs.

    Both are (n, P, F, F) coefficients. Returns (n, P) which picture of `other` belongs to each of
    `one`, (n, P) its orientation, and (n,) the distance that is left, root mean square over P.
    """
    turned = np.stack([_turned(other, g) for g in range(8)], axis=2)  # (n, P, 8, F, F)
    likeness = np.einsum("npuv,nqguv->npqg", one, turned)
    way, best = likeness.argmax(axis=-1), likeness.max(axis=-1)  # (n, P, P)
    orders = np.array(_orders(one.shape[1]))
    rank = np.arange(one.shape[1])
    order = orders[best[:, rank, orders].sum(axis=-1).argmax(axis=1)]  # (n, P)
    pair = np.arange(len(one))[:, None]
    square = (one**2).sum(axis=(2, 3)) + (other[pair, order] ** 2).sum(axis=(2, 3))
    left = np.maximum(square - 2 * best[pair, rank, order], 0).mean(axis=1)
    return order, way[pair, rank, order], np.sqrt(left)


def _orders(num_pictures: int) -> list[list[int]]:
    """In which orders the P pictures of an image are compared.

    Those of several volumes, three projections each, swap in the same way: a copy is turned as a
    whole. Several pictures keep their places; there are P! ways to mix them up.
    """
    if num_pictures <= 3:
        return [list(order) for order in permutations(range(num_pictures))]
    if num_pictures % 3:
        return [list(range(num_pictures))]
    firsts = range(0, num_pictures, 3)
    return [[first + o for first in firsts for o in order] for order in permutations(range(3))]


def correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Floats32:
    """(n,) largest correlation of fine structure of n pairs of (S, S) pictures, the same way round.

    Small shifts and a change of scale by 2 % are tried, so that a cropped copy is found.
    """
    inner = one.shape[-1] - 2 * _MARGIN
    shifts = slice(_MARGIN - _MOST_SHIFT, _MARGIN + _MOST_SHIFT + 1)
    band = _filtered(one, 1.0)
    box = sliding_window_view(np.eye(one.shape[-1], dtype=np.float32), inner, axis=0).sum(-1)
    box = box[shifts]  # (5, S): sums over the rows of each window
    total, squares = box @ band @ box.T, box @ band**2 @ box.T
    energy = np.sqrt(np.maximum(squares - total**2 / inner**2, 1e-6))
    found = np.full(len(one), -1.0, dtype=np.float32)
    left = np.arange(len(one))
    for scale in _SCALES:
        template = _filtered(other[left], scale)[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        template = template - template.mean(axis=(1, 2), keepdims=True)
        norm = np.sqrt(np.maximum((template**2).sum(axis=(1, 2)), 1e-6))
        windows = sliding_window_view(band[left], (inner, inner), axis=(1, 2))
        product = np.einsum("nyxij,nij->nyx", windows[:, shifts, shifts], template)
        product /= norm[:, None, None]
        found[left] = np.maximum(found[left], (product / energy[left]).max(axis=(1, 2)))
        left = left[found[left] >= _HOPELESS]
        if not len(left):
            break
    return found


def oriented(pictures: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """(..., S, S) pictures turned as `ORIENTATIONS` says."""
    turned = np.swapaxes(pictures, -1, -2) if orientation & 4 else pictures
    turned = turned[..., ::-1, :] if orientation & 1 else turned
    return turned[..., ::-1] if orientation & 2 else turned


def _turned(coefs: Floats32, orientation: int) -> Floats32:
    """Coefficients of the pictures turned like `oriented` does."""
    signs = (-1.0) ** np.arange(_FREQUENCIES, dtype=np.float32)
    turned = np.swapaxes(coefs, -1, -2) if orientation & 4 else coefs
    turned = turned * signs[:, None] if orientation & 1 else turned
    return turned * signs if orientation & 2 else turned


def _filtered(pictures: NDArray[np.uint8], scale: float) -> Floats32:
    """(n, S, S) the middle frequencies, magnified by `scale` about the centre."""
    fine, coarse = (_operator(sigma, scale, pictures.shape[-1]) for sigma in _BAND)
    values = pictures.astype(np.float32)
    return np.asarray(fine @ values @ fine.T - coarse @ values @ coarse.T)


@cache
def _operator(sigma: float, scale: float, size: int) -> Floats32:
    """(S, S) matrix that smooths a column of pixels and magnifies it about its middle."""
    smooth = gaussian_filter1d(np.eye(size), sigma, axis=0)
    middle = (size - 1) / 2
    place = np.clip((np.arange(size) - middle) / scale + middle, 0, size - 1)
    before = np.minimum(place.astype(int), size - 2)
    part = (place - before)[:, None]
    return np.asarray(smooth[before] * (1 - part) + smooth[before + 1] * part, dtype=np.float32)
