"""Which rows of the manifest the names in somebody's split file mean."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from pipeline.arrays import Ints
from pipeline.errors import UserError
from pipeline.manifest import Manifest, canonical_id
from pipeline.words import listed

_SUFFIX = re.compile(r"\.(nii\.gz|[A-Za-z]\w{1,4})$")
"""Starts with a letter, unlike the last number of a DICOM UID."""
_CHANNEL = re.compile(r"_\d{4}$")


@dataclass(frozen=True)
class MatchedNames:
    """The names of a file and the rows that they mean."""

    kind: str
    """How they were matched, in words."""
    names: Sequence[str]
    """Each once; elsewhere a name is known by its number here."""
    share_known: float
    unknown: tuple[str, ...]
    """Names that mean no row, or rows of several patients."""
    rows: pd.DataFrame
    """`name` (its number) and `row`: each row that a known name means."""

    def with_rows(self, records: pd.DataFrame) -> pd.DataFrame:
        """The records once for each `row` that their `name` means."""
        return records.merge(self.rows, on="name")

    def check(self, where: str, manifest: Manifest) -> None:
        """Raise UserError when no name is known."""
        if not self.share_known:
            first = manifest.table.iloc[0]
            raise UserError(
                f"{where}: none of its names is a patient id or an image of the manifest: it has "
                f"{listed(self.names, 3) or 'none'}, the manifest e.g. patient "
                f"{first['patient_id']!r} and image {first['image_path']!r}."
            )


def match_names(manifest: Manifest, names: Sequence[str], of_images: bool = False) -> MatchedNames:
    """Names as patient ids, image paths, file names, ...: the way that explains most of them.

    A name is known if all rows it may mean are of one patient, so that a file name that occurs in
    the folders of two patients is not. Rows that the manifest leaves out are known too, but no
    part holds them. `names` has each name once. With `of_images` the ways to name an image come
    first: a number may be a patient's too.
    """
    said = manifest.table[["patient_id", "image_path"]]
    if manifest.num_left_out:
        said = pd.concat([said, manifest.left_out[list(said)]], ignore_index=True)
    if not manifest.true_names.keys() & set(names):  # else the file has our pseudonyms
        said = said.map(lambda name: manifest.true_names.get(name, name))
        if manifest.ids_in_csv:
            said = said.assign(id_in_csv=said["image_path"].map(manifest.ids_in_csv))
    cells = {column: pd.factorize(said[column].to_numpy(object)) for column in said}
    patient = cells["patient_id"][0]
    most = -1
    for way in sorted(_WAYS, key=lambda way: of_images and way[1] != "image_path"):
        way_kind, column, of_cell, of_name = way
        if column not in cells:
            continue
        codes, texts = cells[column]
        owner = _owners(patient, codes, list(map(of_cell, texts)), list(map(of_name, names)))
        num = len(np.unique(owner[owner >= 0]))
        if num > most:
            kind, best, most = f"matched by {way_kind}", owner, num
        if most == len(names):
            break
    unknown = tuple(sorted(names[i] for i in np.setdiff1d(np.arange(len(names)), best)))
    row = np.flatnonzero(best[: len(manifest)] >= 0)
    rows = pd.DataFrame({"name": best[row], "row": row})
    return MatchedNames(kind, names, most / max(1, len(names)), unknown, rows)


def _owners(patient: Ints, codes: Ints, cells: list[str], names: list[str]) -> Ints:
    """(N,) number of the name that means each row; -1 for none and for ambiguous ones.

    `patient` (N,) says whose each row is, `codes` (N,) which of `cells`, the manifest's patients or
    images, it has. `cells` and `names` are spelled so that they may be equal.
    """
    spelled, unique = pd.factorize(np.array(cells, dtype=object))
    spelling = spelled[codes]
    owners = pd.Series(patient).groupby(spelling)
    clear = (owners.min() == owners.max()).to_numpy()
    number = pd.Series(np.arange(len(names)), index=pd.Index(names, dtype=object))
    number = number[~number.index.duplicated(keep=False)]  # two names that became one spelling
    meant = number.reindex(unique, fill_value=-1).to_numpy(np.int64)
    return np.where(clear, meant, -1)[spelling]


def _path(name: str) -> str:
    return name.strip().replace("\\", "/").removeprefix("./")


def _tail(num: int, name: str) -> str:
    return "/".join(_path(name).rsplit("/", num)[-num:])


def _stem(name: str) -> str:
    return _SUFFIX.sub("", _tail(1, name))


def _case(name: str) -> str:
    return _CHANNEL.sub("", _stem(name))


_Spelling = Callable[[str], str]
_WAYS: tuple[tuple[str, str, _Spelling, _Spelling], ...] = (
    ("patient id", "patient_id", str, str),
    ("patient id before manifest.patient_pattern", "id_in_csv", str.strip, str.strip),
    ("image path", "image_path", _path, _path),
    # A set that was moved, or paths from the root of somebody's disk.
    ("the last 3 parts of the path", "image_path", partial(_tail, 3), partial(_tail, 3)),
    ("the last 2 parts of the path", "image_path", partial(_tail, 2), partial(_tail, 2)),
    ("image file name", "image_path", partial(_tail, 1), partial(_tail, 1)),
    ("image name", "image_path", _stem, _stem),
    # nnU-Net's files end in the number of their channel, its names of cases do not.
    ("case name", "image_path", _case, _stem),
    ("patient id, differently written", "patient_id", canonical_id, canonical_id),
)
"""In words, the manifest's column, and how it and the names are spelled; the strictest first."""
