"""Tables of labels: read, joined, and turned into one label per row."""

import codecs
import csv
import io
import json
from pathlib import Path

from pipeline.config.making import LabelRule
from pipeline.errors import UserError
from pipeline.formats.limits import check_kind
from pipeline.making.patterns import fill
from pipeline.manifest.csv_file import other_encoding
from pipeline.words import counted, listed

Row = dict[str, str]
"""One image, or one row of a table: name of a column -> cell."""
POSITIVE = ("1", "1.0", "true", "yes")
NEGATIVE = ("0", "0.0", "false", "no", "")


def read_rows(path: Path, setting: str, encoding: str = "utf-8", separator: str = ",") -> list[Row]:
    """Rows of a CSV, or of a JSON list of records; every cell is text.

    Columns without a name are left out; a row may lack the ones that end the header.
    """
    try:
        if path.exists():
            check_kind(path)
        if path.suffix.lower() == ".json":
            entries = json.loads(path.read_text(encoding="utf-8-sig"))
            return [{str(k): _text(v) for k, v in entry.items()} for entry in entries]
        table = io.StringIO(_text_of(path, encoding), newline="")
        lines = list(csv.reader(table, delimiter=separator, strict=True))
    except (OSError, ValueError, AttributeError, TypeError, csv.Error) as error:
        why = f"no such file (searched from {Path.cwd()})"
        why = why if isinstance(error, FileNotFoundError) else str(error)
        raise UserError(f"{setting}: {path}: {why}") from None
    header, *records = lines or [[]]
    named = {place: name for place, name in enumerate(header) if name.strip()}
    if twice := sorted({name for name in named.values() if header.count(name) > 1}):
        raise UserError(f"{setting}: {path}: column {twice[0]!r} occurs twice")
    shortest = max(named, default=-1) + 1
    for number, cells in enumerate(records, start=2):
        if cells and not shortest <= len(cells) <= len(header):
            found = f"record {number} has {counted(len(cells), 'cell')}"
            raise UserError(f"{setting}: {path}: {found}, the header has {len(header)}")
    rows = [{name: cells[place] for place, name in named.items()} for cells in records if cells]
    if not rows:
        raise UserError(f"{setting}: {path}: has no rows")
    return rows


def _text_of(path: Path, encoding: str) -> str:
    """ValueError when it is in another encoding."""
    raw = path.read_bytes()
    try:
        codec = codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(f"encoding={encoding} is not known; e.g. utf-8, latin-1") from None
    problem, line = other_encoding(raw, codec)
    if problem:
        where = f"line {line}: " if line else ""
        raise ValueError(where + problem.replace("manifest.encoding", "encoding"))
    return raw.decode("utf-8-sig" if codec == "utf-8" else codec)


def _text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def join(
    rows: list[Row], labels: Path, records: list[Row], key: str, column: str | None
) -> tuple[list[Row], int]:
    """The rows with the columns of a table added; how many of the table's keys fit no row.

    `records` are the table's rows, `key` is a template of the rows' columns, `column` the table's
    column that holds it.
    """
    column = column or key.strip("{}")
    table: dict[str, Row] = {}
    for row in records:
        if column not in row:
            raise UserError(
                f"labels: {labels} has no column {column!r} (labels_column); its columns are "
                f"{', '.join(map(repr, row))}"
            )
        known = table.setdefault(row[column].strip(), row)
        if known != row:
            different = [name for name in row if row[name] != known.get(name)]
            raise UserError(
                f"labels: {labels}: {column} {row[column]!r} has two rows that differ in "
                f"{', '.join(different)}"
            )
    keys = [fill(key, row, "labels_key") for row in rows]
    if lost := sorted({text for text in keys if text not in table}):
        raise UserError(
            f"labels: {labels} has no row for {len(lost)} of {len(set(keys))} keys {key}: "
            f"{listed(lost)}; its column {column!r} has {listed(list(table))}"
        )
    joined = [table[text] | row for text, row in zip(keys, rows, strict=True)]
    return joined, len(set(table) - set(keys))


def label_of(row: Row, rule: LabelRule) -> str | None:
    """The row's label, or None where `rule.values` leaves it out."""
    if rule.one_hot:
        cell = _one_hot(row, rule.one_hot)
    else:
        cell = fill("{" + rule.column + "}", row, "label.column")
        if (name := rule.contains) is not None:
            cell = name if name in findings_in(cell, rule) else f"no_{name}"
    if not rule.values:
        return cell
    if cell not in rule.values:
        known = ", ".join(map(repr, rule.values))
        raise UserError(f"label {cell!r} is not in label.values; it names {known}")
    return rule.values[cell]


def _one_hot(row: Row, columns: tuple[str, ...]) -> str:
    cells = {name: fill("{" + name + "}", row, "label.one_hot").lower() for name in columns}
    if other := {name: cell for name, cell in cells.items() if cell not in POSITIVE + NEGATIVE}:
        raise UserError(f"label.one_hot: cells must be 0 or 1, got {other}")
    positive = [name for name, cell in cells.items() if cell in POSITIVE]
    if len(positive) != 1:
        found = f"{positive or 'none'} of {list(columns)}"
        raise UserError(
            f"label.one_hot: exactly one column must be 1, got {found}; where several may be, they "
            "are labels of their own: manifest.task=multilabel manifest.columns.label="
            f"[{','.join(columns)}]"
        )
    return positive[0]


def findings_in(cell: str, rule: LabelRule) -> set[str]:
    """The findings that a cell of the label column names."""
    return {part.strip() for part in cell.split(rule.separator)} - {""}
