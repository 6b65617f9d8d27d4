"""A split that was made elsewhere: which rows lie in which part of which fold."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.splits.given.words import PARTS, meanings
from pipeline.words import counted, listed

Numbers = NDArray[np.int64]
Rows = NDArray[np.int64]
"""Row numbers of `Manifest.table`, ascending, each once."""


class PartRows(Mapping[str, Rows]):
    """The rows of each part, in one bit a row: the folds of a file may list all rows each."""

    def __init__(self, num_rows: int, parts: Mapping[str, Numbers]) -> None:
        """`parts` has row numbers below `num_rows` (M,) in any order, also repeated."""
        self._num_rows, self._bits = num_rows, {}
        for part, rows in parts.items():
            mask = np.zeros(num_rows, bool)
            mask[rows] = True
            self._bits[part] = np.packbits(mask)

    def __getitem__(self, part: str) -> Rows:
        return np.flatnonzero(np.unpackbits(self._bits[part], count=self._num_rows))

    def __iter__(self) -> Iterator[str]:
        return iter(self._bits)

    def __len__(self) -> int:
        return len(self._bits)


@dataclass(frozen=True)
class Round:
    """Parts that must share nobody: train, val and test of a fold, or all blocks of a k-fold."""

    name: str
    parts: Mapping[str, Rows]

    def place(self, part: str) -> str:
        """The part in words: "test of fold 3"."""
        return f"{part} of fold {self.name}" if self.name else part


@dataclass(frozen=True)
class GivenSplit:
    """A split made elsewhere."""

    source: str
    """Which column or file, and how its names were matched."""
    rounds: tuple[Round, ...] = ()
    """The folds, each with its parts; empty when there are `blocks`."""
    blocks: Mapping[int, Rows] | None = None
    """Of a k-fold: each block is tested once, after training on all others; -1 is never tested."""
    form: Literal["table", "nnunet", "plan"] = "table"
    """A column or CSV | nnU-Net's splits_final.json, whose folds test their val part | our plan."""
    aside: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows that the file itself leaves out of every part."""
    unknown: tuple[str, ...] = ()
    """Names in the file that mean no row of the manifest."""
    doubt: str = ""
    """What could not be known of a plan without its plan.json."""

    @property
    def everywhere(self) -> tuple[Round, ...]:
        """What must be complete and share nobody: each fold, or the blocks of a k-fold."""
        if self.blocks is None:
            return self.rounds
        return (Round("", {f"fold {number}": rows for number, rows in self.blocks.items()}),)

    def unknown_names(self) -> str:
        """The unknown names in words, "" for none."""
        if not self.unknown:
            return ""
        return (
            f"{counted(len(self.unknown), 'name')} of {self.source} not in the manifest, or of "
            f"several of its patients: {listed(self.unknown)}"
        )


def split_by_value(
    source: str,
    where: str,
    rows: Numbers,
    codes: Numbers,
    values: Sequence[str],
    unknown: tuple[str, ...] = (),
) -> GivenSplit:
    """One split with parts, or a k-fold, as the values say.

    Args:
        source: What was read, for the messages.
        where: The setting that named it, for errors.
        rows: (M,) row numbers, in any order; a row may occur several times.
        codes: (M,) which of `values` each has.
        values: Each value once.
        unknown: Names that mean no row.

    Raises:
        UserError: for unknown values, numbers that cannot be folds, or words and numbers in one
            column.
    """
    meaning = meanings(where, values)
    found = {part for part in meaning.values() if part is not None}
    numbers = sorted(part for part in found if isinstance(part, int))
    words = [word for word in PARTS if word in found]
    if numbers and words:
        raise UserError(
            f"{where}: holds both fold numbers ({listed(list(map(str, numbers)))}) and words "
            f"({listed(words)}); use one kind."
        )
    place = {part: i for i, part in enumerate(numbers or words)}
    part_codes = np.array([place.get(meaning[v], -1) for v in values], np.int64)[codes]
    used = part_codes >= 0
    parts = rows_of_each(rows[used], part_codes[used], len(place))
    if numbers:
        blocks = dict(zip(numbers, parts, strict=True))
        return GivenSplit(source, blocks=blocks, unknown=unknown)
    return GivenSplit(source, (Round("", dict(zip(words, parts, strict=True))),), unknown=unknown)


def numbered(values: Iterable[str]) -> tuple[Numbers, list[str]]:
    """(M,) number of each value in the order of their first occurrence, and the values."""
    codes, unique = pd.factorize(np.array(list(values), dtype=object))
    return codes.astype(np.int64), unique.tolist()


def rows_of_each(rows: Numbers, codes: Numbers, num: int) -> list[Rows]:
    """For each code 0 to num-1 the rows (M,) that have it, ascending and each once."""
    width = int(rows.max(initial=0)) + 1
    pairs = np.unique(codes * width + rows)
    return np.split(pairs % width, np.searchsorted(pairs // width, np.arange(1, num)))
