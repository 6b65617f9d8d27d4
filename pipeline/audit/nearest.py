"""The nearest points of other owners, without comparing all pairs."""

import numpy as np

from pipeline.arrays import Floats32, Ints

_CELL = 200  # points of a cell, on average


def nearest_strangers(
    queries: Floats32, points: Floats32, owner: Ints, number: int, probes: int
) -> Ints:
    """(n, number) rows of `points` nearest to each query whose owner is another; -1 for none.

    Both are (n, d) and row for row of the same owner. The points are dealt to cells about some of
    them, and only the `probes` cells nearest to a query are searched: a neighbour is missed now
    and then.
    """
    # The largest 2qp - pp is the nearest.
    ends = np.concatenate([points, (points**2).sum(axis=1, keepdims=True)], axis=1)
    starts = _starts(queries)
    num_cells = max(1, len(points) // _CELL)
    chosen = np.random.default_rng(0).choice(len(points), num_cells, replace=False)
    cell = _nearest_cells(_starts(points), ends[chosen], 1)[:, 0]
    cells = _nearest_cells(starts, ends[chosen], min(probes, num_cells))
    score = np.full((*cells.shape, number), -np.inf, np.float32)
    found = np.full(score.shape, -1, np.int64)
    members, asking = _grouped(cell, num_cells), _grouped(cells.ravel(), num_cells)
    for theirs, asked in zip(members, asking, strict=True):
        for start in range(0, len(asked) if len(theirs) else 0, 1024):
            query, probe = np.divmod(asked[start : start + 1024], cells.shape[1])
            likeness = starts[query] @ ends[theirs].T
            likeness[owner[query][:, None] == owner[theirs]] = -np.inf
            row = np.arange(len(query))
            for k in range(number):
                best = likeness.argmax(axis=1)
                score[query, probe, k] = likeness[row, best]
                found[query, probe, k] = theirs[best]
                likeness[row, best] = -np.inf
    found[np.isneginf(score)] = -1
    flat = score.reshape(len(queries), -1)
    order = np.argsort(-flat, axis=1)[:, :number]
    return np.take_along_axis(found.reshape(len(queries), -1), order, axis=1)


def _starts(queries: Floats32) -> Floats32:
    return np.concatenate([2 * queries, np.full((len(queries), 1), -1, np.float32)], axis=1)


def _grouped(numbers: Ints, num: int) -> list[Ints]:
    """Where each of the numbers below `num` stands."""
    ends = np.bincount(numbers, minlength=num).cumsum()
    return np.split(np.argsort(numbers, kind="stable"), ends)[:-1]


def _nearest_cells(starts: Floats32, centres: Floats32, number: int) -> Ints:
    found = np.empty((len(starts), number), np.int64)
    for i in range(0, len(starts), 4096):
        likeness = starts[i : i + 4096] @ centres.T
        found[i : i + 4096] = np.argpartition(-likeness, number - 1, axis=1)[:, :number]
    return found
