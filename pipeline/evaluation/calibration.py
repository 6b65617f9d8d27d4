"""Are the probabilities right? Losses, errors of calibration, and the line through log odds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.arrays import AnyFloats, AnyInts, Bools, Floats
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.draws import ratio, steps, weighted_counts
from pipeline.evaluation.intervals import MANY, Interval, quantile

NUM_BINS = 10
_LEAST = float(np.finfo(np.float32).eps)  # predictions are written with float32
_WORST_CONDITION, _CONVERGED = 1e12, 1e-10
_LONGEST = 4.0  # step of Newton's: where the curve is nearly flat it would go much too far


@dataclass(frozen=True)
class MeanLoss:
    """A metric that is the mean of what each case costs."""

    of_cases: Callable[[Cases], Floats]
    """(N,)"""
    straight_from: ClassVar[int] = 0

    def __call__(self, cases: Cases) -> float | None:
        return float(self.of_cases(cases).mean()) if len(cases.labels) else None

    def weighted(self, cases: Cases, weights: Floats) -> Floats:
        """(B,) where the cases count as often as weights (B, N) say; nan where undefined."""
        return ratio(weights @ self.of_cases(cases), weights.sum(axis=1))

    def pulls(self, cases: Cases) -> Floats:
        """(N,) by how much the value moves with the weight of each case."""
        losses = self.of_cases(cases)
        found: Floats = (losses - losses.mean()) / len(losses)
        return found


@MeanLoss
def brier(cases: Cases) -> Floats:
    """Squared distance of the probabilities from the truth (Brier 1950).

    Of two classes that of the positive one, 0 to 1; of more, summed over the classes, 0 to 2.
    """
    squares = (cases.probabilities - _one_hot(cases)) ** 2
    found: Floats = squares.sum(axis=1) / _num_sides(cases)
    return found


@MeanLoss
def log_loss(cases: Cases) -> Floats:
    """Negative logarithm of the probability of the true class, in nats."""
    own = cases.probabilities[np.arange(len(cases.labels)), cases.labels]
    found: Floats = -np.log(np.clip(own, _LEAST, 1.0))
    return found


@dataclass(frozen=True)
class BrierSkill:
    """Share of the Brier score that is gained over telling everybody the tested prevalences."""

    straight_from: ClassVar[int] = MANY

    def __call__(self, cases: Cases) -> float | None:
        if not len(cases.labels):
            return None
        value = float(self.weighted(cases, np.ones((1, len(cases.labels))))[0])
        return None if np.isnan(value) else value

    def weighted(self, cases: Cases, weights: Floats) -> Floats:
        """(B,) where the cases count as often as weights (B, N) say; nan where undefined."""
        counts = weighted_counts(cases.labels, cases.num_classes, weights)
        shares = counts / counts.sum(axis=1, keepdims=True)
        reference = (shares * (1 - shares)).sum(axis=1) / _num_sides(cases)
        return 1 - ratio(brier.weighted(cases, weights), reference)

    def pulls(self, cases: Cases) -> Floats:
        """(N,) by how much the value moves with the weight of each case."""
        shares = np.bincount(cases.labels, minlength=cases.num_classes) / len(cases.labels)
        sides = _num_sides(cases)
        reference = float((shares * (1 - shares)).sum()) / sides
        more = (1 - 2 * shares - (shares * (1 - 2 * shares)).sum()) / (sides * len(cases.labels))
        of_reference = float(brier.of_cases(cases).mean()) / reference * more[cases.labels]
        found: Floats = (of_reference - brier.pulls(cases)) / reference
        return found


brier_skill = BrierSkill()


@dataclass(frozen=True)
class CalibrationError:
    """Mean distance of what is told from what happens, in 10 bins of as many cases each.

    Of two classes what is told of the positive one; of more, of the class called (Guo 2017). Equal
    probabilities share what happens, so that the order of rows does not matter.
    """

    straight_from: ClassVar[int] = MANY

    def __call__(self, cases: Cases) -> float | None:
        value = float(self.weighted(cases, np.ones((1, len(cases.labels))))[0])
        return None if np.isnan(value) else value

    def weighted(self, cases: Cases, weights: Floats) -> Floats:
        """(B,) where the cases count as often as weights (B, N) say; nan where undefined."""
        if not len(cases.labels):
            return np.full(len(weights), np.nan)
        told, happens = _told(cases)
        order, starts = steps(told)
        of_rows, values = weights[:, order], told[order][starts].astype(np.float64)
        num = np.add.reduceat(of_rows, starts, axis=1)
        gaps = num * values - np.add.reduceat(of_rows * happens[order], starts, axis=1)
        pairs = zip(np.cumsum(num, axis=1), np.cumsum(gaps, axis=1), strict=True)
        return np.array([self._of_steps(to, gap) for to, gap in pairs])

    def pulls(self, cases: Cases) -> Floats:
        """(N,) by how much the value moves with the weight of each case, in bins that stay."""
        told, happens = _told(cases)
        order, starts = steps(told)
        gaps = (told - happens)[order]
        to = np.append(starts[1:], len(order)).astype(np.float64)
        ends, of_bins = _bins(to, np.cumsum(np.add.reduceat(gaps, starts)))
        signs = np.append(0.0, np.cumsum(np.sign(of_bins) * np.diff(ends)))
        sides = np.diff(np.interp(np.append(0.0, to), ends, signs))  # of equals the mean
        num = np.diff(to, prepend=0)
        pulled = np.empty(len(order))
        pulled[order] = gaps * np.repeat(sides / num, num.astype(np.int64))
        found: Floats = (pulled - np.abs(of_bins).sum() / len(order)) / len(order)
        return found

    def _of_steps(self, to: Floats, gap: Floats) -> float:
        if to[-1] < NUM_BINS:
            return np.nan
        return float(np.abs(_bins(to, gap)[1]).sum() / to[-1])


def _told(cases: Cases) -> tuple[AnyFloats, Bools]:
    """(N,) what is told of each case, and does it happen?"""
    if cases.num_classes == 2:
        return cases.probabilities[:, 1].astype(np.float32), cases.labels == 1
    called = cases.probabilities.argmax(axis=1)
    return cases.probabilities.max(axis=1).astype(np.float32), cases.labels == called


def _bins(to: Floats, gap: Floats) -> tuple[Floats, Floats]:
    """(11,) how many cases lie below the ends of the bins, (10,) the gap that each sums up.

    `to` (D,) cases lie up to each distinct value, and their gaps sum up to `gap` (D,).
    """
    num, more = divmod(to[-1], NUM_BINS)
    edges = np.arange(NUM_BINS + 1)
    ends = edges * num + np.minimum(edges, more)
    found = np.diff(np.interp(ends, np.append(0.0, to), np.append(0.0, gap)))
    return ends, found


expected_calibration_error = CalibrationError()


@dataclass(frozen=True)
class LogOddsLine:
    """A number of the line through the true log odds over those told, of two classes (Cox 1958).

    Its interval is that of logistic regression with units as clusters (Liang and Zeger 1986).
    """

    with_slope: bool

    def __call__(self, cases: Cases) -> float | None:
        found = self._fitted(cases)
        return None if found is None else float(found[-1])

    def interval(self, targets: Sequence[Cases], _: AnyInts, units: AnyInts) -> Interval | None:
        """Of one target."""
        (cases,) = targets
        found = self._fitted(cases)
        if found is None:
            return None
        columns, offset = self._columns(cases)
        told = _shares(columns @ found + offset)
        inverse = np.linalg.inv((columns * (told * (1 - told))[:, None]).T @ columns)
        pulls = columns * (cases.labels - told)[:, None]
        of_units = np.array([np.bincount(units, pull) for pull in pulls.T])
        num = [len(np.unique(units[cases.labels == label])) for label in (0, 1)]
        variance = (inverse @ (of_units @ of_units.T) @ inverse)[-1, -1]
        reach = quantile(min(num), clustered=True) * float(
            np.sqrt(variance * sum(num) / (sum(num) - 1))
        )
        return Interval(float(found[-1]), float(found[-1]) - reach, float(found[-1]) + reach)

    def _columns(self, cases: Cases) -> tuple[Floats, Floats]:
        """What the line is made of, and what is added to it."""
        told = np.clip(cases.probabilities[:, 1].astype(np.float64), _LEAST, 1 - _LEAST)
        odds, ones = np.log(told / (1 - told)), np.ones(len(told))
        if self.with_slope:
            return np.column_stack([ones, odds]), 0 * odds
        return ones[:, None], odds

    def _fitted(self, cases: Cases) -> Floats | None:
        """Logistic regression by Newton's steps; None where there is no finite best line."""
        if len(np.unique(cases.labels)) < 2:
            return None
        columns, offset = self._columns(cases)
        found = np.zeros(columns.shape[1])
        for _ in range(50):
            told = _shares(columns @ found + offset)
            curvature = (columns * (told * (1 - told))[:, None]).T @ columns
            if np.linalg.cond(curvature) > _WORST_CONDITION:
                return None
            step = np.linalg.solve(curvature, columns.T @ (cases.labels - told))
            step *= min(1.0, _LONGEST / np.abs(step).max(initial=_LONGEST))
            found = found + step
            if np.abs(step).max() < _CONVERGED:
                return found
        return None


calibration_slope = LogOddsLine(with_slope=True)
"""Below 1 the probabilities are too sure."""
calibration_intercept = LogOddsLine(with_slope=False)
"""By how much the true log odds are higher than those told, on the whole."""


def _shares(odds: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
    return found


def _num_sides(cases: Cases) -> int:
    """How often the squares of a case count the same thing: of two classes twice."""
    return 2 if cases.num_classes == 2 else 1


def _one_hot(cases: Cases) -> Floats:
    return np.eye(cases.num_classes)[cases.labels]
