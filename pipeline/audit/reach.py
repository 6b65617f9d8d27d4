"""How far the images of a training set reach: what a new one is compared with to see if it is like
them. Descriptors and ranges, no picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import AnyInts, Floats, Floats32, Ints
from pipeline.audit.marks import Pictures, descriptors, spectra

QUANTILE = 0.99
"""Share of the training images whose nearest of another patient lies within the limit."""
MOST_REFERENCES = 4000
"""Images whose descriptors are kept: of every patient one, then of every patient another, ..."""
STEPS = 127
"""A descriptor is kept in so many steps from 0 to 1."""
Facts = Sequence[Mapping[str, str]]
Bounds = Sequence[tuple[float, float]]
"""Smallest and largest value, along each axis or of each channel."""


@dataclass(frozen=True)
class Reach:
    """Of the images of some patients."""

    references: Floats32
    """(R, D) descriptors."""
    limit: float
    """Distance to the nearest reference within which QUANTILE of the images lie, each compared
    with other patients' only; every patient counts the same."""
    bounds: Mapping[str, Bounds]
    """`sides` and `spacing` as stored, mean and SD of what the network gets (`means`, `sds`); an
    entry that is not known, or differs in length, is empty."""
    size: int
    """Pixels of a channel of what the network gets."""

    @classmethod
    def of(
        cls,
        pictures: Pictures,
        rows: AnyInts,
        facts: Facts,
        size: int,
        patients: Sequence[str],
        groups: Sequence[str],
    ) -> "Reach":
        """Of N images, at `rows` (N,) of thumbnails (M, P, S, S), which may lie on a disk.

        Each of the N has facts by `packed.TABLE_COLUMNS`, a patient and a leakage group; `size` is
        the number of pixels of a channel of what the network gets.
        """
        owners, sets = pd.factorize(np.array(patients))[0], pd.factorize(np.array(groups))[0]
        kept = _references(owners)
        chosen = pictures[rows[kept]]
        found = as_kept(descriptors(chosen, spectra(chosen)))
        limit = _limit(found, sets[kept], owners[kept])
        return cls(found, limit, _bounds(facts, size), size)

    def distances(self, pictures: Pictures, spectrum: Floats32) -> Floats32:
        """(N,) of new images to the nearest reference, in limits: above 1 they are unlike."""
        found = as_kept(descriptors(pictures, spectrum))
        squares = _squares(found, self.references).min(axis=1, initial=np.inf)
        return np.asarray(np.sqrt(np.maximum(squares, 0)) / max(self.limit, 1 / STEPS), np.float32)


def as_kept(found: Floats32) -> Floats32:
    """Descriptors in the steps in which they are kept."""
    return np.asarray(np.round(found * STEPS) / STEPS, np.float32)


def sides_of(fact: Mapping[str, str]) -> list[float]:
    """Of an image as stored: `224x224` -> 224, 224."""
    return [float(side) for side in fact["original_shape"].split("x")]


def spacing_of(fact: Mapping[str, str]) -> list[float]:
    """In mm along each axis; nothing where it is not known."""
    return [float(size) for size in (fact.get("spacing") or "").split()]


def intensities(fact: Mapping[str, str], size: int) -> tuple[Floats, Floats]:
    """(C,) mean and SD of each channel of what the network gets, of `size` pixels each."""
    means, squares = (
        np.array([float(of) for of in fact[name].split()]) / size for name in ("sum", "sum_squares")
    )
    sds: Floats = np.sqrt(np.maximum(squares - means**2, 0))
    return means, sds


def _references(owners: AnyInts) -> Ints:
    """Which of N images are kept, ascending: the first of each patient, the second, ..., each time
    in an order that is drawn, up to MOST_REFERENCES.
    """
    order = np.random.default_rng(0).permutation(len(owners))
    turn = pd.Series(owners[order]).groupby(owners[order]).cumcount().to_numpy()
    found: Ints = np.sort(order[np.argsort(turn, kind="stable")][:MOST_REFERENCES])
    return found


def _limit(found: Floats32, groups: AnyInts, owners: AnyInts) -> float:
    """The distance within which a share of QUANTILE lies, of images to those of other groups.

    Of fewer than 100 images it is the largest.
    """
    distances = np.empty(len(found))
    for start in range(0, len(found), 512):
        rows = slice(start, start + 512)
        squares = _squares(found[rows], found)
        squares[groups[rows, None] == groups] = np.inf
        distances[rows] = np.sqrt(np.maximum(squares.min(axis=1), 0))
    _, owner, counts = np.unique(owners, return_inverse=True, return_counts=True)
    weights = 1 / counts[owner]
    order = np.argsort(distances)
    shares = np.cumsum(weights[order]) / weights.sum()
    at = int(np.searchsorted(shares, QUANTILE - 1e-9))  # sums of weights are rounded
    return float(distances[order[at]])


def _squares(points: Floats32, references: Floats32) -> Floats32:
    own, theirs = ((of**2).sum(axis=1) for of in (points, references))
    return np.asarray(own[:, None] + theirs - 2 * points @ references.T, np.float32)


def _bounds(facts: Facts, size: int) -> dict[str, Bounds]:
    means, sds = zip(*(intensities(fact, size) for fact in facts), strict=True)
    spacings = [spacing_of(fact) for fact in facts]
    return {
        "sides": _ends([sides_of(fact) for fact in facts]),
        "spacing": _ends(spacings) if all(spacings) else [],
        "means": _ends(means),
        "sds": _ends(sds),
    }


def _ends(values: Sequence[Sequence[float] | NDArray[np.float64]]) -> Bounds:
    if len({len(value) for value in values}) != 1:
        return []
    table = np.array(values, np.float64)
    return list(zip(table.min(axis=0).tolist(), table.max(axis=0).tolist(), strict=True))
