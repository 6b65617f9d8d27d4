"""One look at each of many image files: of which format it is, how large, and how it begins."""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple, Self

import numpy as np

from pipeline.arrays import Bools, Ints
from pipeline.formats.table import DICOM, FORMATS, HEAD, Format, format_of_name

OPENED = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
"""No pipe is waited for."""


class Look(NamedTuple):
    """What opening a file once shows."""

    format: Format
    size: int
    """Bytes."""
    start: int
    """Hash of its first bytes: equal for files that may be equal."""
    is_misnamed: bool
    """Whether its name says another format."""


def look(path: str) -> Look | None:
    """At a file whose name and content say what it is; None for all that needs a closer look.

    That is a series of DICOM files, a header beside its pixels, and whatever cannot be used.
    """
    named = format_of_name(path)
    if named is None or named.has_text_header:
        return None
    try:
        file = os.open(path, OPENED)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return None
        head = os.read(file, HEAD)
    except OSError:
        return None
    finally:
        os.close(file)
    for known in FORMATS:
        if known.knows(head):
            # Not its CRC: a PNG holds CRCs of its own, and is made so that its whole CRC says less.
            start = int.from_bytes(blake2b(head, digest_size=8).digest(), signed=True)
            return Look(known, status.st_size, start, known is not named)
    return None


def _of_nothing() -> Ints:
    return np.zeros(0, np.int64)


def _none() -> Bools:
    return np.zeros(0, bool)


@dataclass(frozen=True, eq=False)
class Looks:
    """What was seen of many files: of the images of a table by row, or of a manifest by the line of
    its CSV. Of several files in one line nothing is kept.
    """

    size: Ints = field(default_factory=_of_nothing)
    """(N,) bytes; -1 where nothing is known, for what needs a closer look."""
    start: Ints = field(default_factory=_of_nothing)
    """(N,) as in `Look`."""
    is_dicom: Bools = field(default_factory=_none)
    """(N,)"""
    is_misnamed: Bools = field(default_factory=_none)
    """(N,) as in `Look`."""

    @classmethod
    def at_files(cls, paths: Sequence[str]) -> Self:
        """A first look at each of these files."""
        looks = cls.unknown(len(paths))
        for row, path in enumerate(paths):
            if (seen := look(path)) is not None:
                looks.size[row], looks.start[row] = seen.size, seen.start
                looks.is_dicom[row], looks.is_misnamed[row] = seen.format is DICOM, seen.is_misnamed
        return looks

    @classmethod
    def unknown(cls, length: int) -> Self:
        """Of which nothing is known."""
        no, zeros = np.zeros(length, bool), np.zeros(length, np.int64)
        return cls(zeros - 1, zeros, no, no.copy())

    @classmethod
    def joined(cls, looks: Iterable[Self]) -> Self:
        """One after the other."""
        columns = zip(
            *((of.size, of.start, of.is_dicom, of.is_misnamed) for of in looks), strict=True
        )
        return cls(*map(np.concatenate, columns))

    def by_line(self, lines: Ints) -> Self:
        """Of one file in each of these lines of a CSV: (L,) with L the last of them + 1."""
        found = self.unknown(int(lines.max(initial=-1)) + 1)
        found.size[lines], found.start[lines] = self.size, self.start
        found.is_dicom[lines], found.is_misnamed[lines] = self.is_dicom, self.is_misnamed
        return found

    def at(self, lines: Ints) -> Self:
        """The same by row, for rows that stand in these lines."""
        found, known = self.unknown(len(lines)), lines < len(self.size)
        at = lines[known]
        found.size[known], found.start[known] = self.size[at], self.start[at]
        found.is_dicom[known], found.is_misnamed[known] = self.is_dicom[at], self.is_misnamed[at]
        return found
