"""Each fold tests one patient, or one value of a column, and validates on a part of the rest."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.arrays import Ints
from pipeline.config import SplitConfig, UserError
from pipeline.manifest import Manifest
from pipeline.manifest.ids import spelled_alike
from pipeline.splits.balance import Quantities
from pipeline.splits.deal import carved, deal_some

MOST_FOLDS = 1000
DEALT_ONCE_A_FOLD = 20
"""Up to so many folds, each fold's validation part is dealt anew; then all are dealt once."""


def leave_one_out(
    manifest: Manifest, names: list[str], quantities: Quantities, free: Ints, split: SplitConfig
) -> Iterator[tuple[Ints, Ints]]:
    """Each fold's (test, val): positions of groups among `names`, of which `free` are in use.

    Raises:
        UserError: for too few patients or units, or a column that is not there or has blanks.
    """
    units = _units(manifest, names, split.leave_out)[free]
    num_units = len(np.unique(units))
    if len(free) < 3:
        raise UserError(
            f"split.scheme=leave_one_out needs 3 independent patients or more, got {len(free)}."
        )
    if not 2 <= num_units <= MOST_FOLDS:
        raise UserError(
            f"split.scheme=leave_one_out: split.leave_out={split.leave_out} gives {num_units} "
            f"fold(s); 2 to {MOST_FOLDS} are allowed (patients that are linked count once)."
        )
    if (num_left := len(free) - np.unique(units, return_counts=True)[1].max()) < 2:
        raise UserError(
            f"split.scheme=leave_one_out: without one value of {split.leave_out!r} only "
            f"{num_left} independent patient(s) are left; 2 are needed to train and validate."
        )
    parts = _dealt_anew if num_units <= DEALT_ONCE_A_FOLD else _dealt_once
    for unit, val in zip(np.unique(units), parts(quantities, free, units, split), strict=True):
        yield free[units == unit], val


def _dealt_anew(
    quantities: Quantities, free: Ints, units: Ints, split: SplitConfig
) -> Iterator[Ints]:
    """For each unit a validation part out of all others."""
    for unit in np.unique(units):
        yield carved(quantities, free[units != unit], split.val_fraction, split.seed)


def _dealt_once(
    quantities: Quantities, free: Ints, units: Ints, split: SplitConfig
) -> Iterator[Ints]:
    """For each unit some of the blocks of one dealing, in turn, without the unit itself."""
    num_val, num_blocks = _as_blocks(split.val_fraction, len(free))
    partition = deal_some(quantities, free, [1 / num_blocks] * num_blocks, split.seed)
    for number, unit in enumerate(np.unique(units)):
        turned = (np.arange(num_blocks) + number) % num_blocks
        rest = units != unit
        # The first blocks may hold nobody but the unit.
        parts = (free[np.isin(partition, turned[:last]) & rest]
                 for last in range(num_val, num_blocks + 1))  # fmt: skip
        val = next(part for part in parts if len(part))
        yield val if len(val) < rest.sum() else val[:-1]


def _as_blocks(fraction: float, num_groups: int) -> tuple[int, int]:
    """How many of how many equal blocks are about `fraction` of all."""
    near = Fraction(fraction).limit_denominator(min(20, num_groups))
    if near == 0:
        near = Fraction(1, min(round(1 / fraction), num_groups))
    if near == 1:
        near = Fraction(min(20, num_groups) - 1, min(20, num_groups))
    return near.numerator, near.denominator


def _units(manifest: Manifest, names: list[str], column: str) -> Ints:
    """(G,) number of what is left out together: groups that share a value, in order of names."""
    if column == "patient":
        return np.arange(len(names))
    samples, asked = manifest.samples, column
    column = manifest.column(asked) or ""
    if not column:
        raise UserError(
            f"split.leave_out: {manifest.path} has no column {asked!r}; use patient, or one of "
            f"{', '.join(manifest.column_names)}."
        )
    blank = samples[column].astype(str).str.strip() == ""
    if blank.any():
        lines = samples.loc[blank, "line"].head(3).tolist() if "line" in samples else []
        raise UserError(f"split.leave_out: column {asked!r} is blank, e.g. on line(s) {lines}.")
    cells = samples[column].astype(str).str.strip()
    for spellings in spelled_alike(cells.unique()):
        raise UserError(
            f"split.leave_out: column {asked!r} spells one value several ways, "
            f"{', '.join(map(repr, spellings))}, and each would be a fold that is trained on the "
            "others; write it one way."
        )
    code = pd.Index(names).get_indexer(pd.Index(samples["group"]))
    values, found = pd.factorize(cells, sort=True)
    size = len(names) + len(found)
    links = coo_array((np.ones(len(code)), (code, len(names) + values)), shape=(size, size))
    component = connected_components(links, directed=False)[1]
    order = component[len(names) :]  # numbered in the order of the sorted values
    rank = {number: i for i, number in enumerate(dict.fromkeys(order.tolist()))}
    return np.array([rank[number] for number in component[: len(names)].tolist()])
