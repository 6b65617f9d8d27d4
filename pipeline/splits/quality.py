"""What the parts of a split hold, and which class is missing where."""

from collections.abc import Iterator
from dataclasses import dataclass

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
        self._labels, self._num_classes = manifest.labels, len(manifest.classes)
        self._with_class = self._patient * self._num_classes + self._labels
        self._is_rest = np.zeros(len(manifest), bool)
        self._is_rest[[] if rest is None else rest] = True
        self._rows_of = [np.bincount(units[self._is_rest])
                         for units in (self._patient, self._with_class)]  # fmt: skip
        self._rest = self.part("", "", np.flatnonzero(self._is_rest))

    def part(self, fold: str, part: str, rows: Ints) -> PartCounts:
        """What the rows hold, each given once."""
        with_class = np.unique(self._with_class[rows])
        num_patients = len(np.unique(with_class // self._num_classes))
        return self._counts(fold, part, num_patients, with_class, rows)

    def without(self, fold: str, part: str, rows: Ints) -> PartCounts:
        """What is left of `rest` without these rows; cheap where many folds leave out few each."""
        rows = rows[self._is_rest[rows]]
        gone = []
        for units, num_rows in zip((self._patient, self._with_class), self._rows_of, strict=True):
            unit, num = np.unique(units[rows], return_counts=True)
            gone.append(unit[num == num_rows[unit]])
        minus, full = self._counts(fold, part, len(gone[0]), gone[1], rows), self._rest
        return PartCounts(
            fold,
            part,
            full.num_patients - minus.num_patients,
            full.num_images - minus.num_images,
            tuple(np.subtract(full.patients_per_class, minus.patients_per_class).tolist()),
            tuple(np.subtract(full.images_per_class, minus.images_per_class).tolist()),
        )

    def _counts(
        self, fold: str, part: str, num_patients: int, with_class: Ints, rows: Ints
    ) -> PartCounts:
        patients = np.bincount(with_class % self._num_classes, minlength=self._num_classes)
        images = np.bincount(self._labels[rows], minlength=self._num_classes)
        return PartCounts(
            fold, part, num_patients, len(rows), tuple(patients.tolist()), tuple(images.tolist())
        )


@dataclass(frozen=True)
class Split:
    """Folds in numbers, for a report: our plan, or a split made elsewhere."""

    source: str
    lines: tuple[str, ...]
    """What is to be said of it."""
    parts: tuple[PartCounts, ...]


def count_parts(plan: Plan, manifest: Manifest) -> Iterator[PartCounts]:
    """The counts of every part of every fold, in order."""
    counter = PartCounter(manifest)
    for fold in plan.folds:
        for part in PARTS:
            yield counter.part(str(fold.index), part, manifest.of(fold.of(part)))


def missing_classes(plan: Plan, manifest: Manifest) -> list[tuple[int, str, str]]:
    """Every (fold, part, class) where a part holds no image of a class."""
    return [
        (int(counts.fold), counts.part, name)
        for counts in count_parts(plan, manifest)
        for name, num in zip(manifest.classes, counts.images_per_class, strict=True)
        if not num
    ]
