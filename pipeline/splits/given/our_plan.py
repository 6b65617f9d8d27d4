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


def read_plan(
    manifest: Manifest, path: Path, where: str, names: MatchedNames, records: pd.DataFrame
) -> GivenSplit:
    """In the folds that `fold` names a patient is tested, in those of `val_fold` it validates.

    Images that the plan.json beside it has as purged are in no part; `doubt` says when that file
    is missing or does not fit. UserError: a cell names no fold.
    """
    purged, doubt = _purged_rows(manifest, path)
    used = names.with_rows(records[["name", "fold", "val_fold"]].astype({"fold": object}))
    wholly = used.loc[used["fold"] == "purged", "row"]
    used = used[~used["row"].isin(purged)]
    dealt = ~used["fold"].isin(["locked", "purged"])
    rows = pd.concat(
        [
            used[["row"]].assign(cell=used["fold"].where(dealt, ""), part="test"),
            used[["row"]].assign(cell=used["val_fold"].astype(object), part="val"),
        ]
    )
    rows = rows.assign(number=rows["cell"].str.split()).explode("number").dropna()
    wrong = rows.loc[~rows["number"].str.fullmatch(r"\d{1,9}").astype(bool), "cell"]
    if len(wrong):
        raise UserError(f"{where}: a fold must be 0, 1, ..., got {wrong.iloc[0]!r}.")
    if not len(rows):
        raise UserError(f"{where}: every row is blank; allowed are fold numbers (0, 1, ...).")
    rows = rows.astype({"number": np.int64})
    locked = used.loc[used["fold"] == "locked", ["row"]].assign(part="locked")
    rows = pd.concat([rows, locked.merge(rows[["number"]].drop_duplicates(), how="cross")])
    fold = pd.Categorical(rows["number"]).rename_categories(str)
    validates = any(records["val_fold"].array.categories)
    parts = ("train", *["val"] * validates, "test", *["locked"] * bool(len(locked)))
    return GivenSplit(
        f"{path.name} ({names.kind})",
        long_table(rows.assign(fold=fold, part=rows["part"].astype(PLACES))),
        dict.fromkeys(fold.categories, parts),
        form="plan",
        rest=np.unique(used.loc[dealt, "row"]),
        aside=np.union1d(wholly, purged),
        unknown=names.unknown,
        doubt=doubt,
    )


def _purged_rows(manifest: Manifest, path: Path) -> tuple[Ints, str]:
    """The rows that the plan.json calls purged, or none and why they are not known."""
    try:
        purged = purged_images(path)
    except LeakageError as error:
        doubt = f"{error} So images that it purged, if any, are counted in their patient's part."
        return np.empty(0, np.int64), doubt
    return np.flatnonzero(manifest.table["image_path"].isin(purged).to_numpy()), ""
