"""A split that was made elsewhere, and the words for it; unlike a `Plan` it may leak."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.config import UserError

Numbers = NDArray[np.int64]
Rows = NDArray[np.int64]
"""Row numbers of `Manifest.table`, ascending, each once."""

SHOWN = 5
PARTS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "tr", "fit", "development"),
    "val": ("val", "valid", "validation", "validate", "tune", "tuning", "dev"),
    "test": ("test", "testing", "tst", "te", "ts", "holdout", "heldout", "eval", "evaluation"),
}
"""Our names of the parts, and what others call them."""
_PART_OF_WORD = {word: part for part, words in PARTS.items() for word in words}
_BLANK = ("", "none", "nan", "na", "null", "unused", "excluded")
_NUMBER = re.compile(r"(?:(?:fold|block|split|cv|part|f)[\s_-]*)?(\d+)(?:\.0+)?")
NEVER_TESTED = -1
"""scikit-learn's PredefinedSplit writes -1 for rows that every fold trains on."""
ALLOWED = (
    "allowed are words for train, val and test (also training, validation, dev, holdout, ...) or "
    "fold numbers (0, 1, ... or fold_1, ..., -1 for never tested), and blank for a row in no part"
)


@dataclass(frozen=True)
class Round:
    """Parts that must share nobody: train, val and test of a fold, or all blocks of a k-fold."""

    name: str
    parts: Mapping[str, Rows]

    def place(self, part: str) -> str:
        """The part in words: "test of fold 3"."""
        return f"{part} of fold {self.name}" if self.name else part


@dataclass(frozen=True)
class ForeignSplit:
    """A split made elsewhere."""

    source: str
    """Which column or file, and how its names were matched."""
    rounds: tuple[Round, ...] = ()
    """The folds, each with its parts; empty when there are `blocks`."""
    blocks: Mapping[int, Rows] | None = None
    """Of a k-fold: each block is tested once, after training on all others; -1 is never tested."""
    aside: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows that the file itself leaves out of every part."""
    unknown: tuple[str, ...] = ()
    """Names in the file that mean no row of the manifest."""

    @property
    def everywhere(self) -> tuple[Round, ...]:
        """What must be complete and share nobody: each fold, or the blocks of a k-fold."""
        if self.blocks is None:
            return self.rounds
        return (Round("", {f"fold {number}": rows for number, rows in self.blocks.items()}),)


@dataclass(frozen=True, slots=True)
class PartCounts:
    """What one part of one fold holds; the tuples have one entry a class."""

    fold: str
    part: str
    num_patients: int
    num_images: int
    patients_per_class: tuple[int, ...]
    images_per_class: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """Folds in numbers, for a report: our plan, or a split made elsewhere."""

    source: str
    lines: tuple[str, ...]
    """What is to be said of it."""
    parts: tuple[PartCounts, ...]


def part_of(value: str) -> str | int | None:
    """train, val or test, a fold number, or None for a blank; KeyError for anything else."""
    text = value.strip().casefold()
    if re.fullmatch(r"-1(\.0+)?", text):
        return NEVER_TESTED
    word = re.sub(r"[\W_]+", "", text)
    if word in _BLANK:
        return None
    for ending in ("", "set", "split", "part", "data", "images", "cohort"):
        part = _PART_OF_WORD.get(word.removesuffix(ending))
        if part:
            return part
    number = _NUMBER.fullmatch(text)
    if number is None:
        raise KeyError(value)
    return int(number[1])


def meanings(where: str, values: Iterable[str]) -> dict[str, str | int | None]:
    """What each value means.

    Raises:
        UserError: with every value that is neither a part, a number nor blank; or if all are blank.
    """
    found: dict[str, str | int | None] = {}
    odd = []
    for value in values:
        try:
            found[value] = part_of(value)
        except KeyError:
            odd.append(value)
    if odd:
        raise UserError(f"{where}: unknown part {listed(sorted(odd))}; {ALLOWED}.")
    if all(part is None for part in found.values()):
        raise UserError(f"{where}: every row is blank; {ALLOWED}.")
    return found


def split_by_value(
    source: str,
    where: str,
    rows: Numbers,
    codes: Numbers,
    values: Sequence[str],
    unknown: tuple[str, ...] = (),
) -> ForeignSplit:
    """One split with parts, or a k-fold, as the values say.

    Args:
        source: What is audited, for the messages.
        where: The setting that named it, for errors.
        rows: (M,) row numbers, in any order; a row may occur several times.
        codes: (M,) which of `values` each has.
        values: Each value once.
        unknown: Names that mean no row.

    Raises:
        UserError: for unknown values, or words and numbers in one column.
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
        return ForeignSplit(source, blocks=blocks, unknown=unknown)
    return ForeignSplit(source, (Round("", dict(zip(words, parts, strict=True))),), unknown=unknown)


def numbered(values: Iterable[str]) -> tuple[Numbers, list[str]]:
    """(M,) number of each value in the order of their first occurrence, and the values."""
    codes, unique = pd.factorize(np.array(list(values), dtype=object))
    return codes.astype(np.int64), unique.tolist()


def rows_of_each(rows: Numbers, codes: Numbers, num: int) -> list[Rows]:
    """For each code 0 to num-1 the rows (M,) that have it, ascending and each once."""
    width = int(rows.max(initial=0)) + 1
    pairs = np.unique(codes * width + rows)
    return np.split(pairs % width, np.searchsorted(pairs // width, np.arange(1, num)))


def listed(values: Sequence[str], most: int = SHOWN) -> str:
    """The first values, quoted, and how many more there are."""
    return and_more([repr(value) for value in values[:most]], len(values))


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def and_more(examples: list[str], number: int) -> str:
    """Examples, and how many there are besides."""
    more = f" and {number - len(examples):,} more" if number > len(examples) else ""
    return ", ".join(examples) + more
