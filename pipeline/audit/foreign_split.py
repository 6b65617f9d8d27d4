"""A split that was made elsewhere, and the words for it; unlike a `Plan` it may leak."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.bool_]
"""(N,) which rows of `Manifest.table` are meant."""

SHOWN = 5
PARTS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "tr", "fit", "development"),
    "val": ("val", "valid", "validation", "validate", "tune", "tuning", "dev"),
    "test": ("test", "testing", "tst", "te", "ts", "holdout", "heldout", "eval", "evaluation"),
}
"""Our names of the parts, and what others call them."""
_PART_OF_WORD = {word: part for part, words in PARTS.items() for word in words}


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
    folds: tuple[Round, ...]
    """What is trained, validated and tested in each fold."""
    apart: tuple[Round, ...]
    """What must share nobody; differs from `folds` for a k-fold, whose blocks are meant."""
    unknown: tuple[str, ...] = ()
    """Names in the file that the manifest does not have."""


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
    word = re.sub(r"[\W_]+", "", value.casefold())
    if not word:
        return None
    for ending in ("", "set", "split", "part", "data", "images", "cohort"):
        part = _PART_OF_WORD.get(word.removesuffix(ending))
        if part:
            return part
    number = re.fullmatch(
        r"(?:fold|block|split|cv|part|f)?[\s_-]*(\d+)(?:\.0+)?", value.strip().casefold()
    )
    if number is None:
        raise KeyError(value)
    return int(number[1])


def listed(values: list[object] | list[str] | tuple[str, ...], most: int = SHOWN) -> str:
    """The first values, quoted, and how many more there are."""
    more = f" and {len(values) - most:,} more" if len(values) > most else ""
    return ", ".join(repr(value) for value in values[:most]) + more


def counted(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def and_more(examples: list[str], number: int) -> str:
    """Examples, and how many there are besides."""
    more = f" and {number - len(examples):,} more" if number > len(examples) else ""
    return ", ".join(examples) + more
