"""Each fold tests one patient, or one value of a column, and validates on a part of the rest."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.arrays import Ints
from pipeline.config import SplitConfig, UserError
from pipeline.manifest import Manifest
from pipeline.manifest.ids import spelled_alike
from pipeline.splits.dealing.counts import cells_of
from pipeline.splits.dealing.deal import carved, deal_some
from pipeline.splits.folds import Fold
from pipeline.splits.schemes.scheme import Groups, Rounds, Scheme
from pipeline.words import and_more, counted, listed

MOST_FOLDS = 1000
MOST_DEALT_ANEW = 20
"""Up to so many folds, each fold's validation part is dealt anew; above, all are dealt once."""
SHOWN = 12


def _rounds(groups: Groups, split: SplitConfig) -> Rounds:
    free = groups.free
    units = _units(groups, split.leave_out)[free]
    numbers, sizes = np.unique(units, return_counts=True)
    if not 2 <= len(numbers) <= MOST_FOLDS:
        raise UserError(
            f"split.scheme=leave_one_out: split.leave_out={split.leave_out} gives "
            f"{counted(len(numbers), 'fold')}; 2 to {MOST_FOLDS:,} are allowed (patients that are "
            "linked count once)."
        )
    if (num_left := len(free) - int(sizes.max())) < 2:
        raise UserError(
            f"split.scheme=leave_one_out: without one value of {split.leave_out!r}, "
            f"{counted(num_left, 'independent patient')} would be left; 2 are needed, to train and "
            "to validate."
        )
    parts = _dealt_anew if len(numbers) <= MOST_DEALT_ANEW else _dealt_once
    for unit, val in zip(numbers, parts(groups, units, split), strict=True):
        yield free[units == unit], val


def _dealt_anew(groups: Groups, units: Ints, split: SplitConfig) -> Iterator[Ints]:
    """For each unit a validation part out of all others."""
    for unit in np.unique(units):
        others = groups.free[units != unit]
        yield carved(groups.quantities, others, split.val_fraction, split.seed)


def _dealt_once(groups: Groups, units: Ints, split: SplitConfig) -> Iterator[Ints]:
    """For each unit some of the blocks of one dealing, in turn, without the unit itself."""
    free = groups.free
    num_val, num_blocks = _as_blocks(split.val_fraction, len(free))
    partition = deal_some(groups.quantities, free, [1 / num_blocks] * num_blocks, split.seed)
    for number, unit in enumerate(np.unique(units)):
        turned = (np.arange(num_blocks) + number) % num_blocks
        rest = units != unit
        # The first blocks may hold nobody but the unit.
        lasts = range(num_val, num_blocks + 1)
        parts = (free[np.isin(partition, turned[:last]) & rest] for last in lasts)
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


def _units(groups: Groups, asked: str) -> Ints:
    """(G,) number of what is left out together: groups that share a value, in order of names."""
    names = groups.names
    if asked == "patient":
        return np.arange(len(names))
    samples, cells = groups.manifest.samples, _cells(groups.manifest, asked)
    if (blank := cells == "").any():
        lines = samples.loc[blank, "line"].astype(str).tolist() if "line" in samples else []
        where = f", on line {and_more(lines[:3], len(lines))}" if lines else ""
        raise UserError(f"split.leave_out: column {asked!r} is blank{where}; fill it in.")
    for spellings in spelled_alike(cells.unique()):
        raise UserError(
            f"split.leave_out: column {asked!r} spells one value several ways: "
            f"{listed(spellings)}. Each would be a fold that is trained on the others; write it "
            "one way."
        )
    code = pd.Index(names).get_indexer(pd.Index(samples["group"]))
    values, found = pd.factorize(cells, sort=True)
    size = len(found) + len(names)
    links = coo_array((np.ones(len(code)), (values, len(found) + code)), shape=(size, size))
    component = connected_components(links, directed=False)[1]
    numbers = pd.factorize(component)[0].astype(np.int64)  # in the order of the sorted values
    return np.asarray(numbers[len(found) :])


def _cells(manifest: Manifest, asked: str) -> pd.Series:
    return cells_of(manifest, asked, "split.leave_out", "patient, or ").str.strip()


def _lines(folds: Sequence[Fold], manifest: Manifest, split: SplitConfig) -> list[str]:
    """Which values each fold tests; several where a patient or a link has them all."""
    if not manifest.column(split.leave_out):
        return []
    tested_in = {patient: fold.index for fold in folds for patient in fold.test}
    fold_of = manifest.samples["patient_id"].map(tested_in)
    found = _cells(manifest, split.leave_out).groupby(fold_of).unique()
    shown = [f"{fold:.0f} {' with '.join(map(repr, sorted(v)))}" for fold, v in found.items()]
    lines = [f"  fold tests {split.leave_out}: {and_more(shown[:SHOWN], len(shown))}"]
    if any(len(values) > 1 for values in found):
        lines.append("  (values in one fold share a patient or a leakage group)")
    return lines


SCHEME = Scheme(
    name="leave_one_out",
    words="each fold tests one unit and validates on a part of the rest",
    rounds=_rounds,
    tests_everybody=True,
    remedy="leave out something else (split.leave_out), or use split.scheme=kfold",
    lines=_lines,
)
