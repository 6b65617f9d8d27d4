"""Read and check a manifest CSV: all problems in one error, each with its line."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd

from pipeline.config import ManifestConfig
from pipeline.manifest.files import file_problem
from pipeline.manifest.groups import leakage_groups
from pipeline.manifest.manifest import Manifest, ManifestError


def read_manifest(config: ManifestConfig) -> Manifest:
    """Read the CSV, check every row and every image file, and form the leakage groups.

    Raises:
        ManifestError: with every problem, its line number and what is allowed.
    """
    path = Path(config.path)
    image_root = Path(config.image_root) if config.image_root else path.parent
    table = _read_table(path, config)
    labelled, num_left_out = _leave_out_blank_labels(table, config)
    classes = config.classes or tuple(sorted({s for s in labelled["label"] if s.strip()}))
    problems = [
        *_class_problems(classes, set(labelled["label"]), config.task),
        *_row_problems(labelled, classes),
        *_id_problems(labelled),
        *_duplicate_problems(labelled),
        *_image_problems(labelled, image_root),
    ]
    if problems:
        problems.sort(key=_line_of)
        raise ManifestError(path, problems, config.hint if _has_missing_images(problems) else "")
    ordered = labelled.sort_values(["patient_id", "image_path"], ignore_index=True)
    manifest = Manifest(path, image_root, tuple(classes), ordered, num_left_out)
    return replace(manifest, table=ordered.assign(group=leakage_groups(manifest)))


def canonical_id(raw: str) -> str:
    """One spelling for ids that differ by case, space, Unicode form or zero padding only."""
    visible = "".join(c for c in raw if unicodedata.category(c) != "Cf")  # e.g. zero-width space
    folded = " ".join(unicodedata.normalize("NFKC", visible).casefold().split())
    return re.sub(r"(?<![\d.])0+(?=\d)", "", folded)


def _read_table(path: Path, config: ManifestConfig) -> pd.DataFrame:
    """All cells as text, with the CSV's line numbers; columns renamed to our words."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        missing = [f"no such file (searched from {Path.cwd()})"]
        raise ManifestError(path, missing, config.hint) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ManifestError(path, [f"line {line}: is not UTF-8; save the file as UTF-8"]) from None
    except OSError as error:
        raise ManifestError(path, [f"cannot be read: {error.strerror}"]) from None
    records = _records(path, text, config.separator)
    _, header = next(records, (1, []))
    _check_header(path, header, config)
    rows, lines, problems = [], [], []
    for line, row in records:
        if len(row) == len(header):
            rows.append(row)
            lines.append(line)
        elif row:
            problems.append(f"line {line}: has {len(row)} cells, the header has {len(header)}")
    if problems:
        raise ManifestError(path, problems)
    if not rows:
        raise ManifestError(path, ["has no rows"])
    table = pd.DataFrame(rows, columns=header, dtype=str).assign(line=lines)
    return table.rename(columns=_our_names(config))


