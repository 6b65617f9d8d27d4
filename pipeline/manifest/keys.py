"""Ids and keys that do not mean what they say: no value, one value twice, coarser ids."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence

import pandas as pd

from pipeline.manifest.findings import Finding
from pipeline.manifest.ids import spelled_alike

_NOTHING = {"nan", "na", "n/a", "none", "null", "nil", "unknown", "missing", "?", "-", "--", "."}
_PERSON = re.compile(r"patient|subject|person|participant|case|mrn|pid", re.I)
_PROPERTY = re.compile(
    r"sex|gender|age(?![a-z])|birth|dob|type|group|control|status|weight|height|race|count", re.I
)


def key_findings(
    table: pd.DataFrame, columns: Sequence[str], name_of: Callable[[str], str]
) -> Iterator[Finding]:
    """Keys that link patients: one value spelled several ways, and words that stand for none."""
    for column in columns:
        name = name_of(column)
        cells = table[column].str.strip()
        first_line = table["line"].groupby(cells, sort=False).first()
        for raws in spelled_alike(first_line.index):
            written = " and ".join(f"{raw!r} (line {first_line[raw]})" for raw in raws)
            text = (
                f"column {name!r} links patients, but {written} link nobody with each other; write "
                "one value one way, or set manifest.accept=[key_spelling] if they differ"
            )
            yield Finding("key_spelling", "error", text, int(first_line[raws[-1]]))
        num_patients = table["patient_id"].groupby(cells).nunique()
        for word in num_patients.index[num_patients > 1]:
            if word.casefold() in _NOTHING:
                text = (
                    f"column {name!r} links {num_patients[word]} patients by {word!r}; leave the "
                    "cell blank where nothing is known"
                )
                yield Finding("placeholder", "warning", text, int(first_line[word]))


def placeholder_findings(table: pd.DataFrame) -> Iterator[Finding]:
    """A word for a missing id, on several rows, makes one patient of several people."""
    rows = table.groupby("patient_id")["line"]
    for (patient, first), num in zip(rows.min().items(), rows.size(), strict=True):
        if num > 1 and str(patient).strip().casefold() in _NOTHING:
            text = (
                f"patient id {patient!r} of {num} rows seems to mean that the patient is unknown; "
                "give each patient an id, or set manifest.accept=[placeholder] if it is one person"
            )
            yield Finding("placeholder", "error", text, int(first))


def coarser_ids_findings(
    table: pd.DataFrame, known: Collection[str], name_of: Callable[[str], str]
) -> Iterator[Finding]:
    """Another column of ids, not `known`, by which patients belong together: the true ones?"""
    for column in table.columns:
        name = name_of(column)
        is_id = _PERSON.search(name) and not _PROPERTY.search(name)
        if column == "patient_id" or column in known or not is_id:
            continue
        known_rows = table[table[column].str.strip() != ""]
        whole = known_rows.groupby("patient_id")[column].nunique().eq(1).all()
        num_patients = known_rows["patient_id"].nunique()
        num_values = known_rows[column].nunique()
        if len(known_rows) > 0.9 * len(table) and whole and 2 < num_values < num_patients:
            text = (
                f"column {name!r} joins {num_patients} patients of column "
                f"{name_of('patient_id')!r} into {num_values}: are those the patients? Then set "
                f"manifest.columns.patient={name} (or manifest.group_columns=[{name}]); else "
                "manifest.accept=[coarser_ids]"
            )
            yield Finding("coarser_ids", "warning", text)
