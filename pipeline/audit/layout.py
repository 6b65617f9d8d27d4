"""What all pictures of a device show, a frame, a scale or letters, makes no two of them copies."""

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Ints
from pipeline.audit.blocks import block_correlations, fine_structure, without_layout

_NUM_STRANGERS = 9
_MOSTLY = 0.5  # share of the blocks that strangers have too, from which on a layout is suspected
_LEAST_BLOCKS = 4  # of which more is asked
_LEAST_MEDIAN = 0.6  # of the other blocks; copies cropped by 2 % have 0.67, strangers up to 0.55

Pictures = NDArray[np.uint8]


def alike_by_layout(
    pictures: Pictures, rows: Ints, owner: Ints, one: Pictures, other: Pictures, owners: Ints
) -> Iterator[bool]:
    """Of pairs of pictures (n, S, S), the same way round: is it only their layout that is alike?

    Strangers are drawn from `rows` of `pictures` (N, S, S), whose `owner` (N,) is neither of the
    pair's `owners` (n, 2).
    """
    generator = np.random.default_rng(0)
    for first, second, two in zip(one, other, owners, strict=True):
        drawn = rows[generator.integers(0, len(rows), 4 * _NUM_STRANGERS)]
        drawn = drawn[~np.isin(owner[drawn], two)][:_NUM_STRANGERS]
        theirs = fine_structure(second[None])
        blocks = block_correlations(fine_structure(first[None]), theirs)[0]
        if not len(drawn):
            yield False
            continue
        strangers = block_correlations(
            fine_structure(pictures[drawn]), np.repeat(theirs, len(drawn), axis=0)
        )
        with warnings.catch_warnings(action="ignore"):  # blocks without structure
            left = without_layout(blocks, strangers)
        num, num_left = (np.isfinite(some).sum() for some in (blocks, left))
        is_layout = num_left < (1 - _MOSTLY) * num and num_left >= _LEAST_BLOCKS
        yield bool(is_layout and np.nanmedian(left) < _LEAST_MEDIAN)
