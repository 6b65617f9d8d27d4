"""Deal leakage groups to blocks: greedy and scikit-learn's starts, then a bounded local search."""

import warnings
from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.arrays import Bools, Floats, Ints
from pipeline.splits.dealing.balance import Measure, Quantities
from pipeline.splits.dealing.local_search import improve

MANY_GROUPS = 5000
"""Above this many groups: one greedy start, a short search, no start of scikit-learn's."""
EVALUATIONS, EVALUATIONS_OF_MANY = 3_000_000, 400_000
"""How many moves the search may look at. A count, not a time: the same on every machine."""
STARTS, PATIENCE = 8, 24
"""Greedy starts; then the best dealing is shaken until so many times in a row did not help."""
SHAKEN = 8
"""Groups that change places in one kick."""


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
    starts = _starts(quantities, measure, shares, generator, fixed)
    while budget > 0:
        start = next(starts, None)
        if start is None:
            patience -= 1
            if patience < 0:
                break
            start = _shaken(chosen, free, generator)
        blocks, used = improve(measure, start, len(shares), free, generator, budget)
        for candidate in (start, blocks):  # the raw start too: the search minimises not quite J
            loads = measure.loads(candidate, len(shares))
            worst = measure.deviations(loads, measure.fair).max(axis=0)
            score = (round(float(measure.objective(worst)), 12), round(measure.spread(loads), 9))
            if best is None or score < best:
                best, chosen, patience = score, candidate, most_patience
        budget -= used
    chosen = _exchanged(chosen, measure.kinds, free, generator)
    return _relabelled(chosen) if free.all() and _are_equal(shares) else chosen


def deal_some(quantities: Quantities, groups: Ints, shares: Iterable[float], seed: int) -> Ints:
    """(M,) the block of each of some `groups` (M,), dealt by themselves."""
    some = Quantities(
        quantities.images[groups], quantities.patients[groups], quantities.num_patients[groups]
    )
    return deal(some, np.array(list(shares)), seed)


def carved(quantities: Quantities, groups: Ints, fraction: float, seed: int) -> Ints:
    """About `fraction` of some groups that would be trained on, to validate on."""
    val: Ints = groups[deal_some(quantities, groups, [fraction, 1 - fraction], seed) == 0]
    return val


def _exchanged(blocks: Ints, kinds: Ints, free: Bools, generator: np.random.Generator) -> Ints:
    """Free groups that bring the same change places by chance.

    Nothing gets less even, who sits with whom does not follow the order of ids, and another seed
    is another plan wherever that is possible.
    """
    movable = generator.permutation(np.flatnonzero(free))
    by_chance = movable[np.argsort(kinds[movable], kind="stable")]
    in_order = np.sort(movable)
    in_order = in_order[np.argsort(kinds[in_order], kind="stable")]
    exchanged = blocks.copy()
    exchanged[by_chance] = blocks[in_order]
    return exchanged


def _shaken(blocks: Ints, free: Bools, generator: np.random.Generator) -> Ints:
    """A few free groups change places among themselves (iterated local search)."""
    shaken = blocks.copy()
    movable = np.flatnonzero(free)
    some = generator.choice(movable, min(SHAKEN, len(movable)), replace=False)
    shaken[some] = blocks[generator.permutation(some)]
    return shaken


def _starts(
    quantities: Quantities,
    measure: Measure,
    shares: Floats,
    generator: np.random.Generator,
    fixed: Ints,
) -> Iterator[Ints]:
    num_blocks, free = len(shares), fixed < 0
    many = len(fixed) > MANY_GROUPS
    if free.all() and _are_equal(shares) and not many and quantities.images.shape[1] > 1:
        yield _filled(scikit_learn_blocks(quantities, num_blocks), num_blocks, free)
    columns = measure.columns / np.maximum(measure.columns.sum(axis=0), 1e-9)
    for number in range(1 if many else STARTS):
        jitter = 0.0 if number == 0 else 0.3
        yield _filled(greedy(columns, shares, generator, jitter, fixed), num_blocks, free)


def _are_equal(shares: Floats) -> bool:
    return bool(np.allclose(shares, shares[0]))


def greedy(
    columns: Floats,
    shares: Floats,
    generator: np.random.Generator,
    jitter: float = 0.0,
    fixed: Ints | None = None,
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
    blocks = np.full(len(columns), -1) if fixed is None else fixed.copy()
    held = np.flatnonzero(blocks >= 0)
    np.add.at(load, blocks[held], columns[held])
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
    num_groups, num_classes = counts.shape
    groups = np.repeat(np.repeat(np.arange(num_groups), num_classes), counts.ravel())
    labels = np.repeat(np.tile(np.arange(num_classes), num_groups), counts.ravel())
    blocks = np.zeros(num_groups, np.int64)
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
            movable = np.flatnonzero(free)
            blocks[movable[::-1][counts[blocks[movable[::-1]]].argmax()]] = block
    return blocks


def _relabelled(blocks: Ints) -> Ints:
    """Blocks numbered in the order in which their first group comes."""
    _, first, inverse = np.unique(blocks, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[inverse].astype(np.int64)
