"""Which rows of the manifest the names in somebody's split file mean."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from pipeline.config import UserError
from pipeline.manifest import Manifest, canonical_id
from pipeline.splits.given.examples import listed
from pipeline.splits.given.given_split import Numbers, numbered

Spellings = list[str]
_SUFFIX = re.compile(r"\.(nii\.gz|[A-Za-z]\w{1,4})$")
"""Starts with a letter, unlike the last number of a DICOM UID."""
_CHANNEL = re.compile(r"_\d{4}$")


class NameMatcher:
    """Names as patient ids, image paths, file names, ...: the way that explains most of them.

    A name is known if all rows it may mean are of one patient, so that a file name that occurs in
    the folders of two patients is not.
    """

    def __init__(self, manifest: Manifest, names: Sequence[str]) -> None:
        """`names`: each once; in what follows, a name is known by its number in them."""
        self._manifest, self._names = manifest, list(names)
        self.num_known = -1
        patient = numbered(manifest.table["patient_id"])[0]
        for kind, rows_say, names_say in _ways(manifest, self._names):
            owner = _owners(patient, rows_say, names_say)
            known = np.unique(owner[owner >= 0])
            if len(known) > self.num_known:
                self.kind, self.num_known, self._owner = kind, len(known), owner
            if self.num_known == len(names):
                break
        self._count = np.bincount(self._owner[self._owner >= 0], minlength=len(names))
        self._start = np.cumsum(self._count) - self._count
        order = np.argsort(self._owner, kind="stable")
        self._rows = order[len(order) - int(self._count.sum()) :]
        self.unknown = tuple(sorted(names[i] for i in np.flatnonzero(self._count == 0).tolist()))
        """Names that mean no row, or rows of several patients."""

    def rows(self, which: Numbers) -> tuple[Numbers, Numbers]:
        """The rows that the names of numbers `which` (M,) mean.

        Returns:
            (R,) row numbers and (R,) the index in `which` of the name that means each.
        """
        counts = self._count[which]
        index = np.repeat(np.arange(len(which)), counts)
        within = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._rows[self._start[which][index] + within], index

    @property
    def share_known(self) -> float:
        return self.num_known / max(1, len(self._names))

    def check(self, where: str) -> None:
        """Raise UserError when no name is known."""
        if not self.num_known:
            first = self._manifest.table.iloc[0]
            names = listed(self._names, 3) or "none"
            raise UserError(
                f"{where}: none of its names is a patient id or an image of the manifest: it has "
                f"{names}, the manifest e.g. patient {first['patient_id']!r} and image "
                f"{first['image_path']!r}."
            )


def _ways(manifest: Manifest, names: list[str]) -> Iterator[tuple[str, Spellings, Spellings]]:
    """For each way to name rows: in words, how it spells each row (N,), and the names (M,)."""
    patients = manifest.table["patient_id"].tolist()
    yield "matched by patient id", patients, names
    paths, theirs = ([_path(s) for s in said] for said in (manifest.table["image_path"], names))
    yield "matched by image path", paths, theirs
    for num in (3, 2):  # a set that was moved, or paths from the root of somebody's disk
        kind = f"matched by the last {num} parts of the path"
        yield kind, _tails(paths, num), _tails(theirs, num)
    files, their_files = _tails(paths, 1), _tails(theirs, 1)
    yield "matched by image file name", files, their_files
    stems, their_stems = ([_SUFFIX.sub("", s) for s in said] for said in (files, their_files))
    yield "matched by image name", stems, their_stems
    # nnU-Net's files end in the number of their channel, its names of cases do not.
    yield "matched by case name", [_CHANNEL.sub("", stem) for stem in stems], their_stems
    canonical = {patient: canonical_id(patient) for patient in set(patients)}
    yield (
        "matched by patient id, differently written",
        [canonical[p] for p in patients],
        [canonical_id(name) for name in names],
    )


def _owners(patient: Numbers, rows_say: Spellings, names: Spellings) -> Numbers:
    """(N,) number of the name that means each row; -1 for none and for ambiguous ones."""
    spelled = pd.Index(names, dtype=object)
    twice = spelled.duplicated(keep=False)  # two names that became one spelling
    keys, unique = numbered(rows_say)
    first = np.zeros(len(unique), np.int64)
    first[keys] = patient
    clear = np.ones(len(unique), bool)
    clear[keys[patient != first[keys]]] = False
    name_of = np.full(len(unique), -1, np.int64)
    if not twice.all():
        numbers = np.flatnonzero(~twice)
        at = spelled[~twice].get_indexer(pd.Index(unique, dtype=object))
        name_of = np.where((at >= 0) & clear, numbers[at], -1)
    return name_of[keys]


def _path(name: str) -> str:
    return name.strip().replace("\\", "/").removeprefix("./")


def _tails(paths: Spellings, num: int) -> Spellings:
    return ["/".join(path.rsplit("/", num)[-num:]) for path in paths]
