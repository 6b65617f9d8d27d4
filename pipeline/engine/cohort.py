"""cohort.csv of a run folder: every row of the manifest, with what else the CSV says of it."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.config import Config, UserError
from pipeline.files import open_plain
from pipeline.manifest import Manifest

FILE_NAME = "cohort.csv"
KEYS = ("patient_id", "image_path", "label")
OURS = ("line", "group")
"""Columns of a manifest's table that are no columns of the CSV; plan.csv has the groups."""
USUAL = ("site", "sex", "gender", "age")
"""By which patients are grouped where `evaluation.subgroups` names no columns."""


def subgroup_columns(manifest: Manifest, asked: Sequence[str] | None) -> dict[str, str]:
    """The columns of `evaluation.subgroups`: their names in the CSV -> in the cohort.

    None stands for those of USUAL that the CSV has, in any spelling, and for the column of sites.

    Raises:
        UserError: the CSV has no such column, or it is the patient, the image or the label.
    """
    if asked is None:
        usual = {name for name in manifest.column_names if name.casefold() in USUAL}
        site = {manifest.name_of("site")} if "site" in manifest.table else set()
        asked = [name for name in manifest.column_names if name in usual | site]
    found = {name: manifest.column(name) for name in asked}
    if wrong := [name for name, ours in found.items() if ours is None or ours in KEYS]:
        allowed = [n for n in manifest.column_names if manifest.column(n) not in (None, *KEYS)]
        raise UserError(
            f"evaluation.subgroups: {wrong[0]!r} is no column of {manifest.path} by which patients "
            f"can be grouped; there are {', '.join(allowed) or 'none'}."
        )
    return {name: ours for name, ours in found.items() if ours is not None}


def cohort_of(manifest: Manifest, config: Config) -> pd.DataFrame:
    """The manifest's rows, all cells as text: patient, image, label, and the CSV's other columns.

    Columns that a setting names (`manifest.columns.site`) have our names. Pseudonyms stand only for
    patients, images and keys that join rows: with `privacy.pseudonyms` no other column is kept but
    site and those that `evaluation.subgroups` and `split.stratify` name.
    """
    table = manifest.table
    others = [str(name) for name in table if name not in (*KEYS, *OURS)]
    if config.privacy.pseudonyms:
        named = {manifest.column(name) for name in config.split.stratify}
        named |= {"site", *subgroup_columns(manifest, config.evaluation.subgroups).values()}
        others = [name for name in others if name in named]
    return table[[*KEYS, *others]].astype(str)


def cohort_text(cohort: pd.DataFrame) -> str:
    """As it stands in the file: the same cohort has the same bytes."""
    return cohort.to_csv(index=False, lineterminator="\n")


def read_cohort(path: Path) -> pd.DataFrame:
    """What `cohort_text` wrote; text stays text (`007`, `NA`).

    Raises:
        UserError: it is damaged.
    """
    try:
        with open_plain(path) as file:
            text = io.StringIO(file.read().decode(), newline="")
        header, *rows = csv.reader(text, strict=True)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    if tuple(header[: len(KEYS)]) != KEYS or any(len(row) != len(header) for row in rows):
        raise UserError(f"{path}: expected the columns {', '.join(KEYS)} first, in whole rows.")
    return pd.DataFrame(rows, columns=header, dtype=str)
