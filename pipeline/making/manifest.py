"""A manifest from what lies on disk: rows gathered, joined, labelled, checked, written."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.config.making import FIELD, MakeManifestConfig
from pipeline.errors import UserError
from pipeline.formats.files import series_parts
from pipeline.formats.table import image_suffix
from pipeline.label_names import BETWEEN
from pipeline.making.dicom import rows_of_dicom
from pipeline.making.image_tree import (
    DOCUMENT,
    kind_of,
    left_out,
    paths_below,
    rows_of_classes,
    rows_of_tree,
)
from pipeline.making.label_table import Row, findings_in, join, label_of, read_rows
from pipeline.making.patterns import Pattern, fill, name_rule
from pipeline.manifest import Finding, by_cause
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
        path = _table_path(root, config.labels)
        records = read_rows(path, "labels", config.encoding, config.separator)
        rows, num_unused = join(rows, path, records, key, column)
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
    if config.skip_absent:
        kept = _present(config, kept, flow)
    _check(config, kept, rows)
    unique = _unique(kept, flow)
    unique.sort(key=lambda row: (row["patient_id"], row["image_path"]))
    return MadeManifest(unique, [*FIRST, *columns], flow)


def _gather(config: MakeManifestConfig, root: Path, flow: list[str]) -> list[Row]:
    if config.source == "table":
        path = _table_path(root, config.table or "")
        rows = read_rows(path, "table", config.encoding, config.separator)
        flow.append(f"{counted(len(rows), 'row')} in {config.table}")
        return rows
    tables = (out_path(config), root / "manifest.csv", _table_path(root, config.labels or ""))
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
    return columns


def _table_path(root: Path, name: str) -> Path:
    """A table lies in root or in the current folder."""
    return root / name if (root / name).exists() else Path(name)


def _with_images(template: str, root: Path, rows: list[Row]) -> list[Row]:
    """The path of each row's image; where no file has just that name, the one with a suffix."""
    is_anywhere = template.startswith("**/")
    by_name: dict[str, list[str]] = defaultdict(list)
    by_stem: dict[str, list[str]] = defaultdict(list)
    for path in paths_below(root):
        name = PurePosixPath(path).name if is_anywhere else path
        by_name[name].append(path)
        if (suffix := image_suffix(Path(path))) and not DOCUMENT.search(path):
            by_stem[name[: -len(suffix)]].append(path)
    found = []
    for row in rows:
        name = fill(template.removeprefix("**/"), row, "image")
        is_there = (root / name).exists()
        paths = by_name.get(name) or ([] if is_there else by_stem.get(name, []))
        if len(paths) > 1:
            what = "lies in several folders" if is_anywhere else "is the name of several files"
            raise UserError(f"image: {name!r} {what}: {listed(paths)}")
        found.append(row | {"image_path": paths[0] if paths else name})
    return found


def _is_image(path: Path) -> bool:
    return path.is_file() or series_parts(path) is not None


def _present(config: MakeManifestConfig, rows: list[Row], flow: list[str]) -> list[Row]:
    root = Path(config.root or ".")
    absent = [row["image_path"] for row in rows if not _is_image(root / row["image_path"])]
    if absent:
        flow.append(f"{counted(len(absent), 'row')} left out: no such image: {listed(absent)}")
    return [row for row in rows if row["image_path"] not in set(absent)]


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
        raise UserError("no row is left; see `where`, label.values and skip_absent")
    may_be_blank = names_several(made)  # then a blank cell means none of the labels
    for row in made:
        if not row["patient_id"]:
            problems.append(f"{row['image_path']}: the patient id is blank")
        if not row["label"] and not may_be_blank:
            problems.append(f"{row['image_path']}: the label is blank")
        if config.source == "table" and not _is_image(root / row["image_path"]):
            advice = "skip_absent=true leaves such rows out"
            problems.append(f"{row['image_path']}: no such image below {root}; {advice}")
    if (rule := config.label).contains:
        found = set().union(*(findings_in(row[rule.column], rule) for row in rows))
        if rule.contains not in found:
            names = listed(sorted(found), PROBLEMS_SHOWN)
            problems.append(f"label.contains: no row has {rule.contains!r}; the rows have {names}")
    if problems:
        heading = f"{counted(len(problems), 'problem')} with {counted(len(made), 'row')}:"
        grouped = by_cause(Finding("row", "error", problem) for problem in problems)
        raise UserError(
            "\n".join([heading, *lines_and_more(list(map(str, grouped)), PROBLEMS_SHOWN)])
        )


def names_several(rows: list[Row]) -> bool:
    """Does a label cell name several labels, `edema|effusion`?"""
    return any(BETWEEN in row["label"] for row in rows)


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
