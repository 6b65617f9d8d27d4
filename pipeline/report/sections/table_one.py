"""Table 1: who the patients are, over all and in the test part of each fold; every part's size."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from pipeline.engine.finished import Finished
from pipeline.label_names import LabelNames, matrix_of
from pipeline.report.blocks import Block, Cell, Folded, Section, Words, table
from pipeline.report.numbers import NONE
from pipeline.splits.folds import PARTS

MOST_FOLDS, MOST_CATEGORIES, MOST_LISTED = 10, 12, 40
KEYS = ("patient_id", "image_path", "label")
BLANK = ("", "na", "n/a", "nan", "none", "null", "unknown", "?")
"""What stands in a cell for nothing, in any case."""


NO_COHORT = (
    "This run was made by an earlier version, which did not keep the manifest's other columns "
    "(cohort.csv)."
)
NO_PARTS = (
    "How many patients of each class are in each part is not known here: not everybody is tested, "
    "and this run was made by an earlier version, without flow.json."
)


def table_one(run: Finished) -> Section:
    """Characteristics, and below them the parts."""
    cohort = run.images[list(KEYS)] if run.cohort is None else run.cohort
    columns = _columns(run, cohort)
    rows, left_out = characteristics(run.classes, cohort, columns)
    note = "Patients (share), or median (smallest to largest) over patients."
    if left_out:
        note += f" Not shown, since nearly every value differs: {', '.join(left_out)}."
    if run.cohort is None:
        note += f" {NO_COHORT}"
    heads = ["", *columns]
    blocks: list[Block] = [table(heads, rows, note), _parts(run)]
    return Section("patients", "Table 1: patients", blocks)


def characteristics(
    classes: Sequence[str], cohort: pd.DataFrame, columns: Mapping[str, pd.DataFrame]
) -> tuple[list[Sequence[str | Cell]], list[str]]:
    """Rows of a table of patients, with a cell for each of `columns`; and what they leave out.

    `cohort` has the rows of all columns together, and says what there is to be shown.
    """
    rows: list[Sequence[str | Cell]] = [*_size_rows(columns), *_class_rows(classes, columns)]
    others, left_out = _other_columns(cohort)
    for name in others:
        rows += _rows_of(name, cohort[name], columns)
    return rows, left_out


def _columns(run: Finished, cohort: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Heading -> the rows of the cohort that the column is about."""
    plan = run.folds
    inside = {patient for fold in plan.folds for part in PARTS for patient in fold.of(part)}
    columns = {"all": cohort[cohort["patient_id"].isin(inside)]}
    if plan.num_folds == 1:
        of: dict[str, frozenset[str]] = {str(p): plan.folds[0].of(p) for p in PARTS}
    elif plan.num_folds <= MOST_FOLDS:
        of = {f"test of fold {fold.index}": fold.test for fold in plan.folds}
    else:
        of = {}
    columns |= {name: cohort[cohort["patient_id"].isin(who)] for name, who in of.items()}
    return {name: rows for name, rows in columns.items() if len(rows)}


def _size_rows(columns: Mapping[str, pd.DataFrame]) -> Iterator[Sequence[str]]:
    yield ["patients", *(f"{rows['patient_id'].nunique():,}" for rows in columns.values())]
    yield ["images", *(f"{len(rows):,}" for rows in columns.values())]
    counts = [rows["patient_id"].value_counts() for rows in columns.values()]
    yield ["images of a patient", *map(_middle, counts)]


def _class_rows(
    classes: Sequence[str], columns: Mapping[str, pd.DataFrame]
) -> Iterator[Sequence[str]]:
    """Patients with an image of each class: they may have images of several."""
    for name in classes:
        cells = []
        for rows in columns.values():
            has = _has(classes, name, rows["label"])
            cells.append(
                _count(rows.loc[has, "patient_id"].nunique(), rows["patient_id"].nunique())
            )
        yield [f"with {name}", *cells]


def _has(classes: Sequence[str], name: str, labels: pd.Series) -> pd.Series:
    if not isinstance(classes, LabelNames):
        return labels == name
    return pd.Series(classes.matrix(labels)[:, list(classes).index(name)], labels.index)


