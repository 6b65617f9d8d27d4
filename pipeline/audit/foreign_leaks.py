"""What lies on both sides of a split that was made elsewhere: patients, images, groups."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.audit.foreign_split import SHOWN, ForeignSplit, Rows, and_more, counted
from pipeline.manifest import Finding, Manifest

Links = Sequence[tuple[int, int]]
"""Pairs of row numbers whose images show the same."""
Side = tuple[str, Rows]
"""A part's name and its rows."""


class Leaks:
    """A split laid over a manifest; nothing that is shared is told twice."""

    def __init__(self, split: ForeignSplit, manifest: Manifest) -> None:
        self.split, self.manifest = split, manifest
        table = manifest.table
        self.patient, self.patients = pd.factorize(table["patient_id"].to_numpy(object))
        self.group = pd.factorize(table["group"].to_numpy(object))[0]
        self.line = table["line"].to_numpy()

    def shared(self, links: Links) -> Iterator[Finding]:
        """Patients, then groups of patients, then images on two sides; nothing is told twice."""
        ends = np.asarray(sorted({(min(p), max(p)) for p in links}), np.int64).reshape(-1, 2)
        for one, other in self._pairs():
            patients = np.intersect1d(self.patient[one[1]], self.patient[other[1]])
            told = set(self.group[np.isin(self.patient, patients)].tolist())
            if len(patients):
                yield self._shared_patients(one, other, patients)
            if finding := self._shared_images(one, other, ends, told):
                yield finding
            if finding := self._shared_groups(one, other, told):
                yield finding

    def _pairs(self) -> Iterator[tuple[Side, Side]]:
        """Every two parts that must share nobody."""
        for group in self.split.apart:
            named = [(group.place(part), rows) for part, rows in group.parts.items()]
            yield from combinations(named, 2)

    def _shared_patients(self, one: Side, other: Side, patients: NDArray[np.int64]) -> Finding:
        examples = [
            f"{self.patients[p]!r} ("
            + ", ".join(
                f"line {self.line[rows & (self.patient == p)].min()} in {name}"
                for name, rows in (one, other)
            )
            + ")"
            for p in patients[:SHOWN]
        ]
        text = f"{counted(len(patients), 'patient')} in both {one[0]} and {other[0]}: "
        return Finding("shared_patients", "error", text + and_more(examples, len(patients)))

    def _shared_images(
        self, one: Side, other: Side, ends: NDArray[np.int64], told: set[int]
    ) -> Finding | None:
        """The same picture on both sides, of two patients; adds their groups to `told`."""
        if not len(ends):
            return None
        across = (one[1][ends[:, 0]] & other[1][ends[:, 1]]) | (
            one[1][ends[:, 1]] & other[1][ends[:, 0]]
        )
        found = [(a, b) if one[1][a] else (b, a) for a, b in ends[across].tolist()]
        found = [pair for pair in found if self.patient[pair[0]] != self.patient[pair[1]]]
        if not found:
            return None
        told.update(self.group[row] for pair in found for row in pair)
        images = self.manifest.table["image_path"].to_numpy()
        examples = [
            f"{images[a]!r} (line {self.line[a]}, {one[0]}) = {images[b]!r} "
            f"(line {self.line[b]}, {other[0]})"
            for a, b in found[:SHOWN]
        ]
        text = f"{counted(len(found), 'pair')} of images that show the same in {one[0]} and "
        text += f"{other[0]}: {and_more(examples, len(found))}"
        return Finding("shared_images", "error", text)

    def _shared_groups(self, one: Side, other: Side, told: set[int]) -> Finding | None:
        """Patients that belong together but lie apart."""
        both = np.intersect1d(self.group[one[1]], self.group[other[1]]).tolist()
        shared = [g for g in both if g not in told]
        if not shared:
            return None
        examples = []
        for g in shared[:SHOWN]:
            rows = [np.flatnonzero(side[1] & (self.group == g)) for side in (one, other)]
            first = [part[self.line[part].argmin()] for part in rows]
            examples.append(
                " and ".join(
                    f"{self.patients[self.patient[row]]!r} (line {self.line[row]}) in {side[0]}"
                    for row, side in zip(first, (one, other), strict=True)
                )
            )
        text = f"{counted(len(shared), 'group')} of patients that belong together (one study, "
        text += f"family or image) in both {one[0]} and {other[0]}: "
        return Finding("shared_groups", "error", text + and_more(examples, len(shared)))
