"""Which rows of the manifest the names in somebody's split file mean."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from pipeline.config import UserError
from pipeline.manifest import Manifest, canonical_id
from pipeline.splits.given.given_split import Numbers, numbered
from pipeline.words import listed

Spellings = list[str]
SAID = ("patient_id", "image_path")
"""What names rows."""
_SUFFIX = re.compile(r"\.(nii\.gz|[A-Za-z]\w{1,4})$")
"""Starts with a letter, unlike the last number of a DICOM UID."""
_CHANNEL = re.compile(r"_\d{4}$")


class NameMatcher:
    """Names as patient ids, image paths, file names, ...: the way that explains most of them.

    A name is known if all rows it may mean are of one patient, so that a file name that occurs in
    the folders of two patients is not. Rows that the manifest leaves out are known too, but no
    part holds them.
    """

    def __init__(self, manifest: Manifest, names: Sequence[str], of_images: bool = False) -> None:
        """`names`: each once; in what follows, a name is known by its number in them.

        With `of_images` the ways to name an image come first: a number may be a patient's too.
        """
        self._manifest, self._names = manifest, list(names)
        self.num_known = -1
        said = manifest.table[list(SAID)]
        if manifest.num_left_out:
            said = pd.concat([said, manifest.left_out[list(SAID)]], ignore_index=True)
        patient = numbered(said["patient_id"])[0]
        ways = list(_ways(said, self._names))
        for way in sorted(ways, key=lambda way: of_images and not way.of_images):
            owner = _owners(patient, *way.spellings())
            known = np.unique(owner[owner >= 0])
            if len(known) > self.num_known:
                self.kind, self.num_known, self._owner = way.kind, len(known), owner
            if self.num_known == len(names):
                break
        unknown = np.setdiff1d(np.arange(len(names)), self._owner)
        self.unknown = tuple(sorted(names[i] for i in unknown.tolist()))
        """Names that mean no row, or rows of several patients."""
        owner = self._owner[: len(manifest)]
        self._count = np.bincount(owner[owner >= 0], minlength=len(names))
        self._start = np.cumsum(self._count) - self._count
        order = np.argsort(owner, kind="stable")
        self._rows = order[len(order) - int(self._count.sum()) :]

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


@dataclass(frozen=True)
class _Way:
    """A way to name rows: in words, and how it spells each row (N,) and the names (M,)."""

    kind: str
    of_images: bool
    spellings: Callable[[], tuple[Spellings, Spellings]]


def _ways(said: pd.DataFrame, names: list[str]) -> Iterator[_Way]:
    """From the strictest to the most forgiving."""
    patients = said["patient_id"].tolist()
    yield _Way("matched by patient id", False, lambda: (patients, names))

    def canonical() -> tuple[Spellings, Spellings]:
        known = {patient: canonical_id(patient) for patient in set(patients)}
        return [known[p] for p in patients], [canonical_id(name) for name in names]

    def paths() -> tuple[Spellings, Spellings]:
        return [_path(path) for path in said["image_path"]], [_path(name) for name in names]

    def tails(num: int) -> tuple[Spellings, Spellings]:
        one, other = paths()
        return _tails(one, num), _tails(other, num)

    def stems() -> tuple[Spellings, Spellings]:
        one, other = tails(1)
        return [_SUFFIX.sub("", file) for file in one], [_SUFFIX.sub("", file) for file in other]

    def cases() -> tuple[Spellings, Spellings]:
        one, other = stems()
        return [_CHANNEL.sub("", stem) for stem in one], other

    yield _Way("matched by image path", True, paths)
    for num in (3, 2):  # a set that was moved, or paths from the root of somebody's disk
        yield _Way(f"matched by the last {num} parts of the path", True, partial(tails, num))
    yield _Way("matched by image file name", True, partial(tails, 1))
    yield _Way("matched by image name", True, stems)
    # nnU-Net's files end in the number of their channel, its names of cases do not.
    yield _Way("matched by case name", True, cases)
    yield _Way("matched by patient id, differently written", False, canonical)


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
