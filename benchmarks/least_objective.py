"""A J (pipeline/splits/dealing/balance.py) that no dealing can beat, proved by integer programs.

For cohorts in which every patient has one class, like HAM10000's lesions. A tighter bound than the
plan's own floor, and too slow for it: only here, to tell a weak search from an impossible wish.
"""

import itertools

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from pipeline.arrays import Floats
from pipeline.splits.dealing.balance import SIZE_WEIGHT, Quantities, floor

Kinds = tuple[Floats, Floats]
"""Images a patient of a class may have, and how many patients have so many."""


def least_objective(quantities: Quantities, num_blocks: int) -> float:
    """The smallest a + b for which every rare class, by itself, can be dealt to blocks that are
    off by at most a of their images and b of their patients.

    The classes have no patient in common, so that a dealing of all is one of each. A block of
    another size moves a class's share by less than the size costs in J where the class is rarer
    than SIZE_WEIGHT; larger classes are left out, which only lowers the bound.
    """
    images = quantities.images
    assert ((images > 0).sum(axis=1) == 1).all(), "every patient has one class"
    per_block = np.array([images.sum(), len(images)]) / num_blocks
    shares = images.sum(axis=0) / images.sum(), (images > 0).mean(axis=0)
    rare = np.flatnonzero(np.maximum(*shares) < 0.9 * SIZE_WEIGHT)
    kinds = [_kinds(column[column > 0]) for column in images.T[rare]]
    best = floor(quantities, np.full(num_blocks, 1 / num_blocks))
    images_off = _deviations([float(sizes @ counts) for sizes, counts in kinds], num_blocks)
    patients_off = _deviations([counts.sum() for _, counts in kinds], num_blocks)
    sums = sorted(
        (a / per_block[0] + b / per_block[1], a, b)
        for a, b in itertools.product(images_off, patients_off)
    )
    possible = next(s for s, a, b in sums if all(_can_be_dealt(k, a, b, num_blocks) for k in kinds))
    return float(max(best, possible))


def _kinds(images: Floats) -> Kinds:
    sizes, counts = np.unique(images, return_counts=True)
    return sizes, counts.astype(float)


def _deviations(totals: list[float], num_blocks: int) -> list[float]:
    """By how much a whole number can be off the fair share of any of the totals."""
    found = {
        round(abs(number - total / num_blocks), 9)
        for total in totals
        for number in range(int(total) + 1)
    }
    return sorted(found)


def _can_be_dealt(kinds: Kinds, images_off: float, patients_off: float, num_blocks: int) -> bool:
    """Is there a dealing of one class whose blocks are off by no more?"""
    sizes, counts = kinds
    rows, low, high = [], [], []
    for kind, count in enumerate(counts):  # every patient is dealt
        rows.append((np.arange(len(sizes)) == kind)[:, None] * np.ones(num_blocks))
        low.append(count)
        high.append(count)
    for block in range(num_blocks):
        here = (np.arange(num_blocks) == block) * np.ones((len(sizes), 1))
        for each, off in ((sizes, images_off), (np.ones(len(sizes)), patients_off)):
            rows.append(here * each[:, None])
            fair = each @ counts / num_blocks
            low.append(np.ceil(fair - off - 1e-6))
            high.append(np.floor(fair + off + 1e-6))
    if (np.array(low) > np.array(high)).any():
        return False
    table = np.array([row.ravel() for row in rows])
    found = milp(
        np.zeros(table.shape[1]),
        constraints=LinearConstraint(table, low, high),
        integrality=np.ones(table.shape[1]),
        bounds=Bounds(0, np.repeat(counts, num_blocks)),
    )
    assert found.status in (0, 2), found.message  # solved, or proved to be impossible
    return bool(found.status == 0)
