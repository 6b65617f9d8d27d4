"""What is kept of an image to know it again, or to tell what is unlike it: numbers, no picture.

A *mark* is a perceptual hash: the signs of the lowest cosine coefficients of a thumbnail (pHash,
Zauner 2010). A *descriptor* says how a thumbnail looks on the whole: its 35 coarsest coefficients,
how its contrast is shared between coarse and fine structure, and how its grey values lie.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from pipeline.arrays import Bools, Floats32

Pictures = NDArray[np.uint8]
Marks = NDArray[np.uint8]

FREQUENCIES = 12
"""Of a mark, along each axis."""
FINEST = 16
COARSE = 6
"""Of a descriptor: 6 x 6 coefficients are as much as a picture of 6 x 6 pixels shows."""
BANDS = (2, 4, 8, 16)
"""Where bands of frequencies end; what is beyond is one more."""
GREYS = (0.05, 0.25, 0.5, 0.75, 0.95)
NUMBERS = COARSE**2 - 1 + len(BANDS) + 1 + len(GREYS)
"""Of a picture's descriptor."""
SAME_PICTURE = 0.92
"""Share of equal signs from which two pictures are taken for one; see docs/external.md."""
_BLOCK = 4096
_WAYS = 8


def spectra(pictures: Pictures) -> Floats32:
    """(N, P, 16, 16) lowest cosine coefficients of (N, P, S, S) pictures of mean 0 and norm 1.

    A picture without contrast has only zeros.
    """
    waves = _waves(pictures.shape[-1])
    found = np.empty((*pictures.shape[:2], FINEST, FINEST), np.float32)
    for start in range(0, len(pictures), _BLOCK):
        centred = pictures[start : start + _BLOCK].astype(np.float32)
        centred -= centred.mean(axis=(-2, -1), keepdims=True)
        norm = np.sqrt((centred**2).sum(axis=(-2, -1), keepdims=True))
        found[start : start + _BLOCK] = waves @ (centred / np.maximum(norm, 1e-6)) @ waves.T
    return found


def marks_of(spectrum: Floats32) -> Marks:
    """(N, P * 18) bytes, of spectra (N, P, 16, 16)."""
    signs = spectrum[..., :FREQUENCIES, :FREQUENCIES] > 0
    signs[..., 0, 0] = False  # the mean, which is 0
    num, many = signs.shape[:2]
    packed = np.packbits(signs.reshape(num, many, FREQUENCIES**2), axis=-1)
    return packed.reshape(num, many * packed.shape[-1])


def most_alike(spectrum: Floats32, known: Marks) -> Floats32:
    """(N,) largest share of signs that each of N images has in common with a mark, of (M, bytes).

    A single picture is also turned and flipped, all eight ways; a volume is compared as it lies:
    its axes are those of the patient. 0 where nothing is known.
    """
    ways = range(_WAYS) if spectrum.shape[1] == 1 else (0,)
    best = np.zeros(len(spectrum), np.float32)
    num = spectrum.shape[1] * (FREQUENCIES**2 - 1)
    own = np.stack([_signs(marks_of(_turned(spectrum, way))) for way in ways])
    for start in range(0, len(known), _BLOCK):
        product = own @ _signs(known[start : start + _BLOCK]).T  # equal less unequal signs
        best = np.maximum(best, product.max(axis=(0, 2), initial=-np.inf))
    idle = 8 * known.shape[-1] - num  # bits that say nothing are equal in all
    return np.asarray((1 + (best - idle) / num) / 2 if len(known) else best, np.float32)


def are_flat(pictures: Pictures) -> Bools:
    """(N,) whether an image has no picture with any contrast: it is like everything and nothing."""
    found: Bools = pictures.reshape(len(pictures), -1).max(axis=1) == 0
    return found


def descriptors(pictures: Pictures, spectrum: Floats32) -> Floats32:
    """(N, P * NUMBERS) numbers between -1 and 1, of pictures (N, P, S, S) and their spectra."""
    num, many = pictures.shape[:2]
    coarse = spectrum[..., :COARSE, :COARSE].reshape(num, many, -1)[..., 1:]
    energy = spectrum**2
    reach = np.maximum(*np.indices((FINEST, FINEST)))
    inside = np.stack([energy[..., reach < end].sum(axis=-1) for end in BANDS], axis=-1)
    has_contrast = (energy.sum(axis=(-2, -1)) > 0)[..., None]
    bands = np.diff(inside, axis=-1, prepend=0, append=1) * has_contrast
    greys = np.quantile(pictures.reshape(num, many, -1), GREYS, axis=-1) / 255
    parts = [coarse, np.sqrt(np.maximum(bands, 0)), np.moveaxis(greys, 0, -1)]
    found = np.concatenate(parts, axis=-1).reshape(num, -1)
    return np.asarray(found / np.sqrt(many), np.float32)


def _signs(marks: Marks) -> Floats32:
    """(N, bits) 1 and -1."""
    return 2 * np.unpackbits(marks, axis=-1).astype(np.float32) - 1


def _turned(spectrum: Floats32, way: int) -> Floats32:
    """Spectra of the pictures turned: bit 2 swaps rows and columns, 0 and 1 reverse them."""
    signs = (-1.0) ** np.arange(FINEST, dtype=np.float32)
    turned = np.swapaxes(spectrum, -1, -2) if way & 4 else spectrum
    turned = turned * signs[:, None] if way & 1 else turned
    return turned * signs if way & 2 else turned


@cache
def _waves(size: int) -> Floats32:
    """(16, S) matrix that takes a column of pixels to its lowest cosine coefficients."""
    return np.asarray(dct(np.eye(size), axis=0, norm="ortho")[:FINEST], np.float32)
