"""Rules for the rows of a manifest: cells, labels, sites, dates."""

import math
import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from pipeline.config import ManifestConfig, is_day
from pipeline.label_names import LabelNames
from pipeline.levels import MIDDLES, PLURALS, Middle
from pipeline.manifest.findings import Finding, with_lines
from pipeline.manifest.ids import canonical_id, spelled_alike
from pipeline.manifest.label_sets import names_in, set_findings
from pipeline.manifest.manifest import SEVERAL, Manifest
from pipeline.words import is_shown, listed

FEW_OF_A_CLASS = 5
"""With fewer images of a class, a column of numbers may separate the classes by accident."""
MAX_VALUES = 20
"""A column of more distinct values is not a category that could stand for the label."""
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_MOVES = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the direction of what follows."""
_IS_FILLED, _IS_PLAIN = r"[!-~]", r"[ -~]*"
"""Cells that begin with a letter that is shown, and cells of such letters only: most are."""
_BETWEEN_WORDS = re.compile(r"[_\-. ]+")
_NO_METADATA = [*("patient_id", "image_path", "label", "line", "group", "date", "weight"), *MIDDLES]


def class_findings(
    classes: Sequence[str], labels: "pd.Series[str]", task: str
) -> Iterator[Finding]:
    """The number of classes fits the task, and every class has a row."""
    found = names_in(labels) if task == "multilabel" else set(labels.unique())
    expected = "exactly 2 classes" if task == "binary" else "at least 2 classes"
    if len(classes) < 2 or (task == "binary" and len(classes) != 2):
        text = f"task {task} needs {expected}, got {len(classes)}: {listed(classes, MAX_VALUES)}"
        text += "; set manifest.task=multiclass" if len(classes) > 2 else ""
        yield Finding("classes", "error", text)
    for names in spelled_alike(classes, _spelling_of_class):
        text = f"classes {listed(names)} differ by case, space or .0 only; write one class one way"
        yield Finding("classes", "error", text)
    if absent := [name for name in classes if name not in found]:
        text = f"no row has the label {listed(absent)} of manifest.classes"
        yield Finding("classes", "error", text)


def _spelling_of_class(name: str) -> str:
    return re.sub(r"^(\d+)\.0+$", r"\1", " ".join(name.casefold().split()))


def cell_findings(table: pd.DataFrame, image_columns: Sequence[str]) -> Iterator[Finding]:
    """No blank patient or image."""
    suspect = ~table["patient_id"].str.match(_IS_FILLED)
    suspect |= ~table["image_path"].str.match(_IS_FILLED) | (len(image_columns) > 1)
    columns = table.loc[suspect, ["line", "patient_id", "image_path"]]
    for line, patient, image in columns.itertuples(index=False):
        if not patient.strip():
            yield Finding("blank", "error", "the patient id is blank", line)
        paths = image.split(SEVERAL) if len(image_columns) > 1 else [image]
        for column, path in zip(image_columns, paths, strict=True):
            if not path.strip():
                text = "the image path is blank"
                if len(paths) > 1:
                    text = (
                        f"the image path in column {column!r} is blank; a sample needs all images"
                    )
                yield Finding("blank", "error", text, line)


def label_findings(table: pd.DataFrame, classes: Sequence[str]) -> Iterator[Finding]:
    """No blank label, and no unknown class."""
    if isinstance(classes, LabelNames):  # its cells were looked at when they became sets
        yield from set_findings(table, classes)
        return
    known, names = set(classes), listed(classes, MAX_VALUES)
    meant = {canonical_id(name): name for name in classes}
    suspect = table.loc[~table["label"].isin([name for name in classes if name.strip()])]
    for line, label in suspect[["line", "label"]].itertuples(index=False):
        if not label.strip():
            text = f"the label is blank; allowed are {names}, or set manifest.blank_label=leave_out"
            yield Finding("blank", "error", text, line)
        elif label not in known:
            text = f"unknown class {label!r}; allowed are {names}"
            if (better := meant.get(canonical_id(label))) is not None:
                text += f"; did you mean {better!r}?"
            yield Finding("unknown_class", "error", text, line)


def letter_findings(
    table: pd.DataFrame, columns: Sequence[str], name_of: Callable[[str], str]
) -> Iterator[Finding]:
    """No control characters where they would be shown, and no id that a spreadsheet calculates."""
    for column in (str(column) for column in table.columns):
        if unseen := _unseen(name_of(column)):
            text = f"column {name_of(column)!r} has {unseen} in its name"
            yield Finding("control_characters", "error", text, 1)
    for column in columns:
        name = name_of(column)
        suspect = table[~table[column].str.fullmatch(_IS_PLAIN)].drop_duplicates(column)
        for cell, line in zip(suspect[column], suspect["line"], strict=True):
            if unseen := _unseen(str(cell).strip()):
                text = f"{str(cell)!r} in column {name!r} has {unseen}; leave it out"
                yield Finding("control_characters", "error", text, int(line))
    ids = table["patient_id"].drop_duplicates()
    formulas = [cell for cell in ids.tolist() if cell.strip()[:1] in _FORMULA]
    if formulas := [cell for cell in formulas if len(cell.strip()) > 1]:
        text = (
            f"patient ids {listed(formulas)} begin with =, +, - or @: a spreadsheet program takes "
            "them for formulas"
        )
        first = table.loc[ids.index[ids.isin(formulas)], "line"]
        yield Finding("formula", "warning", text, int(first.min()))


def _unseen(text: str) -> str:
    """In words, the first character that is not shown, or that moves what is shown."""
    for letter in text:
        if letter in _MOVES or not (is_shown(letter) or unicodedata.category(letter) == "Cf"):
            return f"the control character U+{ord(letter):04X}"
    return ""


def date_findings(table: pd.DataFrame, config: ManifestConfig) -> Iterator[Finding]:
    """Every date is a day, YYYY-MM-DD."""
    if "date" not in table:
        return
    no_days = [cell for cell in table["date"].unique() if not is_day(cell)]
    rows = table[table["date"].isin(no_days)]
    for line, cell in zip(rows["line"], rows["date"], strict=True):
        what = f"date {cell!r} is not a day" if cell else "the date is blank"
        text = f"{what}; allowed is YYYY-MM-DD in column {config.columns.date!r}"
        yield Finding("date", "error", text, line)


def weight_findings(table: pd.DataFrame, name_of: Callable[[str], str]) -> Iterator[Finding]:
    """Every weight is a finite number, 0 or more."""
    if "weight" not in table:
        return
    for line, cell in zip(table["line"].tolist(), table["weight"].tolist(), strict=True):
        if weight_of(cell) is None:
            what = f"weight {cell!r} is not one" if cell.strip() else "the weight is blank"
            text = f"{what}; allowed in column {name_of('weight')!r} is a number from 0"
            yield Finding("weight", "error", text, line)


def weight_of(cell: str) -> float | None:
    """What a cell says, None where that is no finite number from 0."""
    try:
        weight = float(cell)
    except ValueError:
        return None
    return weight if math.isfinite(weight) and weight >= 0 else None


def site_findings(table: pd.DataFrame) -> Iterator[Finding]:
    """A patient at two sites is possible, but more often these are two people with one id."""
    if "site" not in table:
        return
    for raws in spelled_alike(table["site"].unique()):
        text = f"one site is spelled several ways, {listed(raws)}; write it one way"
        yield Finding("key_spelling", "warning", text)
    for patient, rows in _with_several(table[table["site"].str.strip() != ""], "site"):
        sites = with_lines(rows["site"], rows["line"])
        text = f"patient {patient!r} is at {len(rows)} sites: {sites}; is it one person?"
        yield Finding("two_sites", "warning", text, int(rows["line"].max()))


def label_column_findings(table: pd.DataFrame, name_of: Callable[[str], str]) -> Iterator[Finding]:
    """Columns from whose value the label follows; `name_of` a column is what the CSV calls it."""
    if table["label"].nunique() < 2:
        return
    for column in table.columns.difference(_NO_METADATA, sort=False):
        name = name_of(column)
        if _gives_label(table[column], table):
            text = (
                f"column {name!r} determines the label; do not stratify by it, and do not feed it "
                "to the network"
            )
            yield Finding("label_columns", "warning", text)
        elif _orders_label(table[column], table["label"]):
            text = (
                f"the numbers in column {name!r} determine the label by a threshold; the label may "
                "be made from them: do not feed them to the network"
            )
            yield Finding("label_columns", "warning", text)


def label_path_findings(table: pd.DataFrame) -> Iterator[Finding]:
    """Folders, and words of file names, from which the label follows; a network sees no path.

    They are counted from the end, because the folders above may be nested differently.
    """
    if table["label"].nunique() < 2:
        return
    paths = table["image_path"].str.strip().tolist()
    codes, folders = pd.factorize(np.array([path.rpartition("/")[0] for path in paths], object))
    inside = [folder.split("/") for folder in folders]
    names = [path.rpartition("/")[2].rsplit(".", 1)[0] for path in paths]
    num_words = pd.Series(names, dtype=str).str.count(_BETWEEN_WORDS.pattern).max() + 1

    def folder_of(place: int) -> Iterator[str]:
        of = [parts[-place] if len(parts) >= place else "" for parts in inside]
        return (of[code] for code in codes.tolist())

    def word_of(place: int) -> Iterator[str]:
        parts = map(_BETWEEN_WORDS.split, names)
        return (words[-place] if len(words) >= place else "" for words in parts)

    for what, of, cells, most in (
        ("folder", "image path", folder_of, max(map(len, inside))),
        ("word", "file name", word_of, int(num_words)),
    ):
        for place in range(1, most + 1):
            few = _few_values(cells(place))
            if few and _gives_label(pd.Series(few, index=table.index, dtype=str), table):
                shown = listed(sorted(set(few) - {""})[:3])
                text = f"{what} {place} from the end of the {of} ({shown}, ...) determines the "
                yield Finding("label_paths", "note", f"{text}label")


def _few_values(cells: Iterable[str]) -> list[str] | None:
    """The cells; None as soon as they have more values than a category."""
    seen, few, num_values = set[str](), [], 0
    for cell in cells:
        few.append(cell)
        if cell not in seen:
            seen.add(cell)
            num_values += cell.strip() != ""
            if num_values > MAX_VALUES:
                return None
    return few


def contradictory_labels(manifest: Manifest) -> list[Finding]:
    """Errors for patients whose images have different labels, for a task that forbids it."""
    findings = []
    rules = "worst, majority or none"
    if isinstance(manifest.classes, LabelNames):
        rules = "worst (a label of any image is the patient's), majority (of half of them) or none"
    for patient, rows in _with_several(manifest.samples, "label"):
        text = (
            f"patient {patient!r} has contradictory labels "
            f"{with_lines(rows['label'], rows['line'])}; correct them, or set "
            f"evaluation.patient_label to {rules}"
        )
        findings.append(Finding("contradictory_labels", "error", text, int(rows["line"].max())))
    return sorted(findings, key=lambda finding: finding.line)


def middle_findings(manifest: Manifest, middle: Middle) -> list[Finding]:
    """Errors where `evaluation.middle` is blank or is of several patients; else a warning where it
    is one image each, or one of each patient, so that its level repeats another.
    """
    table = manifest.samples
    found = [
        Finding("blank", "error", f"the {middle} is blank; evaluation.middle={middle} needs it", n)
        for n in table["line"][table[middle].str.strip() == ""]
    ]
    known = table[table[middle].str.strip() != ""]
    for name, rows in _with_several(known, "patient_id", of=middle):
        text = (
            f"{middle} {name!r} is of {len(rows)} patients: "
            f"{with_lines(rows['patient_id'], rows['line'])}; with evaluation.middle={middle} it "
            f"is of one: correct the patients, or give each patient's {PLURALS[middle]} ids of "
            "their own"
        )
        found.append(Finding("two_patients", "error", text, int(rows["line"].max())))
    if not found:
        num = table[middle].nunique()
        for repeated, of in (("image", len(table)), ("patient", table["patient_id"].nunique())):
            if num == of:
                text = (
                    f"evaluation.middle={middle}: there are as many {PLURALS[middle]} as "
                    f"{repeated}s, so the {middle} level repeats the {repeated} level"
                )
                return [Finding("middle", "warning", text)]
    return sorted(found, key=lambda finding: finding.line)


def _with_several(
    table: pd.DataFrame, column: str, of: str = "patient_id"
) -> Iterator[tuple[Hashable, pd.DataFrame]]:
    """Each patient with several values of a column, and the first row of each value."""
    seen = table.drop_duplicates([of, column])
    yield from seen[seen.duplicated(of, keep=False)].groupby(of)


def _gives_label(cells: "pd.Series[str]", table: pd.DataFrame) -> bool:
    """Has each of the few values of a column one label only?"""
    known = cells.str.strip() != ""
    num_values = cells[known].nunique()
    few = min(MAX_VALUES, table["patient_id"].nunique() / 2)
    if not 2 <= num_values <= few or known.mean() < 0.5:
        return False
    labels = table["label"][known].groupby(cells[known]).nunique()
    return bool((labels == 1).all()) and table["label"][known].nunique() > 1


def _orders_label(cells: "pd.Series[str]", labels: "pd.Series[str]") -> bool:
    """Is every class a range of a column's numbers, with nobody else's number within?"""
    numbers = pd.to_numeric(cells, errors="coerce")
    known = numbers.notna() & np.isfinite(numbers)
    counts = labels[known].value_counts()
    if known.mean() < 0.5 or len(counts) < 2 or counts.min() < FEW_OF_A_CLASS:
        return False
    ranges = numbers[known].groupby(labels[known]).agg(["min", "max"]).sort_values("min")
    return bool((ranges["max"].to_numpy()[:-1] < ranges["min"].to_numpy()[1:]).all())
