"""A split that was made elsewhere, as one long table: row, fold, part."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.arrays import Ints
from pipeline.errors import UserError
from pipeline.splits.given.words import NEVER_TESTED, NO_WORDS, PARTS, Words, meanings
from pipeline.words import counted, listed

PLACES = pd.CategoricalDtype([*PARTS, "locked"])
_KFOLD_PART: dict[str | int, str] = {NEVER_TESTED: "train"}


@dataclass(frozen=True)
class GivenSplit:
    """A split made elsewhere."""

    source: str
    """Which column or file, and how its names were matched."""
    table: pd.DataFrame
    """`row` of `Manifest.table`, `fold` and `part` (categories): each line once, sorted.

    A k-fold lists the fold that tests a row; rows that are never tested are in train of fold -1.
    """
    folds: Mapping[str, tuple[str, ...]]
    """The parts of each fold, some perhaps empty; a single split is called ""."""
    form: Literal["parts", "kfold", "nnunet", "plan"] = "parts"
    """Parts of one or several folds | blocks, each tested once after training on all others |
    nnU-Net's splits_final.json, whose folds test their val part | a plan of ours."""
    rest: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows that each fold trains on unless it validates on or tests them; not in `table`."""
    aside: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows that the file itself leaves out of every part."""
    unknown: tuple[str, ...] = ()
    """Names in the file that mean no row of the manifest."""
    doubt: str = ""
    """What could not be known of a plan without its plan.json."""

    def complete(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """What must hold every row once: each fold, or at once all blocks of a k-fold.

        Yields the fold's name and a table of `row` and `place`: its parts, or "fold 0", ...
        """
        if self.form == "kfold":
            place = self.table["fold"].cat.rename_categories(lambda number: f"fold {number}")
            yield "", pd.DataFrame({"row": self.table["row"], "place": place})
            return
        for fold, named in self.table.groupby("fold", observed=False):
            placed = named[["row", "part"]].rename(columns={"part": "place"})
            if len(self.rest):
                others = placed.loc[placed["place"] != "locked", "row"]
                train = self.rest[~np.isin(self.rest, others)]
                first = pd.Categorical(["train"], dtype=PLACES).repeat(len(train))
                placed = pd.concat([pd.DataFrame({"row": train, "place": first}), placed])
            yield str(fold), placed

    def unknown_names(self) -> str:
        """The unknown names in words, "" for none."""
        num = f"{counted(len(self.unknown), 'name')} of {self.source} not in the manifest"
        text = f"{num}, or of several of its patients: {listed(self.unknown)}"
        return text if self.unknown else ""


def long_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The table of a split from its lines in any order, also repeated; a blank part is no part."""
    table = rows[["row", "fold", "part"]].dropna().drop_duplicates()
    return table.astype({"row": np.int32}).sort_values(["fold", "part", "row"], ignore_index=True)


def split_by_value(
    source: str,
    where: str,
    rows: Ints,
    values: pd.Categorical,
    words: Words = NO_WORDS,
    unknown: tuple[str, ...] = (),
) -> GivenSplit:
    """One split with parts, or a k-fold, as the `values` (M,) of the `rows` (M,) say.

    The rows may come in any order, and several times. `source` is what was read, `where` the
    setting that named it, `words` are audit.words. UserError: unknown values, numbers that cannot
    be folds, or words and numbers in one column.
    """
    meaning = meanings(where, values.categories.tolist(), words)
    found = set(meaning.values())
    numbers = sorted(part for part in found if isinstance(part, int))
    named = tuple(part for part in PARTS if part in found)
    if numbers and named:
        raise UserError(
            f"{where}: holds both fold numbers ({listed(list(map(str, numbers)))}) and words "
            f"({listed(named)}); use one kind."
        )
    names = list(map(str, numbers)) or [""]
    fold_of = [None if p is None else "" if named else str(p) for p in meaning.values()]
    part_of = [p if named or p is None else _KFOLD_PART.get(p, "test") for p in meaning.values()]
    fold = pd.Categorical(fold_of, categories=names).take(values.codes)
    part = pd.Categorical(part_of, dtype=PLACES).take(values.codes)
    table = long_table(pd.DataFrame({"row": rows, "fold": fold, "part": part}))
    if named:
        return GivenSplit(source, table, {"": named}, unknown=unknown)
    folds = {str(number): ("train", "test") for number in numbers if number != NEVER_TESTED}
    rest = np.unique(table["row"].to_numpy(np.int64))
    return GivenSplit(source, table, folds, "kfold", rest, unknown=unknown)
