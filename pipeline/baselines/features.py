"""What a baseline sees of an image: a row of numbers."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Floats, Ints
from pipeline.config import FeaturesConfig

CHUNK = 256
"""Images that are taken from the cache at once."""
COLOUR_BINS = 8
"""Of each channel, in the joint histogram of a colour image."""
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
"""Of a pixel, in a circle."""

Pixels = NDArray[np.generic]
Range = tuple[Floats, Floats]
"""(C,) smallest and largest value of each channel in the train part."""


def features(config: FeaturesConfig, array: Pixels, rows: Ints, limits: Range) -> Floats:
    """(N, F) features of the images at `rows` of `array`, which is (M, C, ...)."""
    function = KINDS[config.kind]
    chunks = (rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK))
    return np.concatenate(
        [function(array[rows].astype(np.float64), config, limits) for rows in chunks]
    )


def limits_of(array: Pixels, rows: Ints) -> Range:
    """Smallest and largest value of each channel of the images at `rows`."""
    axes = (0, *range(2, array.ndim))
    ends = [
        (part.min(axis=axes), part.max(axis=axes))
        for part in (array[rows[i : i + CHUNK]] for i in range(0, len(rows), CHUNK))
    ]
    low, high = (np.array(side, dtype=np.float64) for side in zip(*ends, strict=True))
    return low.min(axis=0), high.max(axis=0)


def pixels(images: Floats, config: FeaturesConfig, _: Range) -> Floats:
    """Mean values of `size` equal cells along each axis; of fewer pixels, the pixels."""
    for axis in range(2, images.ndim):
        length = images.shape[axis]
        edges = np.linspace(0, length, min(config.size, length) + 1).round().astype(int)
        sums = np.add.reduceat(images, edges[:-1], axis=axis)
        shape = [1] * images.ndim
        shape[axis] = -1
        images = sums / np.diff(edges).reshape(shape)
    return images.reshape(len(images), -1)


def intensity(images: Floats, config: FeaturesConfig, limits: Range) -> Floats:
    """Histogram and moments of each channel; of three channels also their joint histogram."""
    num_images, num_channels = images.shape[:2]
    low, high = (side.reshape(-1, *[1] * (images.ndim - 2)) for side in limits)
    scaled = ((images - low) / np.where(high > low, high - low, 1)).clip(0, 1)
    flat = scaled.reshape(num_images, num_channels, -1)
    found = [_counts(flat[:, c], config.bins) for c in range(num_channels)]
    mean, sd = flat.mean(axis=2), flat.std(axis=2)
    scores = (flat - mean[..., None]) / np.where(sd > 0, sd, 1)[..., None]
    found += [mean, sd, (scores**3).mean(axis=2), (scores**4).mean(axis=2)]
    if num_channels == 3:
        bins = np.minimum(flat * COLOUR_BINS, COLOUR_BINS - 1).astype(np.int64)
        joint = (bins[:, 0] * COLOUR_BINS + bins[:, 1]) * COLOUR_BINS + bins[:, 2]
        found.append(_counts(joint / COLOUR_BINS**3, COLOUR_BINS**3))
    return np.concatenate(found, axis=1)


def texture(images: Floats, _: FeaturesConfig, __: Range) -> Floats:
    """Local binary patterns that do not change under rotation, in the planes of the axes.

    Ojala et al. 2002, Multiresolution gray-scale and rotation invariant texture classification:
    how many of a pixel's 8 neighbours are as bright as it or brighter, where they follow on each
    other; all other patterns together; at distances of 1 and 2 pixels. And the mean and SD of the
    gradient's size.
    """
    found = []
    for channel in np.moveaxis(images, 1, 0):
        for planes in _planes(channel):
            patterns = [_patterns(planes, distance) for distance in (1, 2)]
            slopes = np.hypot(*np.gradient(planes, axis=(-2, -1)))
            axes = tuple(range(1, slopes.ndim))
            spread = np.stack([slopes.mean(axis=axes), slopes.std(axis=axes)], axis=1)
            found += [*patterns, spread]
    return np.concatenate(found, axis=1)


KINDS: dict[str, Callable[[Floats, FeaturesConfig, Range], Floats]] = {
    "pixels": pixels,
    "intensity": intensity,
    "texture": texture,
}
"""features.kind -> images (N, C, ...) to (N, F)."""


def _counts(values: Floats, bins: int) -> Floats:
    """(N, P) values from 0 to 1 -> (N, bins) shares in bins of equal width."""
    codes = np.minimum(values * bins, bins - 1).astype(np.int64)
    codes += np.arange(len(codes))[:, None] * bins
    counts = np.bincount(codes.ravel(), minlength=len(codes) * bins)
    shares: Floats = counts.reshape(len(codes), bins) / values.shape[1]
    return shares


def _planes(images: Floats) -> list[Floats]:
    """(N, ..., H, W): a picture is one plane; a volume is seen along each of its axes."""
    if images.ndim == 3:
        return [images]
    return [np.moveaxis(images, axis, 1) for axis in (1, 2, 3)]


def _patterns(planes: Floats, distance: int) -> Floats:
    """(N, 10) shares of the uniform patterns with 0 to 8 bright neighbours, and of all others."""
    height, width = planes.shape[-2:]
    if min(height, width) <= 2 * distance:
        return np.zeros((len(planes), 10))
    inner = planes[..., distance : height - distance, distance : width - distance]
    bright = np.stack(
        [
            planes[
                ...,
                distance * (1 + dy) : height - distance * (1 - dy),
                distance * (1 + dx) : width - distance * (1 - dx),
            ]
            >= inner
            for dy, dx in NEIGHBOURS
        ]
    )
    changes = (bright != np.roll(bright, 1, axis=0)).sum(axis=0)
    code = np.where(changes <= 2, bright.sum(axis=0), 9)
    return _counts(code.reshape(len(code), -1) / 10, 10)
