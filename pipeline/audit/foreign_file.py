"""Read a split made elsewhere: a column of the manifest, a CSV, or nnU-Net's splits_final.json."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.audit.foreign_names import NameMatcher
from pipeline.audit.foreign_split import (
    ALLOWED,
    PARTS,
    ForeignSplit,
    Numbers,
    Round,
    listed,
    meanings,
    numbered,
    rows_of_each,
    split_by_value,
)
from pipeline.config import UserError
from pipeline.manifest import Manifest

_COLUMNS: dict[str, tuple[str, ...]] = {
    "image": ("imagepath", "image", "path", "filepath", "filename", "file", "imageid", "img"),
    "patient": ("patientid", "patient", "pid", "subjectid", "subject", "participantid", "caseid",
                "case", "id"),
    "fold": ("fold", "foldid", "foldnumber", "cvfold", "kfold", "testfold", "block"),
    "part": ("part", "split", "subset", "set", "partition", "phase"),
    "val_fold": ("valfold",),
}  # fmt: skip
Cells = Mapping[str, Sequence[str]]
"""The columns that we know, each (M,) cells."""


def read_part_column(manifest: Manifest, column: str, known_as: str) -> ForeignSplit:
    """The split that `column` of the manifest's table names; the user knows it as `known_as`.

    Raises:
        UserError: for an unknown column or unknown values.
    """
    where = f"audit.part_column={known_as}"
    known = [str(name) for name in manifest.table if name not in ("line", "group")]
    if column not in known:
        raise UserError(
            f"{where}: {manifest.path} has no such column; its columns are "
            f"{listed(known, len(known))}."
        )
    rows = manifest.samples.index.to_numpy(np.int64)
    codes, values = numbered(manifest.samples[column])
    return split_by_value(f"column {known_as!r}", where, rows, codes, values)


def read_part_file(manifest: Manifest, path: Path) -> ForeignSplit:
    """The split in a CSV of fold assignments, or in nnU-Net's splits_final.json.

    Raises:
        UserError: when the file cannot be read or none of its names is in the manifest.
    """
    where = f"audit.part_file {path}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{where}: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{where}: is not UTF-8; save the file as UTF-8.") from None
    if path.suffix.lower() == ".json":
        return _read_nnunet(manifest, path.name, where, text)
    return _read_csv(manifest, path.name, where, text)


def _read_nnunet(manifest: Manifest, name: str, where: str, text: str) -> ForeignSplit:
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise UserError(f"{where}: is not JSON ({error}).") from None
    good = isinstance(entries, list) and all(
        isinstance(entry, dict)
        and {"train", "val"} <= entry.keys() <= set(PARTS)
        and all(isinstance(names, list) for names in entry.values())
        for entry in entries
    )
    if not entries or not good:
        raise UserError(
            f'{where}: needs nnU-Net\'s form, a list of {{"train": [...], "val": [...]}} with the '
            "names of cases."
        )
    lists = [(i, part, entry[part]) for i, entry in enumerate(entries) for part in entry]
    names = [str(case) for _, _, cases in lists for case in cases]
    matcher = NameMatcher(manifest, names)
    matcher.check(where, names)
    which = np.repeat(np.arange(len(lists)), [len(cases) for _, _, cases in lists])
    rows = _rows_of_each(matcher, matcher.codes, which, len(lists))
    parts = {(i, part): rows[at] for at, (i, part, _) in enumerate(lists)}
    rounds = tuple(
        Round(str(i), {part: parts[i, part] for part in PARTS if part in entry})
        for i, entry in enumerate(entries)
    )
    return ForeignSplit(f"{name} ({matcher.kind})", rounds, unknown=matcher.unknown)


def _read_csv(manifest: Manifest, name: str, where: str, text: str) -> ForeignSplit:
    cells = _read_cells(where, text)
    keys = [what for what in ("image", "patient") if what in cells]
    matchers = {key: NameMatcher(manifest, cells[key]) for key in keys}
    key = max(keys, key=lambda key: matchers[key].num_known)
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
        more = f"; so have {len(ragged) - 1:,} more lines" if len(ragged) > 1 else ""
        raise UserError(
            f"{where}: line {lines[ragged[0]]} has {len(records[ragged[0]])} cells, the header "
            f"has {len(header)}{more}."
        )
    if len(records) < 2:
        raise UserError(f"{where}: has no rows below its header.")
    return {what: [record[i].strip() for record in records[1:]] for what, i in column.items()}


def _our_plan(where: str, source: str, matcher: NameMatcher, cells: Cells) -> ForeignSplit:
    """A plan.csv: in the folds it names a patient is tested, in val_fold it validates."""
    out = {state: np.array([cell == state for cell in cells["fold"]])
           for state in ("locked", "purged")}  # fmt: skip
    out_of_folds = out["locked"] | out["purged"]
    records, numbers, parts = [], [], []
    for column, part in (("fold", 0), ("val_fold", 1)):
        for record, cell in enumerate(cells[column]):
            for word in () if column == "fold" and out_of_folds[record] else cell.split():
                if not word.isdecimal():
                    raise UserError(f"{where}: {column} must hold fold numbers, got {cell!r}.")
                records.append(record)
                numbers.append(int(word))
                parts.append(part)
    if not records:
        raise UserError(f"{where}: every row is blank; allowed are fold numbers (0, 1, ...).")
    found, fold = np.unique(np.array(numbers, np.int64), return_inverse=True)
    which = matcher.codes[np.array(records, np.int64)]
    rows = _rows_of_each(matcher, which, 2 * fold + np.array(parts), 2 * len(found))
    states = [_rows(matcher, where) for where in (~out_of_folds, out["locked"], out["purged"])]
    everyone, locked, purged = states
    rounds = []
    for i, number in enumerate(found):
        test, val = rows[2 * i], rows[2 * i + 1]
        train = np.setdiff1d(everyone, np.concatenate([test, val]), assume_unique=True)
        named = {"train": train, "val": val, "test": test}
        rounds.append(Round(str(number), named | ({"locked": locked} if len(locked) else {})))
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
    rows = _rows_of_each(
        matcher, matcher.codes[used], (len(PARTS) * fold + part)[used], len(PARTS) * len(folds)
    )
    present = set(np.unique((len(PARTS) * fold + part)[used]).tolist())
    rounds = [
        Round(name, {p: rows[len(PARTS) * f + i] for p, i in order.items()
                     if len(PARTS) * f + i in present})
        for f, name in sorted(enumerate(folds), key=lambda pair: (len(pair[1]), pair[1]))
    ]  # fmt: skip
    return ForeignSplit(source, tuple(rounds), unknown=matcher.unknown)


def _rows(matcher: NameMatcher, chosen: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Numbers:
    """Rows of the names of the records that are chosen."""
    return np.unique(matcher.rows(matcher.codes[chosen])[0])


def _rows_of_each(matcher: NameMatcher, which: Numbers, codes: Numbers, num: int) -> list[Numbers]:
    """For each code the rows of the names that have it."""
    rows, index = matcher.rows(which)
    return rows_of_each(rows, codes[index], num)


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
