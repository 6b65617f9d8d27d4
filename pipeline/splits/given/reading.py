"""Read a split made elsewhere: a column of the manifest, a CSV, or nnU-Net's splits_final.json."""

import json
from pathlib import Path

import numpy as np

from pipeline.config import UserError
from pipeline.manifest import Manifest
from pipeline.splits.given.csv_file import read_csv
from pipeline.splits.given.given_split import (
    PARTS,
    ForeignSplit,
    Round,
    listed,
    numbered,
    split_by_value,
)
from pipeline.splits.given.names import NameMatcher


def read_part_column(manifest: Manifest, column: str, known_as: str) -> ForeignSplit:
    """The split that `column` of the manifest's table names; the user knows it as `known_as`.

    Raises:
        UserError: for an unknown column or unknown values.
    """
    where = f"audit.part_column={known_as}"
    known = [str(name) for name in manifest.table if name not in ("line", "group")]
    if column not in known:
        raise UserError(
            f"{where}: {manifest.path} has no such column; its columns are "
            f"{listed(known, len(known))}."
        )
    rows = manifest.samples.index.to_numpy(np.int64)
    codes, values = numbered(manifest.samples[column])
    return split_by_value(f"column {known_as!r}", where, rows, codes, values)


def read_part_file(manifest: Manifest, path: Path) -> ForeignSplit:
    """The split in a CSV of fold assignments, or in nnU-Net's splits_final.json.

    Raises:
        UserError: when the file cannot be read or none of its names is in the manifest.
    """
    where = f"audit.part_file {path}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{where}: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{where}: is not UTF-8; save the file as UTF-8.") from None
    if path.suffix.lower() == ".json":
        return _read_nnunet(manifest, path.name, where, text)
    return read_csv(manifest, path.name, where, text)


def _read_nnunet(manifest: Manifest, name: str, where: str, text: str) -> ForeignSplit:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is not JSON ({error}).") from None
    good = isinstance(entries, list) and all(
        isinstance(entry, dict)
        and {"train", "val"} <= entry.keys() <= set(PARTS)
        and all(isinstance(names, list) for names in entry.values())
        for entry in entries
    )
    if not entries or not good:
        raise UserError(
            f'{where}: needs nnU-Net\'s form, a list of {{"train": [...], "val": [...]}} with the '
            "names of cases."
        )
    lists = [(i, part, entry[part]) for i, entry in enumerate(entries) for part in entry]
    names = [str(case) for _, _, cases in lists for case in cases]
    matcher = NameMatcher(manifest, names)
    matcher.check(where, names)
    which = np.repeat(np.arange(len(lists)), [len(cases) for _, _, cases in lists])
    rows = matcher.rows_of_each(matcher.codes, which, len(lists))
    parts = {(i, part): rows[at] for at, (i, part, _) in enumerate(lists)}
    rounds = tuple(
        Round(str(i), {part: parts[i, part] for part in PARTS if part in entry})
        for i, entry in enumerate(entries)
    )
    return ForeignSplit(f"{name} ({matcher.kind})", rounds, unknown=matcher.unknown)
