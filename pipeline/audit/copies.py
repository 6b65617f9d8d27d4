"""Find copies of an image under two patients: equal pixels, and what a search by likeness finds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import KDTree

from pipeline.arrays import Floats32, Ints
from pipeline.audit.layout import alike_by_layout
from pipeline.audit.likeness import (
    INVERSE,
    ORIENTATIONS,
    best_orientation,
    coefficients,
    correlation,
    descriptors,
    oriented,
)
from pipeline.audit.partial import partial_copies

SEARCH_VERSION = 3
"""Changes whenever the same images may give other copies."""
LEAST_CORRELATION = 0.92
"""Two pictures are near copies from here on: planted crops by 2 % have 0.93 or more, the nearest
radiographs of two ids besides them 0.91; see `benchmarks/duplicates.py`."""
SAME_PICTURE = 0.99
"""From here on a near copy is so sure that no split may have it on two sides."""

_NUM_NEIGHBOURS = (8, 64, 512)  # first for all, then for those that may have more
_RADIUS = 0.2  # of descriptors; of 1,500 crops by 2 % 99 in 100 lie within 0.14
_BLOCK = 4096  # images or pairs at once

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Copy:
    """Two rows of the manifest, `one` < `other`, that show the same under two patients."""

    one: int
    other: int
    exact: bool
    """Every decoded pixel is equal; else it is a near copy."""
    correlation: float = 1.0
    """Of the fine structure; where a part is covered or cut off, of the median block."""
    orientation: str = ""
    """How `other` lies, e.g. "flipped left to right"; empty when both are the same way round."""


@dataclass(frozen=True, slots=True)
class Copies:
    """What the search found."""

    pairs: tuple[Copy, ...] = ()
    """Sorted; an image with many equal ones is linked with the first of each patient only."""
    flat: tuple[int, ...] = ()
    """Rows of images without any contrast, which are copies of everything and nothing."""


def find_copies(digests: Sequence[str], pictures: Pictures, patients: Sequence[str]) -> Copies:
    """Every image whose pixels, or whose picture in any of 8 orientations, two patients have.

    `digests` (N,) of the decoded pixels, `pictures` (N, P, S, S), `patients` (N,) ids. Near copies
    are looked for among the nearest neighbours of each image in a search tree, never among all
    pairs: time grows a little faster than N. Single pictures get a second look, the same way
    round only, for copies that were cropped by up to 10 % or drawn into.
    """
    flat = _in_blocks(pictures, lambda block: block.max(axis=(1, 2, 3)) == 0)
    rows = pd.DataFrame({"pixels": digests, "owner": patients})[~flat]
    # An image with equal ones is looked for once: whoever is near it is near them all.
    first = rows.drop_duplicates("pixels").index.to_numpy(np.int64)
    owner = pd.factorize(np.array(patients, object))[0]
    found = [*_equal(rows), *_near(first, pictures, owner)]
    if pictures.shape[1] == 1:  # a volume has three pictures, and nobody draws into volumes
        found = _beyond_layout(found, pictures[:, 0], first, owner)
        known = {(pair.one, pair.other) for pair in found}
        for one, other, likeness in partial_copies(pictures[:, 0], first, owner):
            if (one, other) not in known:
                found.append(Copy(one, other, False, round(likeness, 4)))
    return Copies(_sorted(found), tuple(np.flatnonzero(flat).tolist()))


def exact_copies(digests: Sequence[str], patients: Sequence[str]) -> Copies:
    """The pairs of equal digests that two patients have."""
    return Copies(_sorted(_equal(pd.DataFrame({"pixels": digests, "owner": patients}))))


def _sorted(pairs: Iterable[Copy]) -> tuple[Copy, ...]:
    return tuple(sorted(pairs, key=lambda pair: (pair.one, pair.other)))


def _equal(rows: pd.DataFrame) -> list[Copy]:
    """Link the first image of each patient with the first of all that have the same pixels."""
    firsts = rows.sort_values(["owner"], kind="stable").drop_duplicates(["pixels", "owner"])
    start = firsts.index.to_series().groupby(firsts["pixels"]).transform("first")
    pairs = np.sort(np.stack([start, firsts.index], axis=1)[start != firsts.index], axis=1)
    return [Copy(one, other, exact=True) for one, other in pairs.tolist()]


def _near(rows: Ints, pictures: Pictures, owner: Ints) -> list[Copy]:
    """Near copies among `rows`, confirmed by correlation.

    Every image is compared with the nearest strangers. It is asked for more while some of them
    were copies, or while its own patient's images stood before them.
    """
    if len(rows) < 2:
        return []
    coefs = _in_blocks(pictures, coefficients)
    points, owner = _in_blocks(coefs[rows], descriptors), owner[rows]
    tree, asked, found = KDTree(points), np.arange(len(rows)), []
    compared = np.empty(0, np.int64)
    wanted = np.full(len(rows), _NUM_NEIGHBOURS[0])  # strangers of each image that is asked for
    for number in _NUM_NEIGHBOURS:
        number = min(number + 1, len(points))  # the nearest is the point itself
        _, near = tree.query(points[asked], number, distance_upper_bound=_RADIUS, workers=-1)
        near = near.reshape(len(asked), number)
        there = near < len(points)
        foreign = there & (owner[np.where(there, near, 0)] != owner[asked][:, None])
        foreign &= foreign.cumsum(axis=1) <= wanted[asked][:, None]
        pairs = np.stack([np.repeat(asked, number), near.ravel()], 1)[foreign.ravel()]
        keys = np.unique(pairs.min(axis=1) * len(points) + pairs.max(axis=1))
        keys = np.setdiff1d(keys, compared, assume_unique=True)
        compared = np.union1d(compared, keys)
        copies = _compared(rows[np.stack(np.divmod(keys, len(points)), 1)], coefs, pictures)
        found += copies
        twins = np.searchsorted(rows, [row for pair in copies for row in (pair.one, pair.other)])
        wanted[:] = _NUM_NEIGHBOURS[0]
        wanted[twins] = _NUM_NEIGHBOURS[-1]
        more = there.all(axis=1) & (foreign.sum(axis=1) < wanted[asked])
        asked = asked[more]
        if not len(asked):
            break
    return found


def _compared(pairs: Ints, coefs: Floats32, pictures: Pictures) -> list[Copy]:
    """The near copies among (n, 2) rows, the smaller first."""
    found = []
    for start in range(0, len(pairs), _BLOCK):
        one, other = pairs[start : start + _BLOCK].T
        order, way, distance = best_orientation(coefs[one], coefs[other])
        close = np.flatnonzero(distance <= _RADIUS * 1.1)  # the order of P may differ a little
        found += _confirmed(one[close], other[close], order[close], way[close], pictures)
    return found


def _confirmed(one: Ints, other: Ints, order: Ints, way: Ints, pictures: Pictures) -> list[Copy]:
    """Those of the pairs whose fine structure is the same; mean correlation over P pictures."""
    found = []
    for start in range(0, len(one), 128):  # what is compared stays in the processor's cache
        part = slice(start, start + 128)
        likeness = np.zeros(len(one[part]))
        for p in range(pictures.shape[1]):
            theirs = zip(other[part], order[part, p], way[part, p], strict=True)
            copies = [oriented(pictures[row, picture], turn) for row, picture, turn in theirs]
            likeness += correlation(pictures[one[part], p], np.stack(copies)) / pictures.shape[1]
        for i in np.flatnonzero(likeness >= LEAST_CORRELATION).tolist():
            turns = {ORIENTATIONS[INVERSE[g]] for g in way[start + i]} - {""}
            words = next(iter(turns)) if len(turns) == 1 else "turned" if turns else ""
            pair = int(one[start + i]), int(other[start + i])
            found.append(Copy(*pair, False, round(float(likeness[i]), 4), words))
    return found


def _beyond_layout(found: list[Copy], pictures: Pictures, rows: Ints, owner: Ints) -> list[Copy]:
    """Without the pairs that may only come from one device."""
    doubtful = [pair for pair in found if not pair.exact and pair.correlation < SAME_PICTURE]
    if not doubtful:
        return found
    turns = [INVERSE[ORIENTATIONS.index(pair.orientation)] for pair in doubtful]
    others = [oriented(pictures[pair.other], g) for pair, g in zip(doubtful, turns, strict=True)]
    owners = np.array([(owner[pair.one], owner[pair.other]) for pair in doubtful])
    ones = pictures[[pair.one for pair in doubtful]]
    alike = alike_by_layout(pictures, rows, owner, ones, np.stack(others), owners)
    dropped = {pair for pair, drop in zip(doubtful, alike, strict=True) if drop}
    return [pair for pair in found if pair not in dropped]


def _in_blocks(array: NDArray[np.generic], function):  # type: ignore[no-untyped-def]
    """`function` of blocks of rows, so that a memory-mapped array is never loaded whole."""
    blocks = [function(array[i : i + _BLOCK]) for i in range(0, max(len(array), 1), _BLOCK)]
    return np.concatenate(blocks)
