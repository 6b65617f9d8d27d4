"""A manifest from what lies on disk: rows gathered, joined, labelled, checked, written."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from pipeline.config.making import FIELD, MakeManifestConfig
from pipeline.errors import UserError
from pipeline.files import write_whole
from pipeline.formats.files import series_parts
from pipeline.making.dicom import rows_of_dicom
from pipeline.making.image_tree import kind_of, left_out, paths_below, rows_of_classes, rows_of_tree
from pipeline.making.label_table import Row, findings_in, join, label_of, read_rows
from pipeline.making.patterns import Pattern, fill, name_rule
from pipeline.regex import compiled, for_each
from pipeline.words import counted, lines_and_more, listed

FIRST = ("patient_id", "image_path", "label")
PROBLEMS_SHOWN = 20


@dataclass(frozen=True)
class MadeManifest:
    """The rows to write, in the order of patient and image, and what was left out on the way."""

    rows: list[Row]
    columns: list[str]
    flow: list[str]


def make_manifest(config: MakeManifestConfig) -> MadeManifest:
    """Gather a row per image from the source that the config names.

    Raises:
        UserError: when a file cannot be read, a rule does not fit or would be a guess, or rows have
            no patient, image or label.
    """
    root = Path(config.root or ".")
    flow: list[str] = []
    rows = _gather(config, root, flow)
    if config.labels is not None:
        key, column = config.labels_key or "", config.labels_column
        rows, num_unused = join(rows, root / config.labels, key, column)
        if num_unused:
            flow.append(f"{counted(num_unused, 'key')} of {config.labels} without an image")
    for column, pattern in config.parts.items():
        rows = _with_parts(rows, column, Pattern(pattern))
    rows = _where(rows, config.where, flow)
    columns = _columns(config, rows)
    _check_label(config, rows[0])
    if config.source == "table":
        rows = _with_images(config.image or "", root, rows)
    made = [_finished(config, row, columns) for row in rows]
    kept = [row for row in made if row is not None]
    if len(kept) < len(made):
        flow.append(f"{counted(len(made) - len(kept), 'row')} left out: label.values says null")
    _check(config, kept, rows)
    unique = _unique(kept, flow)
    unique.sort(key=lambda row: (row["patient_id"], row["image_path"]))
    return MadeManifest(unique, [*FIRST, *columns], flow)


def _gather(config: MakeManifestConfig, root: Path, flow: list[str]) -> list[Row]:
    if config.source == "table":
        rows = read_rows(root / (config.table or ""), "table")
        flow.append(f"{counted(len(rows), 'row')} in {config.table}")
        return rows
    tables = (out_path(config), root / "manifest.csv", root / (config.labels or ""))
    resolved = {os.path.realpath(table) for table in tables}
    paths = [path for path in paths_below(root) if os.path.realpath(root / path) not in resolved]
    flow.append(f"{counted(len(paths), 'file')} below {root}")
    if config.source == "dicom":
        rows, others, skipped = rows_of_dicom(root, paths, config.skip_damaged)
        if skipped:
            flow.append(f"{len(skipped)} damaged files or series left out:")
            flow += lines_and_more(skipped, PROBLEMS_SHOWN)
    else:
        if config.source == "tree":
            rows = rows_of_tree(paths, Pattern(config.pattern or ""), config.skip_unmatched)
        else:
            rows = rows_of_classes(paths, name_rule(config.patient or ""))
        used = {row["image_path"] for row in rows}
        others = {path: kind_of(path) for path in paths if path not in used}
    if others:
        flow.append(left_out(others))
    return rows


def _with_parts(rows: list[Row], column: str, pattern: Pattern) -> list[Row]:
    cells = [fill("{" + column + "}", row, "parts") for row in rows]
    found = list(zip(rows, pattern.parts_of(cells), strict=True))
    if unmatched := [row[column] for row, parts in found if parts is None]:
        raise UserError(
            f"parts.{column}: {pattern.text!r} does not fit {len(unmatched)} of "
            f"{counted(len(rows), 'cell')}: {listed(unmatched)}"
        )
    return [row | parts for row, parts in found if parts is not None]


def _where(rows: list[Row], conditions: dict[str, str], flow: list[str]) -> list[Row]:
    for column, regex in conditions.items():
        what = f"where.{column}: {regex!r}"
        cells = [fill("{" + column + "}", row, "where") for row in rows]
        fits = for_each(compiled(regex, what).fullmatch, cells, what)
        kept = [row for row, fit in zip(rows, fits, strict=True) if fit]
        if not kept:
            found = listed(sorted({row[column] for row in rows}))
            raise UserError(f"where.{column}={regex!r} leaves no row; the column has {found}")
        if num := len(rows) - len(kept):
            flow.append(f"{counted(num, 'row')} left out: where.{column}={regex}")
        rows = kept
    return rows


def _columns(config: MakeManifestConfig, rows: list[Row]) -> dict[str, str]:
    """Further columns to write, name -> template: those asked for, and all parts of paths."""
    columns = dict(config.columns)
    if config.source != "table":
        used = set(FIRST) | {"patient", "PatientID", config.label.column, *config.label.one_hot}
        keys = set(FIELD.findall(config.labels_key or ""))
        used |= keys - {"StudyInstanceUID", "SeriesInstanceUID"}
        columns = {name: "{" + name + "}" for name in rows[0] if name not in used} | columns
    if wrong := sorted(set(columns) & {"line", "group"}):
        raise UserError(
            f"column name {wrong[0]!r} has a meaning of its own; give the part another name"
        )
    return columns


def _with_images(template: str, root: Path, rows: list[Row]) -> list[Row]:
    places: dict[str, list[str]] = defaultdict(list)
    for path in paths_below(root) if template.startswith("**/") else ():
        places[PurePosixPath(path).name].append(path)
    found = []
    for row in rows:
        name = fill(template.removeprefix("**/"), row, "image")
        if len(places[name]) > 1:
            raise UserError(f"image: {name!r} lies in several folders: {listed(places[name])}")
        found.append(row | {"image_path": places[name][0] if places[name] else name})
    return found


def _finished(config: MakeManifestConfig, row: Row, columns: dict[str, str]) -> Row | None:
    label = label_of(row, config.label)
    if label is None:
        return None
    default = "{PatientID}" if config.source == "dicom" else "{patient}"
    rule = default if config.source == "classes" else config.patient or default
    patient = fill(rule, row, "patient")
    if not all(row[name] for name in FIELD.findall(rule)):
        patient = ""  # a part of it is blank
    further = {name: fill(text, row, f"columns.{name}") for name, text in columns.items()}
    return {"patient_id": patient, "image_path": row["image_path"], "label": label} | further


def _check_label(config: MakeManifestConfig, row: Row) -> None:
    rule = config.label
    if rule.column in row or rule.one_hot:
        return
    in_pattern = "name it in the pattern, {label}, or " if config.source == "tree" else ""
    raise UserError(
        f"label: there is no column {rule.column!r}; {in_pattern}give a table of labels "
        "(labels=labels.csv labels_key='{...}'), or name a column in label.column; the columns are "
        f"{', '.join(map(repr, row))}"
    )


def _check(config: MakeManifestConfig, made: list[Row], rows: list[Row]) -> None:
    root, problems = Path(config.root or "."), []
    if not made:
        raise UserError("no row is left; see `where` and label.values")
    for row in made:
        if not row["patient_id"]:
            problems.append(f"{row['image_path']}: the patient id is blank")
        if not row["label"]:
            problems.append(f"{row['image_path']}: the label is blank")
        path = root / row["image_path"]
        if config.source == "table" and not path.is_file() and series_parts(path) is None:
            problems.append(f"{row['image_path']}: no such image below {root}")
    if (rule := config.label).contains:
        found = set().union(*(findings_in(row[rule.column], rule) for row in rows))
        if rule.contains not in found:
            names = listed(sorted(found), PROBLEMS_SHOWN)
            problems.append(f"label.contains: no row has {rule.contains!r}; the rows have {names}")
    if problems:
        heading = f"{counted(len(problems), 'problem')} with {counted(len(made), 'row')}:"
        raise UserError("\n".join([heading, *lines_and_more(problems, PROBLEMS_SHOWN)]))


def _unique(rows: list[Row], flow: list[str]) -> list[Row]:
    """One row per image; a table may repeat them (a row per box) with the same values only."""
    seen: dict[str, Row] = {}
    for row in rows:
        if (known := seen.setdefault(row["image_path"], row)) != row:
            name = next(name for name in row if row[name] != known[name])
            raise UserError(
                f"image {row['image_path']!r} has two rows that differ in {name}: "
                f"{known[name]!r} and {row[name]!r}"
            )
    if num := len(rows) - len(seen):
        flow.append(f"{counted(num, 'row')} left out: the same image with the same values again")
    return list(seen.values())


def out_path(config: MakeManifestConfig) -> Path:
    """Where the manifest goes."""
    return Path(config.out) if config.out else Path(config.root or ".") / "manifest.csv"


def write_manifest(
    rows: list[dict[str, str]], columns: list[str], path: Path, overwrite: bool
) -> None:
    """Write the CSV whole or not at all.

    Raises:
        UserError: when the file says something else already, or cannot be written.
    """
    data = pd.DataFrame(rows, columns=columns).to_csv(index=False).encode()
    try:
        if path.exists() and not overwrite and path.read_bytes() != data:
            raise UserError(
                f"out: {path} exists and says something else; overwrite=true replaces it, "
                "out=other.csv keeps it"
            )
        write_whole(path, data)
    except OSError as error:
        raise UserError(f"out: {path} cannot be written ({error.strerror}); set out=") from None
