"""What the metrics compute, and how sure it is. What cannot be computed is None, never nan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import AnyFloats, AnyInts, Bools, Floats
from pipeline.evaluation.auroc import auroc_interval
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.draws import weighted_auroc, weighted_average_precision
from pipeline.evaluation.intervals import Interval, mean_of_shares_interval


def mean_of_all(values: Sequence[float | None]) -> float | None:
    """None where one is missing: a mean over fewer classes or folds would be another quantity."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if len(present) == len(values) else None


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


auroc = Ranking("roc_auc_score", weighted_auroc)
"""Area under the ROC curve."""
average_precision = Ranking("average_precision_score", weighted_average_precision)
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
            found.append(np.divide(hits, whole, out=np.full_like(hits, np.nan), where=whole > 0))
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


def f1(cases: Cases) -> float | None:
    """Harmonic mean of sensitivity and positive predictive value, of two classes."""
    hits, missed, alarms = (cases.confusion[cell] for cell in ((1, 1), (1, 0), (0, 1)))
    whole = 2 * hits + missed + alarms
    return float(2 * hits / whole) if whole else None


def matthews(cases: Cases) -> float | None:
    """Correlation of decisions and labels (Matthews 1975; Gorodkin 2004 for more classes)."""
    matrix = cases.confusion.astype(np.float64)
    true, called, num = matrix.sum(axis=1), matrix.sum(axis=0), matrix.sum()
    spread = (num**2 - true @ true) * (num**2 - called @ called)
    return float((np.trace(matrix) * num - true @ called) / np.sqrt(spread)) if spread else None


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
