"""The labels of a multilabel task: a column with `edema|effusion`, or one of 0 and 1 for each."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from pipeline.config import ManifestConfig
from pipeline.label_names import BETWEEN, NONE, LabelNames
from pipeline.manifest.csv_file import label_columns
from pipeline.manifest.findings import Finding
from pipeline.words import listed

YES_OR_NO = {"1": True, "1.0": True, "0": False, "0.0": False}
_BLANK = "set manifest.blank_label=leave_out to leave such rows out"


def read_label_sets(
    table: pd.DataFrame, names: Mapping[str, str], config: ManifestConfig
) -> tuple[pd.DataFrame, LabelNames, list[Finding]]:
    """The table with one column `label`, the labels' names, and what is wrong with the cells.

    A cell of `label` holds names in their order, with | between them, or `none`; it is blank where
    nothing is known, and as it stands in the CSV where there is an error.
    """
    columns = label_columns(config)
    if columns:
        classes = LabelNames(config.classes or columns)
        table, cells = _one_column(table, {name: names.get(name, name) for name in columns})
    else:
        cells = [_named(cell, config) for cell in table["label"]]
        found = {name for cell in cells for name in cell or () if name}
        classes = LabelNames(config.classes or sorted(found - {NONE}))
    blank = _blank_text(columns, classes, config)
    texts, findings = [], []
    for line, raw, cell in zip(table["line"], table["label"], cells, strict=True):
        if cell is None and config.blank_label == "error":
            findings.append(Finding("blank", "error", blank, line))
        elif problem := _problem(raw, cell or frozenset(), classes, config):
            findings.append(Finding("unknown_class", "error", problem, line))
        known = cell is not None and cell <= set(classes)
        ours = BETWEEN.join(name for name in classes if name in (cell or ())) or NONE
        texts.append(ours if known else raw.strip())
    return table.assign(label=texts), classes, findings


def set_findings(table: pd.DataFrame, classes: LabelNames) -> Iterator[Finding]:
    """Every label is missing somewhere, or there is nothing to learn about it."""
    sets = [text.split(BETWEEN) for text in table["label"]]
    for name in classes:
        if sets and all(name in found for found in sets):
            text = f"every row has the label {name!r}: there is nothing to tell apart; leave it out"
            yield Finding("classes", "error", text)


def names_in(labels: "pd.Series[str]") -> set[str]:
    """Every label that a row has."""
    return {name for text in labels.unique() for name in text.split(BETWEEN)}


def _named(cell: str, config: ManifestConfig) -> frozenset[str] | None:
    """The labels that a cell names; None where it is blank and that does not mean none of them."""
    if not cell.strip():
        means_none = not config.no_label and config.blank_label == "error"
        return frozenset() if means_none else None
    names = frozenset(name.strip() for name in cell.split(BETWEEN))
    return frozenset() if names == {config.no_label} else names


def _one_column(
    table: pd.DataFrame, columns: Mapping[str, str]
) -> tuple[pd.DataFrame, list[frozenset[str] | None]]:
    """Without the columns of single labels: what they say, as a column of texts and as sets.

    A cell that is neither 0 nor 1 is no known label, `edema=2`.
    """
    raws, sets = [], []
    for row in table[list(columns.values())].itertuples(index=False):
        cells = {name: str(cell).strip() for name, cell in zip(columns, row, strict=True)}
        odd = [f"{name}={cell}" for name, cell in cells.items() if cell not in YES_OR_NO]
        has = frozenset([*(name for name, cell in cells.items() if YES_OR_NO.get(cell)), *odd])
        is_blank = not all(cells.values())
        raws.append("" if is_blank else BETWEEN.join(sorted(has)))
        sets.append(None if is_blank else has)
    return table.drop(columns=list(columns.values())).assign(label=raws), sets


def _problem(
    raw: str, cell: frozenset[str], classes: Sequence[str], config: ManifestConfig
) -> str | None:
    """What is wrong with the labels that a cell names."""
    unknown = sorted(cell - set(classes))
    if not unknown:
        return None
    if label_columns(config):
        return f"{listed(unknown)}: allowed are 0 and 1"
    if config.no_label in unknown:
        return f"{raw!r} says none of the labels (manifest.no_label), and labels besides"
    text = f"unknown label {listed(unknown)} in {raw!r}; allowed are {listed(classes)}"
    if unknown == [NONE]:
        text += "; if it says that there is none of them, set manifest.no_label=none"
    return text


def _blank_text(columns: Sequence[str], classes: Sequence[str], config: ManifestConfig) -> str:
    if columns:
        return f"a label is blank, of {listed(columns)}; allowed are 0 and 1, or {_BLANK}"
    return (
        f"the label is blank; allowed are {listed(classes)}, with | between them, and "
        f"{config.no_label!r} for none of them; or {_BLANK}"
    )
