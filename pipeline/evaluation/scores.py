"""What the metrics compute, and how sure it is. What cannot be computed is None, never nan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pipeline.arrays import AnyFloats, AnyInts, Bools, Floats
from pipeline.evaluation.auroc import auroc_interval
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.draws import (
    pulls_of_average_precision,
    ratio,
    weighted_auroc,
    weighted_average_precision,
    weighted_counts,
)
from pipeline.evaluation.intervals import MANY, Interval, mean_of_shares_interval


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """None where one is missing: a mean over fewer classes or folds would be another quantity."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if len(present) == len(values) else None


_STEP = 1e-3  # of a count, for a slope


@dataclass(frozen=True)
class Ranking:
    """A metric of two classes that asks only which cases are ranked above which."""

    name: str
    """Of the function in scikit-learn."""
    of_draws: Callable[[Bools, AnyFloats, Floats], Floats]

    def __call__(self, cases: Cases) -> float | None:
        from sklearn import metrics

        if len(np.unique(cases.labels)) < 2:
            return None
        return float(getattr(metrics, self.name)(cases.labels, cases.probabilities[:, 1]))

    def weighted(self, cases: Cases, weights: Floats) -> Floats:
        """(B,) where the cases count as often as weights (B, N) say; nan where undefined."""
        return self.of_draws(cases.labels == 1, cases.probabilities[:, 1], weights)


@dataclass(frozen=True)
class SmoothRanking(Ranking):
    """One whose spread follows from how each case pulls it."""

    of_cases: Callable[[Bools, AnyFloats], Floats]
    straight_from: ClassVar[int] = MANY

    def pulls(self, cases: Cases) -> Floats:
        """(N,) by how much the value moves with the weight of each case."""
        return self.of_cases(cases.labels == 1, cases.probabilities[:, 1])


auroc = Ranking("roc_auc_score", weighted_auroc)
"""Area under the ROC curve."""
average_precision = SmoothRanking(
    "average_precision_score", weighted_average_precision, pulls_of_average_precision
)
"""Mean precision over the thresholds, weighted by the gain in sensitivity."""


@dataclass(frozen=True)
class MeanOfShares:
    """A metric that is a mean of shares, each of the cases that it counts."""

    shares: Callable[[Cases], Iterator[tuple[Bools, Bools]]]
    """Of each share: which cases (N,) it counts, and which are right."""

    def __call__(self, cases: Cases) -> float | None:
        return mean_of_all(
            [
                float(right[counted].mean()) if counted.any() else None
                for counted, right in self.shares(cases)
            ]
        )

    def weighted(self, cases: Cases, weights: Floats) -> Floats:
        """(B,) where the cases count as often as weights (B, N) say; nan where undefined."""
        found = []
        for counted, right in self.shares(cases):
            whole = weights @ counted.astype(np.float64)
            hits = weights @ (counted & right).astype(np.float64)
            found.append(ratio(hits, whole))
        means: Floats = np.mean(found, axis=0)
        return means

    def interval(self, targets: Sequence[Cases], _: AnyInts, units: AnyInts) -> Interval | None:
        """Of the mean over targets."""
        shares = [share for cases in targets for share in self.shares(cases)]
        return mean_of_shares_interval(shares, units)


@MeanOfShares
def balanced_accuracy(cases: Cases) -> Iterator[tuple[Bools, Bools]]:
    """Mean over classes of the share that is recognised."""
    for code in range(cases.num_classes):
        yield cases.labels == code, cases.predicted == code


@MeanOfShares
def accuracy(cases: Cases) -> Iterator[tuple[Bools, Bools]]:
    """Share of right decisions."""
    yield np.ones(len(cases.labels), bool), cases.predicted == cases.labels


@MeanOfShares
def sensitivity(cases: Cases) -> Iterator[tuple[Bools, Bools]]:
    """Share of the positive cases that are called positive."""
    yield cases.labels == 1, cases.predicted == 1


@MeanOfShares
def specificity(cases: Cases) -> Iterator[tuple[Bools, Bools]]:
    """Share of the negative cases that are called negative."""
    yield cases.labels == 0, cases.predicted == 0


