"""Read a split made elsewhere: a column of the manifest, a CSV, or nnU-Net's splits_final.json."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.manifest import Manifest
from pipeline.splits.given.csv_file import read_csv
from pipeline.splits.given.given_split import GivenSplit, split_by_value
from pipeline.splits.given.nnunet import read_nnunet
from pipeline.words import listed


def read_column(manifest: Manifest, column: str, where: str, known_as: str) -> GivenSplit:
    """The split that `column` of the manifest's table names; the user knows it as `known_as`.

    `where` is the setting that named it, for errors.

    Raises:
        UserError: for an unknown column or unknown values.
    """
    if column not in manifest.table or column in ("line", "group"):
        known = manifest.column_names
        raise UserError(
            f"{where}: {manifest.path} has no such column; its columns are "
            f"{listed(known, len(known))}."
        )
    rows = manifest.samples.index.to_numpy(np.int64)
    values = pd.Categorical(manifest.samples[column])
    return split_by_value(f"column {known_as!r}", where, rows, values)


def read_file(manifest: Manifest, path: Path, where: str) -> GivenSplit:
    """The split in a CSV of fold assignments, a plan.csv, or nnU-Net's splits_final.json.

    `where` is the setting that named it, for errors.

    Raises:
        UserError: when the file cannot be read or none of its names is in the manifest.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{where}: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{where}: is not UTF-8; save the file as UTF-8.") from None
    if path.suffix.lower() == ".json":
        return read_nnunet(manifest, path.name, where, text)
    return read_csv(manifest, path, where, text)
