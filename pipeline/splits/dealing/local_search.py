"""Improve a dealing by moving one group or swapping two, as long as that helps."""

import numpy as np

from pipeline.arrays import Bools, Floats, Ints
from pipeline.splits.dealing.balance import SIZE_WEIGHT, Measure

LOOKED_AT = 20_000
"""Moves that one step compares; of more, a random sample."""
DOUBLINGS = 4
"""The search minimises J with 16-norms (2 ** 4) in place of maxima: where several blocks and
classes are about equally bad, improving one of them helps, though the maximum stays."""


def improve(
    measure: Measure,
    blocks: Ints,
    num_blocks: int,
    free: Bools,
    generator: np.random.Generator,
    budget: int,
) -> tuple[Ints, int]:
    """The best of all moves and swaps of free groups, again and again, until none helps.

    Returns the new blocks and how many moves were looked at (at most about `budget`).
    """
    blocks, used, failed = blocks.copy(), 0, 0
    loads = measure.loads(blocks, num_blocks)
    counts = np.bincount(blocks, minlength=num_blocks)
    while used < budget and failed < 2:
        movable = _distinct(blocks, measure.kinds, free)
        one, other, is_sample = _moves(movable, len(blocks), num_blocks, generator)
        used += len(one)
        powers = _powers(measure, loads, measure.fair)
        scores = _after(measure, blocks, loads, powers, one, other)
        scores[(other >= len(blocks)) & (counts[blocks[one]] == 1)] = np.inf  # a block stays filled
        best = int(scores.argmin())
        if scores[best] >= _score(powers.sum(axis=0)) * (1 - 1e-9):
            failed += 1 if is_sample else 2  # a sample may have missed one
            continue
        failed = 0
        mover, partner, source = int(one[best]), int(other[best]), int(blocks[one[best]])
        if partner < len(blocks):
            blocks[mover], blocks[partner] = blocks[partner], source
        else:
            blocks[mover] = partner - len(blocks)
        counts = np.bincount(blocks, minlength=num_blocks)
        loads = measure.loads(blocks, num_blocks)
    return blocks, used


def _distinct(blocks: Ints, kinds: Ints, free: Bools) -> Ints:
    """One free group of each kind in each block."""
    movable = np.flatnonzero(free)
    places = blocks[movable] * (int(kinds.max()) + 1) + kinds[movable]
    return movable[np.unique(places, return_index=True)[1]]


def _moves(
    movable: Ints, num_groups: int, num_blocks: int, generator: np.random.Generator
) -> tuple[Ints, Ints, bool]:
    """(M,) groups that move, and (M,) where: a group to swap with, or G + the block to go to.

    All of them, or, where there are too many, a sample of half swaps and half moves.
    """
    targets = np.concatenate([movable, num_groups + np.arange(num_blocks)])
    if len(movable) * len(targets) <= LOOKED_AT:
        one, other = np.meshgrid(movable, targets, indexing="ij")
        return one.ravel(), other.ravel(), False
    half = LOOKED_AT // 2
    swapped = generator.choice(movable, half)
    moved = num_groups + generator.integers(num_blocks, size=half)
    return generator.choice(movable, 2 * half), np.concatenate([swapped, moved]), True


def _after(
    measure: Measure, blocks: Ints, loads: Floats, powers: Floats, one: Ints, other: Ints
) -> Floats:
    """(M,) score after each move; infinite where nothing would move."""
    num_groups = len(blocks)
    swap = other < num_groups
    partner = np.minimum(other, num_groups - 1)
    source, target = blocks[one], np.where(swap, blocks[partner], other - num_groups)
    change = measure.columns[one] - measure.columns[partner] * swap[:, None]
    left = _powers(measure, loads[source] - change, measure.fair[source])
    reached = _powers(measure, loads[target] + change, measure.fair[target])
    scores = _score(powers.sum(axis=0) - powers[source] - powers[target] + left + reached)
    scores[source == target] = np.inf
    return scores


def _powers(measure: Measure, loads: Floats, fair: Floats) -> Floats:
    """(..., 4) sums of the 16th powers of the deviations of loads (..., K), part by part of J."""
    parts = []
    for deviations in measure.parts(loads, fair):
        for _ in range(DOUBLINGS):
            deviations = deviations * deviations
        parts.append(deviations.sum(axis=-1))
    return np.stack(parts, axis=-1)


def _score(powers: Floats) -> Floats:
    """(...) J with 16-norms, of sums over all blocks (..., 4)."""
    norms = np.maximum(powers, 0.0)
    for _ in range(DOUBLINGS):  # unlike a power, a root is rounded alike on all processors
        norms = np.sqrt(norms)
    total: Floats = norms[..., 0] + norms[..., 1] + SIZE_WEIGHT * (norms[..., 2] + norms[..., 3])
    return total
