"""Read a plan.csv of ours as if somebody else had made it: it may have been edited since."""

from pathlib import Path

import numpy as np

from pipeline.config import UserError
from pipeline.manifest import Manifest
from pipeline.splits.folds import LeakageError
from pipeline.splits.given.cells import Cells
from pipeline.splits.given.given_split import (
    GivenSplit,
    Numbers,
    PartRows,
    Round,
    Rows,
    rows_of_each,
)
from pipeline.splits.given.names import NameMatcher
from pipeline.splits.plan_file import purged_images

MOST_DIGITS = 9
STATES = {"locked": 1, "purged": 2}


def read_plan(
    manifest: Manifest, path: Path, where: str, matcher: NameMatcher, names: Numbers, cells: Cells
) -> GivenSplit:
    """In the folds that `fold` names a patient is tested, in those of `val_fold` it validates.

    Images that the plan.json beside it has as purged are in no part; one that is missing or does
    not fit is told in `doubt`.

    Raises:
        UserError: for a cell that names no fold.
    """
    purged, doubt = _purged_rows(manifest, path)
    found, records, codes = _folds(where, cells)
    state = np.array([STATES.get(cell, 0) for cell in cells["fold"]])
    everyone, locked, wholly = (
        rows[~np.isin(rows, purged)] for rows in _of_each(matcher, names, state, 3)
    )
    listed = _of_each(matcher, names[records], codes, 2 * len(found))
    validates = any(cells["val_fold"].values)
    rounds = []
    for i, number in enumerate(found.tolist()):
        test, val = (rows[~np.isin(rows, purged)] for rows in listed[2 * i : 2 * i + 2])
        parts = {"train": everyone[~np.isin(everyone, np.concatenate([test, val]))]}
        parts |= {"val": val} if validates else {}
        parts |= {"test": test} | ({"locked": locked} if len(locked) else {})
        rounds.append(Round(str(number), PartRows(len(manifest), parts)))
    return GivenSplit(
        f"{path.name} ({matcher.kind})",
        tuple(rounds),
        form="plan",
        aside=np.union1d(wholly, purged),
        unknown=matcher.unknown,
        doubt=doubt,
    )


def _of_each(matcher: NameMatcher, names: Numbers, codes: Numbers, num: int) -> list[Rows]:
    """For each code 0 to num-1 the rows of the names (M,) that have it (M,)."""
    rows, index = matcher.rows(names)
    return rows_of_each(rows, codes[index], num)


def _folds(where: str, cells: Cells) -> tuple[Numbers, Numbers, Numbers]:
    """Each fold's number (K,); a record of the file (M,) and its place there (M,).

    The place is 2 i for the test part of the i-th fold and 2 i + 1 for its validation part.
    """
    records, numbers, parts = [], [], []
    for part, column in enumerate(("fold", "val_fold")):
        for record, cell in enumerate(cells[column]):
            if part == 0 and cell in STATES:
                continue
            for number in cell.split():
                if not number.isdecimal() or len(number) > MOST_DIGITS:
                    raise UserError(f"{where}: a fold must be 0, 1, ..., got {cell!r}.")
                records.append(record)
                numbers.append(int(number))
                parts.append(part)
    if not records:
        raise UserError(f"{where}: every row is blank; allowed are fold numbers (0, 1, ...).")
    found, fold = np.unique(np.array(numbers, np.int64), return_inverse=True)
    return found, np.array(records, np.int64), 2 * fold + np.array(parts)


def _purged_rows(manifest: Manifest, path: Path) -> tuple[Numbers, str]:
    """The rows that the plan.json calls purged, or none and why they are not known."""
    try:
        purged = purged_images(path)
    except LeakageError as error:
        doubt = f"{error} So images that it purged, if any, are counted in their patient's part."
        return np.empty(0, np.int64), doubt
    return np.flatnonzero(manifest.table["image_path"].isin(purged).to_numpy()), ""