def _records(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line that it begins on; only a line feed ends a line."""
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    first_line = 1
    try:
        for cells in reader:
            yield first_line, cells
            first_line = reader.line_num + 1
    except csv.Error as error:
        problem = f"line {first_line}: a cell is badly quoted ({error})"
        raise ManifestError(path, [problem]) from None


def _our_names(config: ManifestConfig) -> dict[str, str]:
    columns = config.columns
    names = {columns.patient: "patient_id", columns.image: "image_path", columns.label: "label"}
    optional = {columns.site: "site", columns.study: "study"}
    return names | {theirs: ours for theirs, ours in optional.items() if theirs}


def _check_header(path: Path, header: list[str], config: ManifestConfig) -> None:
    names = _our_names(config)
    problems = [
        f"line 1: column {theirs!r} is missing (manifest.columns.{ours.split('_')[0]}); "
        f"the columns are {', '.join(map(repr, header)) or 'none'}"
        for theirs, ours in names.items()
        if theirs not in header
    ]
    others = [s for s in (",", ";", "\t", "|") if len(header) == 1 and s in header[0]]
    hint = f"the separator seems to be {others[0]!r}; set manifest.separator" if others else ""
    problems += [
        f"line 1: column {name!r} occurs {header.count(name)} times"
        for name in sorted(set(header))
        if header.count(name) > 1
    ]
    reserved = {"line", "group", "study", *names.values()} - set(names)
    problems += [
        f"line 1: column name {name!r} has a meaning of its own here; rename the column or map it "
        "in manifest.columns"
        for name in sorted(reserved & set(header))
    ]
    if problems:
        raise ManifestError(path, problems, hint)


def _leave_out_blank_labels(
    table: pd.DataFrame, config: ManifestConfig
) -> tuple[pd.DataFrame, int]:
    if config.blank_label == "error":
        return table, 0
    blank = table["label"].str.strip() == ""
    return table[~blank].reset_index(drop=True), int(blank.sum())


def _class_problems(classes: tuple[str, ...], found: set[str], task: str) -> Iterator[str]:
    expected = "exactly 2 classes" if task == "binary" else "at least 2 classes"
    if len(classes) < 2 or (task == "binary" and len(classes) != 2):
        yield f"task {task} needs {expected}, got {len(classes)}: {_listed(classes)}"
    if absent := [name for name in classes if name not in found]:
        yield f"no row has the label {_listed(absent)} of manifest.classes"


def _row_problems(table: pd.DataFrame, classes: tuple[str, ...]) -> Iterator[str]:
    for line, patient, image, label in zip(
        table["line"], table["patient_id"], table["image_path"], table["label"], strict=True
    ):
        if not patient.strip():
            yield f"line {line}: the patient id is blank"
        if not image.strip():
            yield f"line {line}: the image path is blank"
        if not label.strip():
            yield (
                f"line {line}: the label is blank; allowed are {_listed(classes)}, or set "
                "manifest.blank_label=leave_out"
            )
        elif label not in classes:
            yield f"line {line}: unknown class {label!r}; allowed are {_listed(classes)}"


def _id_problems(table: pd.DataFrame) -> Iterator[str]:
    """One patient written two ways would be two patients, perhaps on both sides of a split."""
    first_line = table.drop_duplicates("patient_id").set_index("patient_id")["line"]
    spellings: dict[str, list[str]] = {}
    for raw in first_line.index:
        if raw.strip():
            spellings.setdefault(canonical_id(raw), []).append(raw)
    for raws in spellings.values():
        if len(raws) > 1:
            others = ", ".join(f"{raw!r} (line {first_line[raw]})" for raw in raws[:-1])
            yield (
                f"line {first_line[raws[-1]]}: patient id {raws[-1]!r} is also written {others}; "
                "write one patient one way (or rename one if they are two people)"
            )


def _duplicate_problems(table: pd.DataFrame) -> Iterator[str]:
    normalised = table["image_path"].map(lambda path: str(PurePosixPath(path.strip())))
    seen: dict[str, tuple[int, str]] = {}
    for line, image, patient in zip(table["line"], normalised, table["patient_id"], strict=True):
        first_line, first_patient = seen.setdefault(image, (line, patient))
        if first_line == line or image == ".":
            continue
        whose = "" if patient == first_patient else f", there for patient {first_patient!r}"
        yield f"line {line}: image {image!r} is already on line {first_line}{whose}"


def _image_problems(table: pd.DataFrame, image_root: Path) -> Iterator[str]:
    for line, patient, image in zip(
        table["line"], table["patient_id"], table["image_path"], strict=True
    ):
        problem = file_problem(image_root / image) if image.strip() else None
        if problem:
            yield f"line {line}: patient {patient!r}: image {image_root / image}: {problem}"


def _has_missing_images(problems: list[str]) -> bool:
    return any(problem.endswith("no such file") for problem in problems)


def _line_of(problem: str) -> int:
    match = re.match(r"line (\d+)", problem)
    return int(match[1]) if match else 0


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(map(repr, classes))
