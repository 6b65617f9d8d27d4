"""Read a CSV that says who is in which fold or part, whatever its columns are called."""

import re
from pathlib import Path

import numpy as np

from pipeline.config import UserError
from pipeline.manifest import Manifest
from pipeline.splits.given.cells import Cells, read_cells
from pipeline.splits.given.given_split import (
    GivenSplit,
    Numbers,
    PartRows,
    Round,
    numbered,
    split_by_value,
)
from pipeline.splits.given.names import NameMatcher
from pipeline.splits.given.our_plan import read_plan
from pipeline.splits.given.words import ALLOWED, PARTS, meanings
from pipeline.words import listed


def read_csv(manifest: Manifest, path: Path, where: str, text: str) -> GivenSplit:
    """The split in the text of a CSV: parts or folds of patients or images, or our plan.csv.

    Raises:
        UserError: when it has not the columns, cells or words of a split, or no known names.
    """
    cells = read_cells(where, text)
    keys = [what for what in ("image", "patient") if what in cells]
    matchers = {key: NameMatcher(manifest, cells[key].values, key == "image") for key in keys}
    key = max(keys, key=lambda key: matchers[key].share_known)
    matcher, names = matchers[key], cells[key].codes
    matcher.check(where)
    if "val_fold" in cells and "fold" in cells:
        return read_plan(manifest, path, where, matcher, names, cells)
    source = f"{path.name} ({matcher.kind})"
    if "fold" in cells and "part" in cells:
        rounds = _long_form(where, matcher, names, cells, len(manifest))
        return GivenSplit(source, rounds, unknown=matcher.unknown)
    column = cells["part" if "part" in cells else "fold"]
    rows, index = matcher.rows(names)
    codes = column.codes[index]
    return split_by_value(source, where, rows, codes, column.values, matcher.unknown)


def _long_form(
    where: str, matcher: NameMatcher, names: Numbers, cells: Cells, num_rows: int
) -> tuple[Round, ...]:
    """One line for each fold and patient, with the part it has there."""
    part = _parts(where, cells)
    spelled = [re.sub(r"^fold[\s_-]*", "", v, flags=re.IGNORECASE) for v in cells["fold"].values]
    code, folds = numbered(spelled)
    fold = code[cells["fold"].codes]
    if "" in folds:
        num_blank = int((fold == folds.index("")).sum())
        raise UserError(f"{where}: fold is blank for {num_blank:,} of {len(fold):,} rows.")
    if len(folds) > 1 and len(np.unique(names * len(folds) + fold)) == names.max() + 1:
        raise UserError(
            f"{where}: has a fold and a part column but names nobody in two folds, so it is no "
            "list of each fold's parts; keep only one of the two columns."
        )
    order = np.argsort(fold, kind="stable")
    records = np.split(order, np.searchsorted(fold[order], np.arange(1, len(folds))))
    rounds = []
    for name, those in sorted(zip(folds, records, strict=True), key=lambda f: (len(f[0]), f[0])):
        listed_parts = {p: those[part[those] == i] for i, p in enumerate(PARTS)}
        # A fold of blanks keeps its train part, so that it is told as empty.
        rows = {p: matcher.rows(names[listed_parts[p]])[0] for p in PARTS
                if p == "train" or len(listed_parts[p])}  # fmt: skip
        rounds.append(Round(name, PartRows(num_rows, rows)))
    return tuple(rounds)


def _parts(where: str, cells: Cells) -> Numbers:
    """(M,) place in PARTS of each record's part, -1 for a blank."""
    meaning = meanings(where, cells["part"].values)
    if odd := [value for value, part in meaning.items() if isinstance(part, int)]:
        raise UserError(
            f"{where}: unknown part {listed(sorted(odd))}; beside a fold column {ALLOWED}."
        )
    place = {part: i for i, part in enumerate(PARTS)}
    of_value = [place.get(str(meaning[value]), -1) for value in cells["part"].values]
    return np.array(of_value, np.int64)[cells["part"].codes]
