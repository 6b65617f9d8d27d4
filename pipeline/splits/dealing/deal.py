"""Deal leakage groups to blocks: greedy and scikit-learn's starts, then a bounded local search."""

import warnings
from collections.abc import Sequence
from itertools import chain

import numpy as np
import pandas as pd

from pipeline.arrays import Bools, Floats, Ints
from pipeline.splits.dealing.balance import Measure, Quantities, objective

MANY_GROUPS = 5000
"""Above this many groups: one greedy start, a short search, no start of scikit-learn's."""
EVALUATIONS, EVALUATIONS_OF_MANY = 3_000_000, 400_000
"""How many moves the search may look at. A count, not a time: the same on every machine."""
STARTS, PATIENCE = 8, 24
"""Greedy starts; then the best dealing is shaken until so many times in a row did not help."""
SHAKEN = 8
"""Groups that change places in one kick."""
LOOKED_AT = 20_000
"""Moves that one step compares; of more, a random sample."""
DOUBLINGS = 4
"""The search minimises J with 16-norms (2 ** 4) in place of maxima: where several blocks and
classes are about equally bad, improving one of them helps, though the maximum stays."""


def deal(quantities: Quantities, shares: Floats, seed: int, fixed: Ints | None = None) -> Ints:
    """(G,) the block of each group, so that all blocks are alike in images and in patients.

    `shares` (B,) is what each block should hold, with sum 1. `fixed` (G,) names the block a group
    must stay in, -1 leaves it free. The result depends on the arguments only. It is never worse
    than the greedy dealing, nor, for equal shares and up to 5,000 free groups, than that of
    scikit-learn's StratifiedGroupKFold (its dealing is one of the starts).
    """
    assert len(quantities) >= len(shares), "more blocks than groups"
    fixed = np.full(len(quantities), -1) if fixed is None else fixed
    free = fixed < 0
    if not free.any():
        return fixed.astype(np.int64)
    measure = Measure(quantities, shares)
    many = len(quantities) > MANY_GROUPS
    budget, most_patience = (EVALUATIONS_OF_MANY, 0) if many else (EVALUATIONS, PATIENCE)
    best: tuple[float, float] | None = None
    chosen, patience = fixed, most_patience
    generator = np.random.Generator(np.random.PCG64(seed))
    columns = measure.columns / np.maximum(measure.columns.sum(axis=0), 1e-9)
    alike = bool(free.all() and np.allclose(shares, shares[0]))
    by_greed = (
        greedy(columns, shares, generator, 0.3 if number else 0.0, fixed)
        for number in range(1 if many else STARTS)
    )
    with_theirs = alike and not many and quantities.images.shape[1] > 1
    theirs = [scikit_learn_blocks(quantities, len(shares))] if with_theirs else []
    starts = chain(theirs, by_greed)
    while budget > 0:
        start = next(starts, None)
        if start is None:
            patience -= 1
            if patience < 0:
                break
            start = _shaken(chosen, free, generator)
        start = _filled(start, len(shares), free)
        blocks, used = _improve(measure, start, free, generator, budget)
        for candidate in (start, blocks):  # the raw start too: the search minimises not quite J
            loads = measure.loads(candidate)
            worst = measure.deviations(loads, measure.fair).max(axis=0)
            score = (round(float(objective(worst)), 12), round(measure.spread(loads), 9))
            if best is None or score < best:
                best, chosen, patience = score, candidate, most_patience
        budget -= used
    chosen = _exchanged(chosen, measure.kinds, free, generator)
    # Blocks that are alike are numbered in the order in which their first group comes.
    return pd.factorize(chosen)[0] if alike else chosen


def deal_some(quantities: Quantities, groups: Ints, shares: Sequence[float], seed: int) -> Ints:
    """(M,) the block of each of some `groups` (M,), dealt by themselves."""
    return deal(quantities.of(groups), np.array(shares), seed)


def carved(quantities: Quantities, groups: Ints, fraction: float, seed: int) -> Ints:
    """About `fraction` of some groups that would be trained on, to validate on."""
    val: Ints = groups[deal_some(quantities, groups, [fraction, 1 - fraction], seed) == 0]
    return val


