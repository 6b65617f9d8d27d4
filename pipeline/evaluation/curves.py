"""ROC and precision-recall curves: of each fold, their mean, and a band over patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import AnyFloats, AnyInts, Bools, Floats, Ints
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.draws import Draws

GRID = np.linspace(0, 1, 101)
NUM_DRAWS = 300
FEWEST = 10
"""Patients (leakage groups) of a class: with fewer a bootstrap's band is too narrow."""
MOST_POINTS = 300
"""Of a fold's curve; one with more is drawn on the grid."""
BAND = (0.025, 0.975)
Points = tuple[Floats, Floats]


@dataclass(frozen=True)
class Curve:
    """One kind of curve of two classes, over all folds."""

    folds: Mapping[int, Points]
    """Fold -> x and y of its corners; a fold whose test part lacks a class has none."""
    mean: Floats | None
    """(101,) over GRID, the mean of the folds at each x; None where a fold has no curve."""
    band: Points | None
    """(101,) each: 95 % of 300 bootstrap draws of patients, at each x by itself. None without a
    mean, or where a class has fewer than FEWEST patients."""


def curves_of(cases: Cases, folds: AnyInts, units: AnyInts) -> tuple[Curve, Curve]:
    """The ROC and the precision-recall curve of cases (N,) in `folds` (N,) and of `units` (N,).

    ROC: x is 1 - specificity, y sensitivity. Precision-recall: x is recall, y the precision of the
    highest threshold that reaches it, so that the area is the average precision. The area under a
    mean curve is the mean of the folds' areas, but for the grid.
    """
    positive = cases.labels > 0
    scores = cases.probabilities[:, -1]
    rows = {int(fold): np.flatnonzero(folds == fold) for fold in np.unique(folds)}
    both = {fold: at for fold, at in rows.items() if 0 < positive[at].sum() < len(at)}
    ones = {at: np.ones((1, len(of))) for at, of in both.items()}
    steps = {fold: _Steps.of(positive[at], scores[at]) for fold, at in both.items()}
    whole = {fold: of.counts(ones[fold]) for fold, of in steps.items()}
    roc = {fold: _thinned_roc(*_roc_corners(*counts)) for fold, counts in whole.items()}
    pr = {fold: _thinned_pr(*_pr_corners(*counts)) for fold, counts in whole.items()}
    if len(both) < len(rows):
        return Curve(roc, None, None), Curve(pr, None, None)
    means = [np.mean([on_grid(*of)[0] for of in whole.values()], axis=0) for on_grid in ON_GRID]
    fewest = min(len(np.unique(units[side])) for side in (positive, ~positive))
    bands: list[Points | None] = [None, None]
    if fewest >= FEWEST:
        draws = Draws.of(positive[:, None], folds, units, NUM_DRAWS)
        drawn: list[list[Floats]] = [[], []]
        for weights in draws.weights():
            counts = [steps[fold].counts(weights[:, at]) for fold, at in both.items()]
            for kind, on_grid in zip(drawn, ON_GRID, strict=True):
                kind.append(np.mean([on_grid(*of) for of in counts], axis=0))
        bands = [_band(np.concatenate(kind)) for kind in drawn]
    return Curve(roc, means[0], bands[0]), Curve(pr, means[1], bands[1])


@dataclass(frozen=True)
class _Steps:
    """Rows in the order of falling scores, and where in it a lower score begins."""

    positive: Bools
    order: Ints
    starts: Ints

    @classmethod
    def of(cls, positive: Bools, scores: AnyFloats) -> _Steps:
        order = np.argsort(-scores, kind="stable")
        ordered = scores[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        return cls(positive[order], order, starts)

    def counts(self, weights: Floats) -> Points:
        """Hits and false alarms (B, S) at each threshold, under weights (B, N)."""
        of_rows = weights[:, self.order]
        called = np.cumsum(np.add.reduceat(of_rows, self.starts, axis=1), axis=1)
        hits = np.cumsum(np.add.reduceat(of_rows * self.positive, self.starts, axis=1), axis=1)
        return hits, called - hits


def roc_on_grid(hits: Floats, alarms: Floats) -> Floats:
    """(B, 101) sensitivity at each 1 - specificity; nan in draws without one of the classes."""
    found = np.full((len(hits), len(GRID)), np.nan)
    for row, (hit, alarm) in enumerate(zip(hits, alarms, strict=True)):
        if hit[-1] and alarm[-1]:
            found[row] = np.interp(GRID, *_roc_corners(hit[None], alarm[None]))
    return found


def pr_on_grid(hits: Floats, alarms: Floats) -> Floats:
    """(B, 101) precision at each recall; nan in draws without a positive case."""
    found = np.full((len(hits), len(GRID)), np.nan)
    for row, (hit, alarm) in enumerate(zip(hits, alarms, strict=True)):
        if hit[-1]:
            recall, precision = hit / hit[-1], hit / np.maximum(hit + alarm, 1e-12)
            # The first threshold that reaches a recall; of recall 0, the first that finds any.
            reached = np.maximum(GRID, recall[recall > 0][0]) - 1e-12
            found[row] = precision[np.searchsorted(recall, reached)]
    return found


ON_GRID = roc_on_grid, pr_on_grid


def _roc_corners(hits: Floats, alarms: Floats) -> Points:
    sensitivity, false_alarms = hits[0] / hits[0, -1], alarms[0] / alarms[0, -1]
    return np.append(0.0, false_alarms), np.append(0.0, sensitivity)


def _pr_corners(hits: Floats, alarms: Floats) -> Points:
    """One for each threshold that finds more; a line of steps goes up or down before each."""
    more = np.diff(hits[0], prepend=0.0) > 0
    recall, precision = hits[0] / hits[0, -1], hits[0] / (hits[0] + alarms[0])
    return np.append(0.0, recall[more]), np.append(precision[more][0], precision[more])


def _thinned_roc(x: Floats, y: Floats) -> Points:
    return (x, y) if len(x) <= MOST_POINTS else (GRID, np.interp(GRID, x, y))


def _thinned_pr(x: Floats, y: Floats) -> Points:
    return (x, y) if len(x) <= MOST_POINTS else (GRID, y[np.searchsorted(x, GRID - 1e-12)])


def _band(drawn: Floats) -> Points:
    low, high = np.nanquantile(drawn, BAND, axis=0)
    return low, high
