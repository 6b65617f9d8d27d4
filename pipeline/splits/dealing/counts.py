"""What each leakage group brings into its block: images and patients of every kind."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.arrays import Ints
from pipeline.config import UserError
from pipeline.manifest import Manifest
from pipeline.splits.dealing.balance import Quantities


def group_names(manifest: Manifest) -> list[str]:
    """The leakage groups that have an image in use, sorted: not the row order of the CSV."""
    return sorted(manifest.samples["group"].unique())


def groups_of(manifest: Manifest) -> dict[str, str]:
    """The leakage group of every patient, sorted by id, those without an image in use too."""
    first = manifest.table.drop_duplicates("patient_id").sort_values("patient_id")
    return dict(zip(first["patient_id"].tolist(), first["group"].tolist(), strict=True))


def cells_of(manifest: Manifest, asked: str, setting: str, also: str = "") -> pd.Series:
    """The text of the CSV's column that a setting names, of the samples in use.

    Raises UserError, which names `also` and all columns, when there is no such column.
    """
    column = manifest.column(asked)
    if not column:
        raise UserError(
            f"{setting}: {manifest.path} has no column {asked!r}; use {also}one of "
            f"{', '.join(manifest.column_names)}."
        )
    return manifest.samples[column].astype(str)


def count_groups(
    manifest: Manifest, groups: Sequence[str], stratify: Sequence[str] = (), num_bins: int = 4
) -> Quantities:
    """Images per class, and patients per class and per value of each column in `stratify`.

    A patient may have several classes or values; a numeric column with more than `num_bins` values
    is cut into bins of equal counts, beside which a text (such as "unknown") is a value of its own.
    Raises UserError for a column that the manifest does not have, or one with too many values.
    """
    samples = manifest.samples
    samples = samples[samples["group"].isin(groups)]
    has_class = manifest.has_class[samples.index.to_numpy()]
    sample, labels = np.nonzero(has_class)
    code = pd.Index(groups).get_indexer(pd.Index(samples["group"]))
    images = np.zeros((len(groups), len(manifest.classes)))
    np.add.at(images, (code[sample], labels), 1)
    patient_code, ids = pd.factorize(samples["patient_id"])
    group_of = np.zeros(len(ids), np.int64)
    group_of[patient_code] = code
    columns = [(sample, labels, len(manifest.classes))]
    columns += [_values(manifest, samples, column, num_bins) for column in stratify]
    kinds = []
    for rows, values, num_values in columns:
        once = np.unique(patient_code[rows] * num_values + values)  # a patient counts once
        kinds.append(np.zeros((len(groups), num_values)))
        np.add.at(kinds[-1], (group_of[once // num_values], once % num_values), 1)
    num_patients = np.bincount(group_of, minlength=len(groups)).astype(float)
    num_images = np.bincount(code, minlength=len(groups)).astype(float)
    return Quantities(images, np.column_stack(kinds), num_patients, num_images)


def _values(
    manifest: Manifest, samples: pd.DataFrame, asked: str, num_bins: int
) -> tuple[Ints, Ints, int]:
    """(M,) row positions and (M,) value codes of a column's cells; blank ones are left out."""
    column = cells_of(manifest, asked, "split.stratify")
    text, texts = pd.factorize(column[samples.index])  # each text is split once
    cells = pd.Series(texts, dtype=str).str.split("|").explode().str.strip()
    cells = cells[cells != ""]
    rows = pd.DataFrame({"row": np.arange(len(text)), "text": text})
    found = rows.merge(pd.DataFrame({"text": cells.index, "cell": np.arange(len(cells))}))
    cell = found["cell"].to_numpy()
    numbers = pd.to_numeric(cells, errors="coerce").replace([np.inf, -np.inf], np.nan)
    if numbers.nunique() > num_bins and numbers.notna().mean() > 0.5:
        bins = pd.qcut(numbers.to_numpy()[cell], num_bins, labels=False, duplicates="drop")
        texts = pd.factorize(cells.where(numbers.isna()), sort=True)[0][cell]  # e.g. "unknown"
        codes = np.where(texts < 0, np.nan_to_num(bins), num_bins + texts)
    else:
        codes = pd.factorize(cells, sort=True)[0][cell]
    num_values = int(codes.max()) + 1 if len(codes) else 0
    if num_values > 50:
        raise UserError(
            f"split.stratify: column {asked!r} has {num_values} values; at most 50 are allowed."
        )
    return found["row"].to_numpy(), codes.astype(np.int64), num_values
