"""Read a plan.csv of ours as if somebody else had made it: it may have been edited since."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.arrays import Ints
from pipeline.errors import UserError
from pipeline.manifest import Manifest
from pipeline.splits.folds import LeakageError
from pipeline.splits.given.given_split import PLACES, GivenSplit, long_table
from pipeline.splits.given.names import MatchedNames
from pipeline.splits.plan_file import purged_images

MOST_DIGITS = 9
STATES = ("locked", "purged")


def read_plan(
    manifest: Manifest, path: Path, where: str, names: MatchedNames, records: pd.DataFrame
) -> GivenSplit:
    """In the folds that `fold` names a patient is tested, in those of `val_fold` it validates.

    Images that the plan.json beside it has as purged are in no part; `doubt` says when that file
    is missing or does not fit.

    Raises:
        UserError: for a cell that names no fold.
    """
    purged, doubt = _purged_rows(manifest, path)
    used = names.with_rows(records[["name", "fold", "val_fold"]])
    state = used["fold"].astype(object).where(used["fold"].isin(STATES), "")
    wholly = used.loc[state == "purged", "row"]
    used = used[~used["row"].isin(purged)]
    rows = pd.concat(
        [
            used.merge(_folds_of(where, used["fold"].array.categories, "fold", "test")),
            used.merge(_folds_of(where, used["val_fold"].array.categories, "val_fold", "val")),
        ]
    )
    if not len(rows):
        raise UserError(f"{where}: every row is blank; allowed are fold numbers (0, 1, ...).")
    numbers = pd.DataFrame({"number": np.unique(rows["number"])})
    locked = used.loc[state == "locked", ["row"]].merge(numbers, how="cross")
    rows = pd.concat([rows, locked.assign(part="locked")])
    folds = list(map(str, numbers["number"]))
    place = np.searchsorted(numbers["number"], rows["number"])
    fold = pd.Categorical.from_codes(place, dtype=pd.CategoricalDtype(folds))
    table = long_table(rows.assign(fold=fold, part=rows["part"].astype(PLACES)))
    validates = any(records["val_fold"].array.categories)
    parts = ("train", *["val"] * validates, "test", *["locked"] * bool(len(locked)))
    return GivenSplit(
        f"{path.name} ({names.kind})",
        table,
        dict.fromkeys(folds, parts),
        form="plan",
        rest=np.unique(used.loc[state == "", "row"]),
        aside=np.union1d(wholly, purged),
        unknown=names.unknown,
        doubt=doubt,
    )


def _folds_of(where: str, cells: "pd.Index[str]", column: str, part: str) -> pd.DataFrame:
    """Each fold `number` that a cell of the column names: its rows are in that part there."""
    named = [(cell, number) for cell in cells if column != "fold" or cell not in STATES
             for number in cell.split()]  # fmt: skip
    for cell, number in named:
        if not number.isdecimal() or len(number) > MOST_DIGITS:
            raise UserError(f"{where}: a fold must be 0, 1, ..., got {cell!r}.")
    return pd.DataFrame({
        column: pd.Categorical([cell for cell, _ in named], categories=cells),
        "number": np.array([int(number) for _, number in named], np.int64),
        "part": part,
    })  # fmt: skip


def _purged_rows(manifest: Manifest, path: Path) -> tuple[Ints, str]:
    """The rows that the plan.json calls purged, or none and why they are not known."""
    try:
        purged = purged_images(path)
    except LeakageError as error:
        doubt = f"{error} So images that it purged, if any, are counted in their patient's part."
        return np.empty(0, np.int64), doubt
    return np.flatnonzero(manifest.table["image_path"].isin(purged).to_numpy()), ""