@MeanOfShares
def positive_predictive_value(cases: Cases) -> Iterator[tuple[Bools, Bools]]:
    """Share of those called positive that are positive."""
    yield cases.predicted == 1, cases.labels == 1


@MeanOfShares
def negative_predictive_value(cases: Cases) -> Iterator[tuple[Bools, Bools]]:
    """Share of those called negative that are negative."""
    yield cases.predicted == 0, cases.labels == 0


@dataclass(frozen=True)
class OfConfusion:
    """A metric that asks only how many cases of each class are called each class."""

    of_matrices: Callable[[Floats], Floats]
    """(B, C, C) counts, row = true class -> (B,) values, nan where undefined."""
    straight_from: ClassVar[int] = MANY

    def __call__(self, cases: Cases) -> float | None:
        value = float(self.of_matrices(cases.confusion[None].astype(np.float64))[0])
        return None if np.isnan(value) else value

    def weighted(self, cases: Cases, weights: Floats) -> Floats:
        """(B,) where the cases count as often as weights (B, N) say; nan where undefined."""
        size = cases.num_classes
        counts = weighted_counts(cases.labels * size + cases.predicted, size * size, weights)
        return self.of_matrices(counts.reshape(-1, size, size))

    def pulls(self, cases: Cases) -> Floats:
        """(N,) by how much the value moves with the weight of each case."""
        counts, size = cases.confusion.astype(np.float64), cases.num_classes
        cells = np.eye(size * size).reshape(-1, size, size) * _STEP
        sides = [self.of_matrices(counts + sign * cells) for sign in (1, -1)]
        found: Floats = (sides[0] - sides[1])[cases.labels * size + cases.predicted]
        return found / (2 * _STEP)


@OfConfusion
def f1(matrices: Floats) -> Floats:
    """Harmonic mean of sensitivity and positive predictive value, of two classes."""
    hits, wrong = 2 * matrices[:, 1, 1], matrices[:, 1, 0] + matrices[:, 0, 1]
    return ratio(hits, hits + wrong)


@OfConfusion
def matthews(matrices: Floats) -> Floats:
    """Correlation of decisions and labels (Matthews 1975; Gorodkin 2004 for more classes)."""
    true, called, num = _margins(matrices)
    right = np.trace(matrices, axis1=1, axis2=2)
    spread = (num**2 - (true**2).sum(axis=1)) * (num**2 - (called**2).sum(axis=1))
    return ratio(right * num - (true * called).sum(axis=1), np.sqrt(spread))


@OfConfusion
def weighted_kappa(matrices: Floats) -> Floats:
    """Agreement beyond chance, where an error counts by its squared distance (Cohen 1968)."""
    grade = np.arange(matrices.shape[1])
    distance = (grade[:, None] - grade) ** 2.0
    true, called, num = _margins(matrices)
    found = (matrices * distance).sum(axis=(1, 2))
    by_chance = np.einsum("bi,ij,bj->b", true, distance, called)
    return 1 - ratio(found * num, by_chance)


def _margins(matrices: Floats) -> tuple[Floats, Floats, Floats]:
    """(B, C) cases of each class, (B, C) called each, (B,) all."""
    return matrices.sum(axis=2), matrices.sum(axis=1), matrices.sum(axis=(1, 2))


@MeanOfShares
def prevalence(cases: Cases) -> Iterator[tuple[Bools, Bools]]:
    """Share of the positive cases among all."""
    yield np.ones(len(cases.labels), bool), cases.labels == 1


def interval_of_auroc(targets: Sequence[Cases], folds: AnyInts, units: AnyInts) -> Interval | None:
    return auroc_interval(*_columns(targets), folds, units)


def _columns(targets: Sequence[Cases]) -> tuple[Bools, AnyFloats]:
    """(N, T) which cases are positive, and their scores."""
    positive = np.column_stack([cases.labels == 1 for cases in targets])
    return positive, np.column_stack([cases.probabilities[:, 1] for cases in targets])
