"""One look at each of many image files: of which format it is, how large, and how it begins."""

import os
import stat
from collections.abc import Sequence
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
            return Look(known, status.st_size, start)
    return None


def _of_nothing() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Looks:
    """What was seen of a manifest's files, by the line of the CSV in which they stand.

    Of several files in one line, and of what needs a closer look, nothing is kept.
    """

    size: Ints = field(default_factory=_of_nothing)
    """(L,) bytes; -1 where nothing is known."""
    start: Ints = field(default_factory=_of_nothing)
    """(L,) as in `Look`."""
    is_dicom: Bools = field(default_factory=lambda: np.zeros(0, bool))
    """(L,)"""

    @classmethod
    def of(cls, lines: Sequence[int], looks: Sequence[Look | None]) -> Self:
        """Of one file in each of these lines."""
        length = max(lines, default=-1) + 1
        size, start, is_dicom = np.full(length, -1), np.zeros(length, np.int64), np.zeros(length)
        for line, seen in zip(lines, looks, strict=True):
            if seen is not None:
                size[line], start[line], is_dicom[line] = seen.size, seen.start, seen[0] is DICOM
        return cls(size, start, is_dicom.astype(bool))

    def at(self, lines: Ints) -> "Looks":
        """The same by row, for rows that stand in these lines."""
        known = lines < len(self.size)
        at = np.where(known, lines, 0)
        if not len(self.size):
            return Looks(np.full(len(lines), -1), np.zeros(len(lines), np.int64), known)
        return Looks(np.where(known, self.size[at], -1), self.start[at], self.is_dicom[at])
