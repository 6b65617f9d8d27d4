"""Read a CSV that says who is in which fold or part, whatever its columns are called."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.config import UserError
from pipeline.manifest import Manifest
from pipeline.splits.given.given_split import (
    ALLOWED,
    PARTS,
    ForeignSplit,
    Round,
    counted,
    listed,
    meanings,
    numbered,
    split_by_value,
)
from pipeline.splits.given.names import NameMatcher

_COLUMNS: dict[str, tuple[str, ...]] = {
    "image": ("imagepath", "image", "path", "filepath", "filename", "file", "imageid", "img"),
    "patient": ("patientid", "patient", "pid", "subjectid", "subject", "participantid", "caseid",
                "case", "id"),
    "fold": ("fold", "foldid", "foldnumber", "cvfold", "kfold", "testfold", "block"),
    "part": ("part", "split", "subset", "set", "partition", "phase"),
    "val_fold": ("valfold",),
}  # fmt: skip
MOST_DIGITS = 9
Cells = Mapping[str, Sequence[str]]
"""The columns that we know, each (M,) cells."""


def read_csv(manifest: Manifest, name: str, where: str, text: str) -> ForeignSplit:
    """The split in the text of a CSV: parts or folds of patients or images, or our plan.csv.

    Raises:
        UserError: when it has not the columns, cells or words of a split, or no known names.
    """
    cells = _read_cells(where, text)
    keys = [what for what in ("image", "patient") if what in cells]
    matchers = {key: NameMatcher(manifest, cells[key]) for key in keys}
    key = max(keys, key=lambda key: matchers[key].num_known / matchers[key].num_names)
    matcher, names = matchers[key], cells[key]
    matcher.check(where, names)
    source = f"{name} ({matcher.kind})"
    if "val_fold" in cells and "fold" in cells:
        return _our_plan(where, source, matcher, cells)
    if "fold" in cells and "part" in cells:
        return _long_form(where, source, matcher, cells)
    codes, values = numbered(cells["part" if "part" in cells else "fold"])
    rows, index = matcher.rows(matcher.codes)
    return split_by_value(source, where, rows, codes[index], values, matcher.unknown)


def _read_cells(where: str, text: str) -> Cells:
    """The columns that we know, without the space around a cell."""
    separator = max(",;\t|", key=text.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records: list[list[str]] = []
    lines: list[int] = []
    try:
        for record in reader:
            if record or not records:
                records.append(record)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{where}: line {reader.line_num}: badly quoted ({error}).") from None
    header = records[0] if records else []
    column = _find_columns(where, header)
    ragged = [i for i, record in enumerate(records) if len(record) != len(header)]
    if ragged:
        others = counted(len(ragged) - 1, "more line")
        more = f"; {others} of a wrong length" if len(ragged) > 1 else ""
        raise UserError(
            f"{where}: line {lines[ragged[0]]} has {len(records[ragged[0]])} cells, the header "
            f"has {len(header)}{more}."
        )
    if len(records) < 2:
        raise UserError(f"{where}: has no rows below its header.")
    return {what: [record[i].strip() for record in records[1:]] for what, i in column.items()}


def _our_plan(where: str, source: str, matcher: NameMatcher, cells: Cells) -> ForeignSplit:
    """A plan.csv: in the folds it names a patient is tested, in val_fold it validates."""
    states = {"locked": 1, "purged": 2}
    state = np.array([states.get(cell, 0) for cell in cells["fold"]])
    folds = ["" if cell in states else cell for cell in cells["fold"]]
    records, numbers, parts = [], [], []
    for part, column in enumerate((folds, cells["val_fold"])):
        for record, cell in enumerate(column):
            for number in cell.split():
                if not number.isdecimal() or len(number) > MOST_DIGITS:
                    raise UserError(f"{where}: a fold must be 0, 1, ..., got {cell!r}.")
                records.append(record)
                numbers.append(int(number))
                parts.append(part)
    if not records:
        raise UserError(f"{where}: every row is blank; allowed are fold numbers (0, 1, ...).")
    found, fold = np.unique(np.array(numbers, np.int64), return_inverse=True)
    which = matcher.codes[np.array(records, np.int64)]
    rows = matcher.rows_of_each(which, 2 * fold + np.array(parts), 2 * len(found))
    everyone, locked, purged = matcher.rows_of_each(matcher.codes, state, 3)
    rounds = []
    for i, number in enumerate(found):
        test, val = rows[2 * i], rows[2 * i + 1]
        named = {"train": np.setdiff1d(everyone, np.concatenate([test, val]))}
        named |= {"val": val} if any(cells["val_fold"]) else {}
        named |= {"test": test} | ({"locked": locked} if len(locked) else {})
        rounds.append(Round(str(number), named))
    return ForeignSplit(source, tuple(rounds), aside=purged, unknown=matcher.unknown)


def _long_form(where: str, source: str, matcher: NameMatcher, cells: Cells) -> ForeignSplit:
    """One line for each fold and patient, with the part it has there."""
    meaning = meanings(where, dict.fromkeys(cells["part"]))
    if odd := [value for value, part in meaning.items() if isinstance(part, int)]:
        raise UserError(
            f"{where}: unknown part {listed(sorted(odd))}; beside a fold column {ALLOWED}."
        )
    order = {part: i for i, part in enumerate(PARTS)}
    part = np.array([order.get(str(meaning[value]), -1) for value in cells["part"]])
    names = [re.sub(r"^fold[\s_-]*", "", cell, flags=re.IGNORECASE) for cell in cells["fold"]]
    fold, folds = numbered(names)
    if "" in folds:
        raise UserError(f"{where}: fold is blank for {names.count(''):,} of {len(names):,} rows.")
    if (
        len(folds) > 1
        and len(np.unique(matcher.codes * len(folds) + fold)) == matcher.codes.max() + 1
    ):
        raise UserError(
            f"{where}: has a fold and a part column but names nobody in two folds, so it is no "
            "list of each fold's parts; keep only the column to be audited."
        )
    used = part >= 0
    codes = (len(PARTS) * fold + part)[used]
    rows = matcher.rows_of_each(matcher.codes[used], codes, len(PARTS) * len(folds))
    # A fold of blanks keeps its train part, so that it is told as empty.
    present = {*codes.tolist(), *range(0, len(PARTS) * len(folds), len(PARTS))}
    rounds = [
        Round(name, {p: rows[len(PARTS) * f + i] for p, i in order.items()
                     if len(PARTS) * f + i in present})
        for f, name in sorted(enumerate(folds), key=lambda pair: (len(pair[1]), pair[1]))
    ]  # fmt: skip
    return ForeignSplit(source, tuple(rounds), unknown=matcher.unknown)


def _find_columns(where: str, header: Sequence[str]) -> dict[str, int]:
    """Where the file names patients or images, and folds or parts."""
    plain = [re.sub(r"[\W_]+", "", name.casefold()) for name in header]
    found = {
        what: plain.index(name)
        for what, names in _COLUMNS.items()
        for name in [next((n for n in names if n in plain), "")]
        if name
    }
    if not found.keys() & {"image", "patient"} or not found.keys() & {"fold", "part"}:
        raise UserError(
            f"{where}: needs a column patient_id or image_path, and a column fold or part (or "
            f"split); its columns are {listed(header, len(header)) or 'none'}."
        )
    return found
