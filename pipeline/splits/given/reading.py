"""Read a split made elsewhere: a column of the manifest, a CSV, or nnU-Net's splits_final.json."""

import csv
import io
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.manifest import Manifest
from pipeline.manifest.csv_file import ZERO_BYTE, line_of
from pipeline.splits.given.given_split import PLACES, GivenSplit, long_table, split_by_value
from pipeline.splits.given.names import MatchedNames, match_names
from pipeline.splits.given.nnunet import read_nnunet
from pipeline.splits.given.our_plan import read_plan
from pipeline.splits.given.words import ALLOWED, NO_WORDS, PARTS, Words, meanings
from pipeline.words import counted, listed

_COLUMNS = {
    "image": "imagepath image path filepath filename file imageid img",
    "patient": "patientid patient pid subjectid subject participantid caseid case id",
    "fold": "fold foldid foldnumber cvfold kfold testfold block",
    "part": "part split subset set partition phase",
    "val_fold": "valfold",
}
"""What others call the columns that we know, the likeliest first."""
Cells = Mapping[str, "pd.Categorical[str]"]
"""The columns that we know, by our words for them; cells without the space around them."""


def read_column(
    manifest: Manifest, column: str, where: str, known_as: str, words: Words = NO_WORDS
) -> GivenSplit:
    """The split that `column` of the manifest's table names; the user knows it as `known_as`.

    `where` is the setting that named it, for errors; `words` are audit.words. UserError: unknown
    column or values.
    """
    if column not in manifest.table or column in ("line", "group"):
        known = manifest.column_names
        raise UserError(
            f"{where}: {manifest.path} has no such column; its columns are "
            f"{listed(known, len(known))}."
        )
    rows = manifest.samples.index.to_numpy(np.int64)
    values = pd.Categorical(manifest.samples[column])
    return split_by_value(f"column {known_as!r}", where, rows, values, words)


def read_file(manifest: Manifest, path: Path, where: str, words: Words = NO_WORDS) -> GivenSplit:
    """The split in a CSV of fold assignments, a plan.csv, or nnU-Net's splits_final.json.

    `where` is the setting that named it, for errors; `words` are audit.words, for a CSV of others.
    UserError: the file cannot be read, or none of its names is in the manifest.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{where}: {error.strerror or error}.") from None
    try:
        if (at := raw.find(0)) >= 0:
            raise UserError(f"{where}: line {line_of(raw, at)}: {ZERO_BYTE} as UTF-8.")
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = line_of(raw, error.start)
        raise UserError(f"{where}: line {line}: is not UTF-8; save the file as UTF-8.") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if path.suffix.lower() == ".json":
        _check_no_words(path, words)
        return read_nnunet(manifest, path.name, where, text)
    return _read_csv(manifest, path, where, text, words)


def _check_no_words(path: Path, words: Words) -> None:
    if words:
        raise UserError(f"audit.words: {path.name} has no column of words for parts; leave it out.")


def _read_csv(manifest: Manifest, path: Path, where: str, text: str, words: Words) -> GivenSplit:
    """The split in the text of a CSV: parts or folds of patients or images, or our plan.csv."""
    cells = _read_cells(where, text)
    ways = [
        (key, match_names(manifest, cells[key].categories.tolist(), key == "image"))
        for key in ("image", "patient")
        if key in cells
    ]
    key, names = max(ways, key=lambda way: way[1].share_known)
    names.check(where, manifest)
    records = pd.DataFrame({"name": cells[key].codes} | dict(cells))
    if "val_fold" in cells and "fold" in cells:
        _check_no_words(path, words)
        return read_plan(manifest, path, where, names, records)
    source = f"{path.name} ({names.kind})"
    if "fold" in cells and "part" in cells:
        return _read_listed_folds(source, where, names, records, words)
    rows = names.with_rows(records)
    values = rows["part" if "part" in cells else "fold"].array
    return split_by_value(source, where, rows["row"].to_numpy(), values, words, names.unknown)


def _read_listed_folds(
    source: str, where: str, names: MatchedNames, records: pd.DataFrame, words: Words
) -> GivenSplit:
    """The split in a list of each fold's parts, with a line for each fold and name."""
    part, fold = records["part"].array, records["fold"].array
    meaning = meanings(where, part.categories.tolist(), words)
    if unknown := sorted(value for value, part in meaning.items() if isinstance(part, int)):
        raise UserError(f"{where}: unknown part {listed(unknown)}; beside a fold column {ALLOWED}.")
    called = [re.sub(r"^fold[\s_-]*", "", v, flags=re.IGNORECASE) for v in fold.categories]
    folds = sorted(set(called), key=lambda name: (len(name), name))
    records = records.assign(
        fold=pd.Categorical(called, categories=folds).take(fold.codes),
        part=pd.Categorical(list(meaning.values()), dtype=PLACES).take(part.codes),
    )
    if num_blank := int((records["fold"] == "").sum()):
        raise UserError(
            f"{where}: fold is blank for {num_blank:,} of {counted(len(records), 'row')}."
        )
    if len(folds) > 1 and records[["name", "fold"]].drop_duplicates()["name"].is_unique:
        raise UserError(
            f"{where}: has a fold and a part column but names nobody in two folds, so it is no "
            "list of each fold's parts; keep only one of the two columns."
        )
    named = set(records[["fold", "part"]].drop_duplicates().itertuples(index=False, name=None))
    # A fold of blanks keeps its train part, so that it is reported as empty.
    parts = {f: tuple(p for p in PARTS if p == "train" or (f, p) in named) for f in folds}
    return GivenSplit(source, long_table(names.with_rows(records)), parts, unknown=names.unknown)


def _read_cells(where: str, text: str) -> Cells:
    """The columns that we know of a CSV with a header and any usual separator."""
    separator = max(",;\t|", key=text.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    ragged: list[tuple[int, int]] = []
    try:
        header = next(reader, [])
        place = _find_columns(where, header)
        columns: dict[str, list[str]] = {what: [] for what in place}
        for record in reader:
            if len(record) == len(header):
                for what, i in place.items():  # intern: of a million equal cells one is kept
                    columns[what].append(sys.intern(record[i].strip()))
            elif record:
                ragged.append((reader.line_num, len(record)))
    except csv.Error as error:
        raise UserError(f"{where}: line {reader.line_num}: badly quoted ({error}).") from None
    if ragged:
        (line, num_cells), *others = ragged
        more = f"; {counted(len(others), 'more line')} of a wrong length" if others else ""
        raise UserError(
            f"{where}: line {line} has {counted(num_cells, 'cell')}, the header has "
            f"{len(header)}{more}."
        )
    if not all(columns.values()):
        raise UserError(f"{where}: has no rows below its header.")
    return {
        what: pd.Categorical(cells, categories=list(dict.fromkeys(cells)))
        for what, cells in columns.items()
    }


def _find_columns(where: str, header: Sequence[str]) -> dict[str, int]:
    """Where the file names patients or images, and folds or parts."""
    plain = [re.sub(r"[\W_]+", "", name.casefold()) for name in header]
    found = {}
    for what, names in _COLUMNS.items():
        if known := [name for name in names.split() if name in plain]:
            found[what] = plain.index(known[0])
    if not found.keys() & {"image", "patient"} or not found.keys() & {"fold", "part"}:
        raise UserError(
            f"{where}: needs a column patient_id or image_path, and a column fold or part (or "
            f"split); its columns are {listed(header, len(header)) or 'none'}."
        )
    return found