def _improve(
    measure: Measure, blocks: Ints, free: Bools, generator: np.random.Generator, budget: int
) -> tuple[Ints, int]:
    """The best of all moves and swaps of free groups, again and again, until none helps.

    Returns the new blocks and how many moves were looked at (at most about `budget`).
    """
    blocks, used, failed, num_blocks = blocks.copy(), 0, 0, len(measure.fair)
    movable, kinds = np.flatnonzero(free), measure.kinds[free]
    loads = measure.loads(blocks)
    counts = np.bincount(blocks, minlength=num_blocks)
    while used < budget and failed < 2:
        places = blocks[movable] * (int(measure.kinds.max()) + 1) + kinds
        distinct = movable[np.unique(places, return_index=True)[1]]  # one of a kind in each block
        one, other, is_sample = _moves(distinct, len(blocks), num_blocks, generator)
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
        loads = measure.loads(blocks)
    return blocks, used


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
    return objective(norms)


def _exchanged(blocks: Ints, kinds: Ints, free: Bools, generator: np.random.Generator) -> Ints:
    """Free groups that bring the same change places by chance.

    Nothing gets less even, who sits with whom does not follow the order of ids, and another seed
    is another plan wherever that is possible.
    """
    in_order = np.flatnonzero(free)
    by_chance = generator.permutation(in_order)
    one, other = (some[np.argsort(kinds[some], kind="stable")] for some in (by_chance, in_order))
    exchanged = blocks.copy()
    exchanged[one] = blocks[other]
    return exchanged


def _shaken(blocks: Ints, free: Bools, generator: np.random.Generator) -> Ints:
    """A few free groups change places among themselves (iterated local search)."""
    shaken = blocks.copy()
    movable = np.flatnonzero(free)
    some = generator.choice(movable, min(SHAKEN, len(movable)), replace=False)
    shaken[some] = blocks[generator.permutation(some)]
    return shaken


def greedy(
    columns: Floats, shares: Floats, generator: np.random.Generator, jitter: float, fixed: Ints
) -> Ints:
    """(G,) blocks: largest groups first, each to where it evens out most.

    `columns` (G, K) are shares of the whole. Minimises the sum over blocks b and columns of
    (load - share_b)^2 / share_b; adding x to block b changes it by (2 l.x + x.x) / share_b - 2 x.1.
    `jitter` is the SD of a factor (log scale) on the sizes that order the groups.
    """
    size = np.linalg.norm(columns, axis=1)
    shuffled = generator.permutation(len(columns))
    noise = np.exp(jitter * generator.standard_normal(len(columns)))
    order = shuffled[np.argsort(-(size * noise)[shuffled].round(12), kind="stable")]
    load = np.zeros((len(shares), columns.shape[1]))
    blocks = fixed.copy()
    np.add.at(load, fixed[fixed >= 0], columns[fixed >= 0])
    inverse, squares = 1 / shares, (columns**2).sum(axis=1)
    for group in order[blocks[order] < 0]:
        x = columns[group]
        block = int(((2 * (load @ x) + squares[group]) * inverse).round(12).argmin())
        blocks[group] = block
        load[block] += x
    return blocks.astype(np.int64)


def scikit_learn_blocks(quantities: Quantities, num_blocks: int) -> Ints:
    """(G,) the blocks of StratifiedGroupKFold without shuffling, groups in their order."""
    from sklearn.model_selection import StratifiedGroupKFold

    counts = quantities.images.astype(np.int64)
    cells = np.indices(counts.shape).reshape(2, -1)
    groups, labels = np.repeat(cells, counts.ravel(), axis=1)
    blocks = np.zeros(len(counts), np.int64)
    if counts.sum(axis=0).max() < num_blocks:
        return blocks  # it refuses; the search begins with everything in one block
    splitter = StratifiedGroupKFold(num_blocks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rare classes, which the plan's own check reports
        for block, (_, test) in enumerate(splitter.split(labels, labels, groups)):
            blocks[groups[test]] = block
    return blocks


def _filled(blocks: Ints, num_blocks: int, free: Bools) -> Ints:
    """No block stays empty: it gets a free group of the fullest block that has one."""
    blocks = blocks.copy()
    for block in range(num_blocks):
        counts = np.bincount(blocks, minlength=num_blocks)
        if not counts[block]:
            movable = np.flatnonzero(free)[::-1]
            blocks[movable[counts[blocks[movable]].argmax()]] = block
    return blocks
