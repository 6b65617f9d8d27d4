"""How alike the images of a set are: do they show the same place, and is its mirror image alike?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Floats

SIDES = {2: 16, 3: 8}
"""Cells along each axis, of pictures and of volumes."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Of the images' thumbnails, each with mean 0 and SD 1."""

    shared: float
    """Share of their variance that is the mean thumbnail's: near 0 for patches of tissue, which
    show any place; 0.5 and more where every image shows the same part of the body."""
    mirrored: tuple[float, ...]
    """Correlation of the mean thumbnail with its mirror image along each axis."""


def thumbnail(values: NDArray[np.floating]) -> Floats:
    """Means of equal cells of an image (H, W) or (D, H, W); small images repeat pixels."""
    cells = values.astype(np.float64)
    for axis, length in enumerate(values.shape):
        edges = np.linspace(0, length, SIDES[values.ndim] + 1)
        starts = np.minimum(edges[:-1].astype(int), length - 1)
        stops = np.maximum(np.ceil(edges[1:]).astype(int), starts + 1)
        pieces = [
            cells.take(range(start, stop), axis=axis).mean(axis=axis, keepdims=True)
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
        ]
        cells = np.concatenate(pieces, axis=axis)
    return cells


def likeness(thumbnails: Sequence[Floats]) -> Likeness:
    """Of thumbnails of the same number of axes; images without contrast do not count."""
    kept = [(t - t.mean()) / t.std() for t in thumbnails if t.std() > 0]
    axes = range(thumbnails[0].ndim)
    if len(kept) < 2:
        return Likeness(shared=0.0, mirrored=tuple(0.0 for _ in axes))
    mean: Floats = np.mean(kept, axis=0)
    num = len(kept)
    shared = (num * float(mean.var()) - 1) / (num - 1)  # chance alone gives 1 / num
    mirrored = [_correlation(mean, np.flip(mean, axis)) for axis in axes]
    return Likeness(shared=max(0.0, shared), mirrored=tuple(mirrored))


def _correlation(one: Floats, other: Floats) -> float:
    if one.std() == 0:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
