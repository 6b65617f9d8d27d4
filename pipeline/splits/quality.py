"""What the parts of a split hold, and which class is missing where."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from pipeline.arrays import Ints
from pipeline.manifest import Manifest
from pipeline.splits.folds import PARTS
from pipeline.splits.plan import Plan


@dataclass(frozen=True, slots=True)
class PartCounts:
    """What one part of one fold holds; the tuples are (C,), one entry per class."""

    fold: str
    """Its number or name; "" for a single split."""
    part: str
    num_patients: int
    num_images: int
    patients_per_class: tuple[int, ...]
    images_per_class: tuple[int, ...]


class PartCounter:
    """Counts the patients and images of one manifest, part by part."""

    def __init__(self, manifest: Manifest, rest: Ints | None = None) -> None:
        """`rest`: the rows of which `without` counts those that a fold leaves."""
        self._patient = pd.factorize(manifest.table["patient_id"].to_numpy(object))[0]
        self._has_class, self._num_classes = manifest.has_class, len(manifest.classes)
        self._is_rest = np.zeros(len(manifest), bool)
        self._is_rest[[] if rest is None else rest] = True
        self._rows_of = [np.bincount(units) for units in self._units(np.flatnonzero(self._is_rest))]
        self._full = self._holding(np.flatnonzero(self._is_rest))

    def part(self, fold: str, part: str, rows: Ints) -> PartCounts:
        """What the rows hold, each given once."""
        return self._named(fold, part, self._holding(rows))

    def without(self, fold: str, part: str, rows: Ints) -> PartCounts:
        """What is left of `rest` without these rows; cheap where many folds leave out few each."""
        rows = rows[self._is_rest[rows]]
        gone = []
        for units, num_rows in zip(self._units(rows), self._rows_of, strict=True):
            unit, num = np.unique(units, return_counts=True)
            gone.append(unit[num == num_rows[unit]])
        return self._named(fold, part, self._full - self._counts(gone[0], gone[1], rows))

    def _holding(self, rows: Ints) -> Ints:
        patients, with_class = (np.unique(units) for units in self._units(rows))
        return self._counts(patients, with_class, rows)

    def _units(self, rows: Ints) -> tuple[Ints, Ints]:
        """The patient of each row, and a number for patient and class of each class of each row."""
        patient = self._patient[rows]
        sample, code = np.nonzero(self._has_class[rows])
        return patient, patient[sample] * self._num_classes + code

    def _counts(self, patients: Ints, with_class: Ints, rows: Ints) -> Ints:
        """(2 + 2 C,) patients, images, patients of each class, images of each class."""
        per_class = np.bincount(with_class % self._num_classes, minlength=self._num_classes)
        images = self._has_class[rows].sum(axis=0)
        return np.concatenate([[len(patients), len(rows)], per_class, images])

    def _named(self, fold: str, part: str, counts: Ints) -> PartCounts:
        num_patients, num_images, *per_class = counts.tolist()
        patients, images = per_class[: self._num_classes], per_class[self._num_classes :]
        return PartCounts(fold, part, num_patients, num_images, tuple(patients), tuple(images))


@dataclass(frozen=True)
class Split:
    """Folds in numbers, for a report: our plan, or a split made elsewhere."""

    source: str
    lines: tuple[str, ...]
    """What is to be said of it."""
    parts: tuple[PartCounts, ...]
    places: Mapping[int, str] = field(default_factory=dict)
    """Line of the manifest -> where its image is: "train", "fold 2", "test of fold 1"."""


def count_parts(plan: Plan, manifest: Manifest) -> Iterator[PartCounts]:
    """The counts of every part of every fold, in order."""
    counter = PartCounter(manifest)
    for fold in plan.folds:
        for part in PARTS:
            yield counter.part(str(fold.index), part, manifest.of(fold.of(part)))


def missing_classes(plan: Plan, manifest: Manifest) -> list[tuple[int, str, str]]:
    """Every (fold, part, class) where a part holds no image of a class.

    Of labels that do not exclude each other also `no edema`, where every image has that label.
    """
    return [
        (int(counts.fold), counts.part, missing)
        for counts in count_parts(plan, manifest)
        for name, num in zip(manifest.classes, counts.images_per_class, strict=True)
        for missing, is_missing in (
            (name, not num),
            (without(name), manifest.is_multilabel and 0 < num == counts.num_images),
        )
        if is_missing
    ]


def without(name: str) -> str:
    """What the images that do not have a label are called."""
    return f"no {name}"
