"""Are the probabilities right? Losses, errors of calibration, and the line through log odds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import AnyInts, Floats
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.intervals import Interval, quantile

NUM_BINS = 10
_LEAST = float(np.finfo(np.float32).eps)  # predictions are written with float32
_WORST_CONDITION, _CONVERGED = 1e12, 1e-10


def brier(cases: Cases) -> float | None:
    """Mean squared distance of the probabilities from the truth (Brier 1950).

    Of two classes that of the positive one, 0 to 1; of more, summed over the classes, 0 to 2.
    """
    if not len(cases.labels):
        return None
    squares = (cases.probabilities - _one_hot(cases)) ** 2
    whole = squares.sum(axis=1) / (2 if cases.num_classes == 2 else 1)
    return float(whole.mean())


def brier_skill(cases: Cases) -> float | None:
    """Share of the Brier score that is gained over telling everybody the tested prevalences."""
    found, counts = brier(cases), np.bincount(cases.labels, minlength=cases.num_classes)
    if found is None:
        return None
    shares = counts / counts.sum()
    reference = float((shares * (1 - shares)).sum()) / (2 if cases.num_classes == 2 else 1)
    return 1 - found / reference if reference > 0 else None


def log_loss(cases: Cases) -> float | None:
    """Mean negative logarithm of the probability of the true class, in nats."""
    if not len(cases.labels):
        return None
    own = cases.probabilities[np.arange(len(cases.labels)), cases.labels]
    return float(-np.log(np.clip(own, _LEAST, 1.0)).mean())


def expected_calibration_error(cases: Cases) -> float | None:
    """Mean distance of what is told from what happens, in 10 bins of as many cases each.

    Of two classes what is told of the positive one; of more, of the class called (Guo 2017).
    """
    told, happens = cases.probabilities[:, -1], cases.labels == 1
    if cases.num_classes > 2:
        called = cases.probabilities.argmax(axis=1)
        told, happens = cases.probabilities.max(axis=1), cases.labels == called
    if len(told) < NUM_BINS:
        return None
    # Equal probabilities share what happens, so that the order of rows does not matter.
    distinct, at = np.unique(told.astype(np.float32), return_inverse=True)
    shares = np.bincount(at, happens) / np.bincount(at)
    gaps = np.array_split(np.sort(at), NUM_BINS)
    return sum(abs(float((distinct[of] - shares[of]).sum())) for of in gaps) / len(told)


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


def _one_hot(cases: Cases) -> Floats:
    return np.eye(cases.num_classes)[cases.labels]
