"""What a plan's parts hold, and which class is missing where."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Ints
from pipeline.manifest import Manifest
from pipeline.splits.folds import PARTS, Part
from pipeline.splits.plan import Plan


@dataclass(frozen=True)
class PartCounts:
    """What one part of one fold holds; the arrays are (C,), one entry per class."""

    fold: int
    part: Part
    num_patients: int
    num_images: int
    patients_per_class: Ints
    images_per_class: Ints


def count_parts(plan: Plan, manifest: Manifest) -> Iterator[PartCounts]:
    """The counts of every part of every fold, in order."""
    for fold in plan.folds:
        for part in PARTS:
            rows = manifest.of(fold.of(part))
            yield PartCounts(
                fold=fold.index,
                part=part,
                num_patients=len(fold.of(part)),
                num_images=len(rows),
                patients_per_class=manifest.num_patients_per_class(rows),
                images_per_class=manifest.num_per_class(rows),
            )


def missing_classes(plan: Plan, manifest: Manifest) -> list[tuple[int, Part, str]]:
    """Every (fold, part, class) where a part holds no image of a class."""
    return [
        (counts.fold, counts.part, manifest.classes[c])
        for counts in count_parts(plan, manifest)
        for c in np.flatnonzero(counts.images_per_class == 0)
    ]
