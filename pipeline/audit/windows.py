"""A part of a picture, laid over another picture that may have been cut out of it."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.linalg import eigh

from pipeline.arrays import Floats32

Cuts = tuple[float, float, float, float]
"""Shares of a picture that are cut off: at the top, at the bottom, left, right."""

WHOLE: Cuts = (0.0, 0.0, 0.0, 0.0)
_ENDS = ((0.02, 0.07), (0.07, 0.02))
CROPS: tuple[Cuts, ...] = tuple((*rows, *columns) for rows in _ENDS for columns in _ENDS)
"""Every crop by up to 10 % an axis lies within 3 % of one of them."""

_FREQUENCIES = 8
_STEP = 0.005  # of the derivatives
_MOST = 0.06  # that a registration may move an edge
_NOISE = 1e-3  # of a coefficient, besides what a shift of the edges does to it
_NUM_COMPONENTS = 32


def coefficients_of(pictures: NDArray[np.uint8] | Floats32, cuts: Cuts) -> Floats32:
    """(n, 63) lowest cosine coefficients of a part of (n, S, S) pictures, of norm 1, no mean."""
    rows = _waves(cuts[0], cuts[1], pictures.shape[-1])
    columns = _waves(cuts[2], cuts[3], pictures.shape[-1])
    coefs = _product(rows, pictures.astype(np.float32, copy=False), columns)
    return np.asarray(coefs / np.maximum(np.linalg.norm(coefs, axis=1, keepdims=True), 1e-6))


def blind_to_crops(pictures: NDArray[np.uint8]) -> Floats32:
    """(63, 32) a projection after which another crop is near and another picture is far.

    It is a discriminant analysis: what differs between (n, S, S) pictures, against what a window
    that lies a little elsewhere changes in each of them.
    """
    middle = coefficients_of(pictures, (0.025,) * 4)
    within = _NOISE * np.eye(middle.shape[1])
    moves = np.random.default_rng(0).uniform(0, 0.05, (8, 4))
    for top, bottom, left, right in moves.tolist():
        change = coefficients_of(pictures, (top, bottom, left, right)) - middle
        within += change.T @ change / len(change) / len(moves)
    between = np.cov(middle.T)
    _, axes = eigh(between, within)
    return np.asarray(axes[:, ::-1][:, :_NUM_COMPONENTS], dtype=np.float32)


def registered(one: NDArray[np.uint8], other: Floats32, cuts: Cuts) -> tuple[Floats32, Floats32]:
    """Move the edges of a part of `one` (n, S, S) until they have coefficients like `other`'s.

    One step of Gauss and Newton. Returns (n, 4) cuts and (n,) the share that is left unexplained.
    """
    size = one.shape[-1]
    pictures = one.astype(np.float32)
    edges = [_waves(*cuts[axis : axis + 2], size) for axis in (0, 2)]
    start = _product(edges[0], pictures, edges[1])
    slopes = []
    for edge in range(4):
        steps = []
        for sign in (1, -1):
            moved = list(cuts)
            moved[edge] += sign * _STEP
            sides = list(edges)
            sides[edge // 2] = _waves(*moved[2 * (edge // 2) : 2 * (edge // 2) + 2], size)
            steps.append(sides)
        changed = [steps[0][axis] - steps[1][axis] for axis in (0, 1)]
        sides = list(edges)
        sides[edge // 2] = changed[edge // 2] / (2 * _STEP)
        slopes.append(_product(sides[0], pictures, sides[1]))
    norm = np.maximum(np.linalg.norm(start, axis=1), 1e-6)[:, None, None]
    model = np.stack([*slopes, -other * norm[:, 0]], axis=2) / norm  # (n, 63, 5)
    target = -start[:, :, None] / norm
    square = np.swapaxes(model, 1, 2) @ model + 1e-4 * np.eye(5, dtype=np.float32)
    step = np.linalg.solve(square, np.swapaxes(model, 1, 2) @ target)
    left = np.linalg.norm((model @ step - target)[:, :, 0], axis=1)
    moved_by = np.clip(step[:, :4, 0], -_MOST, _MOST)
    found = np.maximum(np.array(cuts, np.float32) + moved_by, -0.01)
    return np.asarray(found, np.float32), np.asarray(left, np.float32)


def _product(rows: Floats32, pictures: Floats32, columns: Floats32) -> Floats32:
    """(n, 63) coefficients, without the first, which is the mean."""
    narrow = pictures.reshape(-1, pictures.shape[-1]) @ columns.T
    coefs = rows @ narrow.reshape(*pictures.shape[:2], _FREQUENCIES)
    return np.asarray(coefs.reshape(len(pictures), _FREQUENCIES**2)[:, 1:])


@cache
def _waves(start: float, end: float, size: int) -> Floats32:
    """(F, S) matrix that takes a part of a column of pixels to its lowest cosine coefficients."""
    place = np.clip(
        (start + (np.arange(size) + 0.5) / size * (1 - start - end)) * size - 0.5, 0, size - 1
    )
    before = np.minimum(place.astype(int), size - 2)
    part, eye = (place - before)[:, None], np.eye(size)
    stretched = eye[before] * (1 - part) + eye[before + 1] * part
    waves = dct(np.eye(size), axis=0, norm="ortho")[:_FREQUENCIES]
    return np.asarray(waves @ stretched, dtype=np.float32)
