"""How many patients and images of each class the parts of somebody's split hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.manifest import Manifest
from pipeline.splits.given import NEVER_TESTED, GivenSplit, Numbers, Rows


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


def part_counts(split: GivenSplit, manifest: Manifest) -> list[PartCounts]:
    """Every part of every fold, in order; of a k-fold, train is everything but the test block."""
    patient, names = pd.factorize(manifest.table["patient_id"].to_numpy(object))
    num = len(manifest.classes)
    of_class = patient.astype(np.int64) * num + manifest.labels
    if split.blocks is not None:
        return list(_of_blocks(split.blocks, patient.astype(np.int64), of_class, manifest))
    counts = []
    for fold in split.rounds:
        for part, rows in fold.parts.items():
            has = np.zeros(len(names) * num, bool)
            has[of_class[rows]] = True
            patients = has.reshape(len(names), num)
            images = manifest.num_per_class(rows)
            counts.append(_counts(fold.name, part, np.array([patients.any(axis=1).sum()]),
                                  patients.sum(axis=0), images))  # fmt: skip
    return counts


def _of_blocks(
    blocks: Mapping[int, Rows], patient: Numbers, of_class: Numbers, manifest: Manifest
) -> Iterator[PartCounts]:
    """Both parts of each fold, without listing train, which for n blocks holds n times all rows."""
    num = len(manifest.classes)
    rows = np.concatenate(list(blocks.values()))
    block = np.repeat(np.arange(len(blocks)), [len(rows) for rows in blocks.values()])
    patients = _inside_and_outside(patient[rows], block, len(blocks), 1)
    per_class = _inside_and_outside(of_class[rows], block, len(blocks), num)
    images = _inside_and_outside(rows * num + manifest.labels[rows], block, len(blocks), num)
    for i, number in enumerate(blocks):
        if number != NEVER_TESTED:
            for part, side in (("train", 1), ("test", 0)):
                yield _counts(
                    str(number), part, patients[side][i], per_class[side][i], images[side][i]
                )


def _inside_and_outside(
    units: Numbers, block: Numbers, num_blocks: int, num_kinds: int
) -> tuple[Numbers, Numbers]:
    """For each block the different units in it, and in all others: (B, K) each.

    Args:
        units: (M,) what is counted; its kind is the remainder of a division by `num_kinds`.
        block: (M,) where it lies; a unit may lie in several blocks, and several times in one.
        num_blocks: B.
        num_kinds: K.
    """
    pairs = np.unique(units * num_blocks + block)
    unit, home = pairs // num_blocks, pairs % num_blocks
    unique, where, num_homes = np.unique(unit, return_inverse=True, return_counts=True)
    cell = home * num_kinds + unit % num_kinds
    shape = (num_blocks, num_kinds)
    inside = np.bincount(cell, minlength=num_blocks * num_kinds).reshape(shape)
    only = num_homes[where] == 1
    only_inside = np.bincount(cell[only], minlength=num_blocks * num_kinds).reshape(shape)
    everything = np.bincount(unique % num_kinds, minlength=num_kinds)
    return inside, everything - only_inside


def _counts(
    fold: str, part: str, patients: Numbers, per_class: Numbers, images: Numbers
) -> PartCounts:
    return PartCounts(
        fold=fold,
        part=part,
        num_patients=int(patients[0]),
        num_images=int(images.sum()),
        patients_per_class=tuple(per_class.tolist()),
        images_per_class=tuple(images.tolist()),
    )
