"""Improve a dealing by moving one group or swapping two, as long as that helps."""

import numpy as np

from pipeline.splits.balance import Floats, Ints, Measure

LOOKED_AT = 20_000
"""Moves that one step compares; of more, a random sample."""
SPREAD_WEIGHT = 1e-3
"""The search minimises J + this x spread: J alone has plateaus where two blocks are equally bad."""


def improve(
    measure: Measure,
    blocks: Ints,
    num_blocks: int,
    free: np.ndarray,
    generator: np.random.Generator,
    budget: int,
) -> tuple[Ints, int]:
    """Best moves between a block that attains a maximum and any other, until none helps.

    Returns the new blocks and how many moves were looked at (at most about `budget`).
    """
    blocks, used, failed = blocks.copy(), 0, 0
    kinds = _kinds(measure.columns)
    counts = np.bincount(blocks, minlength=num_blocks)
    loads = measure.loads(blocks, num_blocks)
    while used < budget and failed < 2:
        worst = measure.deviations(loads, measure.fair)
        now = _score(measure, worst, _spreads(loads, measure.fair).sum())
        one, other = _moves(
            _distinct(blocks, kinds, free), blocks, np.unique(worst.argmax(axis=0)), generator
        )
        if not len(one):
            break
        used += len(one)
        scores = _after(measure, blocks, loads, worst, one, other)
        emptied = (other < len(blocks)) | (counts[blocks[one]] > 1)
        scores[~emptied] = np.inf
        best = int(scores.argmin())
        if scores[best] >= now - 1e-10:
            failed += 1 if len(one) == LOOKED_AT else 2  # a sample may have missed one
            continue
        failed = 0
        mover, partner = int(one[best]), int(other[best])
        source = blocks[mover]
        if partner < len(blocks):
            blocks[mover], blocks[partner] = blocks[partner], source
        else:
            blocks[mover] = partner - len(blocks)
        counts = np.bincount(blocks, minlength=num_blocks)
        loads = measure.loads(blocks, num_blocks) if len(blocks) < 500 else _moved(
            measure, loads, mover, partner, source, blocks[mover])  # fmt: skip
    return blocks, used


def _moved(
    measure: Measure, loads: Floats, mover: int, partner: int, source: int, target: int
) -> Floats:
    change = measure.columns[mover].copy()
    if partner < len(measure.columns):
        change -= measure.columns[partner]
    loads = loads.copy()
    loads[source] -= change
    loads[target] += change
    return loads


def _kinds(columns: Floats) -> Ints:
    """(G,) equal numbers for groups that bring the same, which are as good as each other."""
    return np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _distinct(blocks: Ints, kinds: Ints, free: np.ndarray) -> Ints:
    """One free group of each kind in each block."""
    movable = np.flatnonzero(free)
    places = blocks[movable] * (int(kinds.max()) + 1) + kinds[movable]
    return movable[np.unique(places, return_index=True)[1]]


def _moves(
    movable: Ints, blocks: Ints, worst_blocks: Ints, generator: np.random.Generator
) -> tuple[Ints, Ints]:
    """(M,) groups that move, and (M,) where: a group to swap with, or G + the block to go to."""
    num_groups, num_blocks = len(blocks), int(blocks.max()) + 1
    inside = movable[np.isin(blocks[movable], worst_blocks)]
    outside = movable
    targets = np.concatenate([outside, num_groups + np.arange(num_blocks)])
    num_moves = len(inside) * len(targets)
    if num_moves <= LOOKED_AT:
        one, other = (part.ravel() for part in np.meshgrid(inside, targets, indexing="ij"))
        coming = np.meshgrid(outside, num_groups + worst_blocks, indexing="ij")
        one, other = (
            np.concatenate([a, b.ravel()]) for a, b in zip((one, other), coming, strict=True)
        )
    else:
        half = LOOKED_AT // 2
        swaps = generator.choice(inside, half), generator.choice(outside, half)
        quarter = half // 2
        away = generator.choice(inside, quarter), generator.integers(num_blocks, size=quarter)
        here = generator.choice(outside, quarter), generator.choice(worst_blocks, quarter)
        one = np.concatenate([swaps[0], away[0], here[0]])
        other = np.concatenate([swaps[1], num_groups + away[1], num_groups + here[1]])
    if num_moves <= LOOKED_AT:
        target = np.where(
            other < num_groups, blocks[np.minimum(other, num_groups - 1)], other - num_groups
        )
        differs = blocks[one] != target
        return one[differs], other[differs]
    return one, other


def _after(
    measure: Measure, blocks: Ints, loads: Floats, worst: Floats, one: Ints, other: Ints
) -> Floats:
    """(M,) score of each move, had it been made."""
    num_groups = len(blocks)
    swap = other < num_groups
    partner = np.minimum(other, num_groups - 1)
    source, target = blocks[one], np.where(swap, blocks[partner], other - num_groups)
    change = measure.columns[one] - measure.columns[partner] * swap[:, None]
    from_load, to_load = loads[source] - change, loads[target] + change
    rest = _others(worst)[source, target]
    new = np.maximum(
        np.maximum(
            measure.deviations(from_load, measure.fair[source]),
            measure.deviations(to_load, measure.fair[target]),
        ),
        rest,
    )
    before = _spreads(loads, measure.fair)
    spread = (
        before.sum()
        - before[source]
        - before[target]
        + _spreads(from_load, measure.fair[source])
        + _spreads(to_load, measure.fair[target])
    )
    scores: Floats = measure.objective(new) + SPREAD_WEIGHT * spread
    scores[source == target] = np.inf
    return scores


def _others(worst: Floats) -> Floats:
    """(B, B, 4) the largest deviations (B, 4) of all blocks but two."""
    num_blocks = len(worst)
    rest = np.zeros((num_blocks, num_blocks, worst.shape[1]))
    for a in range(num_blocks):
        for b in range(num_blocks):
            left = np.delete(worst, [a, b], axis=0)
            rest[a, b] = left.max(axis=0) if len(left) else 0.0
    return rest


def _spreads(loads: Floats, fair: Floats) -> Floats:
    """(...) sum of squared relative deviations of loads (..., K)."""
    total: Floats = (((loads - fair) / np.maximum(fair, 1e-9)) ** 2).sum(axis=-1)
    return total


def _score(measure: Measure, worst: Floats, spread: float) -> float:
    return float(measure.objective(worst.max(axis=0)) + SPREAD_WEIGHT * spread)
