"""Patient ids, and other keys that link patients: one spelling for one, and a true value."""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import pandas as pd

from pipeline.manifest.findings import Finding, Severity, with_lines
from pipeline.manifest.second_part import second_part_findings

MANY_ROWS = 100
"""From here on a patient id of its own on every row is refused: a set so large nearly always has
somebody with two images. Below it only a warning, from FEW_ROWS on."""
FEW_ROWS = 20

_NOTHING = {"nan", "na", "n/a", "none", "null", "nil", "unknown", "missing", "?", "-", "--", "."}
_PERSON = re.compile(r"patient|subject|person|participant|case|mrn|pid", re.I)
_PROPERTY = re.compile(
    r"sex|gender|age(?![a-z])|birth|dob|type|group|control|status|weight|height|race|count", re.I
)
_WHOLE = re.compile(r"^(\d+)\.0+$")
"""7.0: a table program took ids for numbers."""
_LEADING_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")
_SEPARATED = re.compile(r"(?<=[^\W\d_])[\s_-]+(?=\d)")


_ALIKE = str.maketrans(
    "авекмнорстухіјѕԁԛԝӏαβεζηικμνορτυχϳ",
    "abekmhopctyxijsdqwlabezhikmnoptyxj",
)
"""Cyrillic and Greek letters, in lower case, that are drawn like a Latin one in some case."""


def canonical_id(raw: str) -> str:
    """One spelling for ids that differ by case, space, Unicode form, zero padding or .0 only.

    Letters of other alphabets that look like Latin ones, and all dashes, are one too.
    """
    if raw.isascii():
        folded = " ".join(raw.lower().split())
        return _without_zeros(folded) if "0" in folded else folded
    visible = "".join(c for c in raw if unicodedata.category(c) != "Cf")  # e.g. zero-width space
    folded = " ".join(unicodedata.normalize("NFKC", visible).casefold().split())
    folded = "".join(_dash(c) for c in folded.translate(_ALIKE))
    return _without_zeros(folded)


def _without_zeros(text: str) -> str:
    whole = _WHOLE.sub(r"\1", text) if "." in text else text
    return _LEADING_ZEROS.sub("", whole)


def _dash(letter: str) -> str:
    return "-" if letter == "\u2212" or unicodedata.category(letter) == "Pd" else letter


def _strange_letters(raws: Sequence[str]) -> str:
    """The names of letters that are drawn like others in these spellings."""
    strange = sorted(
        {c for raw in raws for c in raw if c.casefold().translate(_ALIKE) != c.casefold()}
    )
    names = [f"{c!r} is {unicodedata.name(c, '?').capitalize()}" for c in strange[:3]]
    return f"; {', '.join(names)}" if names else ""


def spelled_alike(
    values: Iterable[str], form: Callable[[str], str] = canonical_id
) -> Iterator[list[str]]:
    """The spellings of each value that is written in several ways, in order of occurrence."""
    spellings: dict[str, list[str]] = {}
    for raw in map(str, values):
        if raw.strip():
            spellings.setdefault(form(raw), []).append(raw)
    yield from (raws for raws in spellings.values() if len(raws) > 1)


def spelling_findings(table: pd.DataFrame) -> Iterator[Finding]:
    """One patient written two ways would be two patients, perhaps on both sides of a split."""
    first_line = table.drop_duplicates("patient_id").set_index("patient_id")["line"]
    ids = first_line.index.tolist()
    forms = dict(zip(ids, map(canonical_id, ids), strict=True))
    for raws in spelled_alike(ids, forms.__getitem__):
        text = (
            f"patient id {raws[-1]!r} is also written "
            f"{with_lines(raws[:-1], first_line[raws[:-1]])}; "
            "write one patient one way (or rename one if they are two people)"
            f"{_strange_letters(raws)}"
        )
        yield Finding("spelling", "error", text, int(first_line[raws[-1]]))
    firsts = {form: raw for raw, form in reversed(forms.items())}
    in_order = [raw for raw, form in forms.items() if firsts[form] == raw]
    for raws in spelled_alike(in_order, lambda raw: _SEPARATED.sub("", forms[raw])):
        alike = with_lines(raws, first_line[raws])
        text = f"patient ids {alike} differ by a separator only; are they one person?"
        yield Finding("spelling", "warning", text, int(first_line[raws[-1]]))


def image_ids_findings(table: pd.DataFrame) -> Iterator[Finding]:
    """Ids that seem to name images: they have a second part, or else one_image_per_patient."""
    found = list(second_part_findings(table))
    yield from found
    num_patients = table["patient_id"].nunique()
    if num_patients == len(table) >= FEW_ROWS and not any(f.severity == "error" for f in found):
        text = (
            f"every one of the {len(table)} rows has a patient id of its own; does the patient "
            "column name images? Give the patient's own id, or set "
            "manifest.accept=[one_image_per_patient] if nobody has two images"
        )
        severity: Severity = "error" if len(table) >= MANY_ROWS else "warning"
        yield Finding("one_image_per_patient", severity, text)


def key_findings(
    table: pd.DataFrame, columns: Sequence[str], name_of: Callable[[str], str]
) -> Iterator[Finding]:
    """Keys that link patients: one value spelled several ways, and words that stand for none."""
    for column in columns:
        name = name_of(column)
        cells = table[column].str.strip()
        first_line = table["line"].set_axis(cells)[~cells.duplicated().to_numpy()]
        for raws in spelled_alike(first_line.index.tolist()):
            written = with_lines(raws, first_line[raws], " and ")
            text = (
                f"column {name!r} links patients, but {written} link nobody with each other; write "
                "one value one way, or set manifest.accept=[key_spelling] if they differ"
            )
            yield Finding("key_spelling", "error", text, int(first_line[raws[-1]]))
        unknown = cells.str.casefold().isin(_NOTHING)
        num_patients = table["patient_id"][unknown].groupby(cells[unknown]).nunique()
        for word, num in num_patients[num_patients > 1].items():
            text = (
                f"column {name!r} links {num} patients by {word!r}; leave the cell blank where "
                "nothing is known"
            )
            yield Finding("placeholder", "warning", text, int(first_line[str(word)]))


def placeholder_findings(table: pd.DataFrame) -> Iterator[Finding]:
    """A word for a missing id, on several rows, makes one patient of several people."""
    unknown = table[table["patient_id"].str.strip().str.casefold().isin(_NOTHING)]
    for patient, lines in unknown.groupby("patient_id")["line"]:
        if len(lines) > 1:
            text = (
                f"patient id {patient!r} of {len(lines)} rows seems to mean that the patient is "
                "unknown; give each patient an id, or set manifest.accept=[placeholder] if it is "
                "one person"
            )
            yield Finding("placeholder", "error", text, int(lines.min()))


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
        if whole and len(known_rows) > 0.9 * len(table) and 2 < num_values < num_patients:
            text = (
                f"column {name!r} joins {num_patients} patients of column "
                f"{name_of('patient_id')!r} into {num_values}: are those the patients? Then set "
                f"manifest.columns.patient={name} (or manifest.group_columns=[{name}]); else "
                "manifest.accept=[coarser_ids]"
            )
            yield Finding("coarser_ids", "warning", text)
