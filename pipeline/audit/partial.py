"""Copies that were cropped, or into which something was drawn: a second look at single pictures."""

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Floats32, Ints
from pipeline.audit.blocks import (
    block_correlations,
    fine_structure,
    median_of_blocks,
    without_layout,
)
from pipeline.audit.nearest import nearest_strangers
from pipeline.audit.windows import CROPS, WHOLE, blind_to_crops, coefficients_of, registered

LEAST_MEDIAN = 0.93
"""Most blocks of a copy are so alike, planted ones 0.95; the nearest strangers have 0.91."""

_LEFT = 0.25  # unexplained after registration: more is no crop
_SAMPLE = 1000  # pictures from which is learned what a crop changes
_NUM_STRANGERS = 9  # that show what all pictures have
_STRIP = slice(24, 40)  # rows that are compared first
_HOPELESS = 0.5  # median of the blocks there
_CACHED = 128  # pairs at once: what is compared stays in the processor's cache

Pictures = NDArray[np.uint8]


def partial_copies(pictures: Pictures, rows: Ints, owner: Ints) -> list[tuple[int, int, float]]:
    """Pairs of `rows` of different owners, and the median correlation of their blocks.

    `pictures` (N, S, S), `owner` (N,). Two neighbours of each picture are asked whether something
    was drawn in, and the nearest to any of four windows whether it was cut out there. Time grows
    a little faster than N.
    """
    if len(rows) < 2:
        return []
    (whole, *windows), theirs = _coefficients(pictures, rows), owner[rows]
    none = np.zeros((len(rows), 4), np.float32)
    near = nearest_strangers(whole, whole, theirs, 2, probes=16)
    one, k = np.nonzero(near >= 0)
    one, other = np.unique(np.sort(np.stack([one, near[one, k]], axis=1), axis=1), axis=0).T
    found = _confirmed(pictures, rows, one, other, none[one], theirs)
    sample = np.random.default_rng(0).permutation(rows)[:_SAMPLE]
    axes = blind_to_crops(pictures[np.sort(sample)])
    points = whole @ axes
    apart, source = np.full(len(rows), np.inf, np.float32), np.full(len(rows), -1)
    window = np.zeros(len(rows), np.int64)
    for number, window_coefs in enumerate(windows):
        parts = window_coefs @ axes
        near = nearest_strangers(parts, points, theirs, 1, probes=6)[:, 0]
        distance = np.linalg.norm(parts - points[near], axis=1)
        better = (near >= 0) & (distance < apart)
        apart[better], source[better], window[better] = distance[better], near[better], number
    edges, left = none.copy(), np.full(len(rows), np.inf, np.float32)
    for number, cuts in enumerate(CROPS):
        asked = np.flatnonzero((window == number) & (source >= 0))
        for some in np.array_split(asked, len(asked) // _CACHED + 1):
            edges[some], left[some] = registered(pictures[rows[some]], whole[source[some]], cuts)
    one = np.flatnonzero(left <= _LEFT)
    found += _confirmed(pictures, rows, one, source[one], edges[one], theirs)
    best: dict[tuple[int, int], float] = {}
    for first, second, likeness in found:
        pair = min(first, second), max(first, second)
        best[pair] = max(likeness, best.get(pair, -1.0))
    return [(*pair, likeness) for pair, likeness in best.items()]


def _confirmed(
    pictures: Pictures, rows: Ints, one: Ints, other: Ints, cuts: Floats32, owner: Ints
) -> list[tuple[int, int, float]]:
    """The pairs of positions in `rows` most of whose blocks are alike, beyond what all have."""
    generator = np.random.default_rng(0)
    found = []
    for start in range(0, len(one), _CACHED):
        part = np.arange(start, min(start + _CACHED, len(one)))
        strips = _alike(pictures, rows, one[part], other[part], cuts[part], _STRIP)
        median = median_of_blocks(strips)
        part = part[(median >= _HOPELESS) | (median == -1)]
        if not len(part):
            continue
        alike = _alike(pictures, rows, one[part], other[part], cuts[part])
        for i in np.flatnonzero(median_of_blocks(alike) >= LEAST_MEDIAN).tolist():
            pair = one[part[i]], other[part[i]]
            drawn = generator.integers(0, len(rows), 4 * _NUM_STRANGERS)
            drawn = drawn[~np.isin(owner[drawn], owner[list(pair)])][:_NUM_STRANGERS]
            blocks = alike[i]
            if len(drawn):
                same = np.full(len(drawn), pair[1])
                strangers = _alike(pictures, rows, drawn, same, np.zeros((len(drawn), 4), "f4"))
                blocks = without_layout(blocks, strangers)
            likeness = float(median_of_blocks(blocks[None])[0])
            if likeness >= LEAST_MEDIAN:
                found.append((int(rows[pair[0]]), int(rows[pair[1]]), likeness))
    return found


def _alike(
    pictures: Pictures,
    rows: Ints,
    one: Ints,
    other: Ints,
    cuts: Floats32,
    strip: slice = slice(None),
) -> Floats32:
    """(n, B) correlations of the blocks of parts of `one` with those of `other`."""
    moved = cuts if cuts.any() else None
    part = fine_structure(pictures[rows[one]], moved, strip)
    return block_correlations(part, fine_structure(pictures[rows[other]], rows=strip))


def _coefficients(pictures: Pictures, rows: Ints) -> list[Floats32]:
    """(N, 63) of the whole pictures, and of each of their windows."""
    found: list[list[Floats32]] = [[] for _ in (WHOLE, *CROPS)]
    for i in range(0, len(rows), _CACHED):
        some = pictures[rows[i : i + _CACHED]].astype(np.float32)
        for coefs, cuts in zip(found, (WHOLE, *CROPS), strict=True):
            coefs.append(coefficients_of(some, cuts))
    return [np.concatenate(coefs) for coefs in found]