def _other_columns(cohort: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Those that can be summed up, and those that cannot: ids, paths, dates."""
    shown: list[str] = []
    left_out: list[str] = []
    for name in [str(column) for column in cohort if column not in KEYS]:
        values = cohort[name][~_is_blank(cohort[name])]
        few = values.nunique() <= MOST_CATEGORIES
        (shown if few or _numbers(values) is not None else left_out).append(name)
    return shown, left_out


def _rows_of(
    name: str, whole: pd.Series, columns: Mapping[str, pd.DataFrame]
) -> Iterator[Sequence[str]]:
    known = whole[~_is_blank(whole)]
    if known.empty:
        return
    if known.nunique() > MOST_CATEGORIES:
        yield [name, *(_median_of_patients(name, rows) for rows in columns.values())]
    else:
        for value in sorted(known.unique()):
            cells = []
            for rows in columns.values():
                num = rows.loc[rows[name] == value, "patient_id"].nunique()
                cells.append(_count(num, rows["patient_id"].nunique()))
            yield [f"{name}: {value}", *cells]
    if len(known) < len(whole):
        lacking = [
            rows.loc[_is_blank(rows[name]), "patient_id"].nunique() for rows in columns.values()
        ]
        yield [f"{name}: not given", *(f"{num:,}" for num in lacking)]


def _median_of_patients(name: str, rows: pd.DataFrame) -> str:
    """Of each patient's first value."""
    given = rows[~_is_blank(rows[name])].drop_duplicates("patient_id")
    numbers = _numbers(given[name])
    return NONE if numbers is None or numbers.empty else _middle(numbers)


def _numbers(values: pd.Series) -> pd.Series | None:
    """As numbers; None where one is none."""
    found = pd.to_numeric(values, errors="coerce")
    return None if found.isna().any() else found


def _is_blank(values: pd.Series) -> pd.Series:
    return values.str.strip().str.lower().isin(BLANK)


def _middle(numbers: pd.Series) -> str:
    low, middle, high = map(in_digits, (numbers.min(), numbers.median(), numbers.max()))
    return f"{middle} ({low} to {high})"


def in_digits(value: float) -> str:
    """Four digits, or all before the point: 12,870 and not 1.287e+04."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _count(num: int, total: int) -> str:
    return f"{num:,} ({100 * num / max(1, total):.0f} %)"


def _parts(run: Finished) -> Block:
    """Every part of every fold: patients and images of each class."""
    columns = ["fold", "part", "patients", "images", *run.classes]
    found = _counts_from_flow(run) if run.flow is not None else list(_counts_from_predictions(run))
    rows: list[Sequence[str | Cell]] = []
    for fold, part, num_patients, num_images, patients, images in found[: 3 * MOST_LISTED]:
        pairs = zip(patients, images, strict=True)
        cells = [Cell(f"{p:,} / {i:,}", "plain" if p else "bad") for p, i in pairs]
        rows.append([fold, part, f"{num_patients:,}", f"{num_images:,}", *cells])
    note = "Of each class: patients / images. A patient may have images of several classes."
    if len(found) > len(rows):
        note += f" The first {MOST_LISTED} folds are shown."
    if not found:
        return Words(NO_PARTS, "muted")
    inner = table(columns, rows, note, num_words=2)
    return Folded("Every part of every fold", [inner])


Counts = tuple[str, str, int, int, Sequence[int], Sequence[int]]


def _counts_from_flow(run: Finished) -> list[Counts]:
    assert run.flow is not None
    names = "fold", "part", "num_patients", "num_images", "patients_per_class", "images_per_class"
    return [tuple(counts[name] for name in names) for counts in run.flow["parts"]]


def _counts_from_predictions(run: Finished) -> Iterator[Counts]:
    """The same, where everybody is tested."""
    plan = run.folds
    images = run.images.drop_duplicates("image_path")
    if set(images["patient_id"]) != {
        p for fold in plan.folds for part in PARTS for p in fold.of(part)
    }:
        return
    if isinstance(run.classes, LabelNames):
        has = run.classes.matrix(images["label"])
    else:
        has = matrix_of(run.classes, pd.Index(run.classes).get_indexer(pd.Index(images["label"])))
    of_classes = pd.DataFrame(has, index=images["patient_id"]).groupby(level=0)
    num_images, num = of_classes.sum(), images["patient_id"].value_counts()
    for fold in plan.folds:
        for part in PARTS:
            who = sorted(fold.of(part))
            theirs = num_images.loc[who]
            yield (
                str(fold.index),
                part,
                len(who),
                int(num.loc[who].sum()),
                (theirs > 0).sum().tolist(),
                theirs.sum().tolist(),
            )
